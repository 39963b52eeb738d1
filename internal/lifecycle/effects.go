package lifecycle

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// effects carries out what Step decides. Each method returns the event that answers the action, or nil.
type effects struct {
	program *upgrade.Program
	pidFile string
	self    int
	initPID bool // we are PID 1
}

func (e *effects) start() Event {
	pid, err := e.program.Start()
	if err != nil {
		code := upgrade.CodeNotStarted
		var execErr *upgrade.ExecError
		if errors.As(err, &execErr) {
			code = execErr.Code
		}
		return StartFailed{Code: code, Err: err}
	}
	id := procfs.ID{PID: pid}
	if p, err := procfs.Stat(pid); err == nil && procfs.Ours() == nil {
		id = p.ID
	}
	return Started{Main: id}
}

// kill signals one process. A child of ours cannot have been reaped by anybody else, so its pid is its; any
// other pid is verified by its start time behind a pidfd.
func (e *effects) kill(k Kill, main procfs.ID) Event {
	var err error
	switch sig := syscall.Signal(k.Signal); {
	case k.Group && k.Target == main:
		err = killGroup(k.Target.PID, sig)
	case k.Target == main && reaper.IsChild(k.Target.PID):
		err = syscall.Kill(k.Target.PID, sig)
	default:
		err = killVerified(k.Target, sig)
	}
	if err != nil {
		return KillFailed{Target: k.Target, Signal: k.Signal, Err: err}
	}
	return nil
}

// killGroup signals the process group of a process: not always one that it leads, for a successor stays in the
// group of the first main process. Never our own.
func killGroup(pid int, sig syscall.Signal) error {
	group, err := syscall.Getpgid(pid)
	if err != nil {
		return err
	}
	if group == syscall.Getpgrp() {
		return syscall.Kill(pid, sig)
	}
	return syscall.Kill(-group, sig)
}

// killVerified signals a process if it is still the one that is meant. Before Linux 5.3 there is no
// pidfd_open(2), and a pid could be used again between the look and the signal.
func killVerified(id procfs.ID, sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err == nil {
		defer unix.Close(fd)
	} else if errors.Is(err, unix.ESRCH) {
		return err
	}
	p, statErr := procfs.Stat(id.PID)
	if statErr != nil || p.ID != id {
		return syscall.ESRCH
	}
	if err != nil {
		return syscall.Kill(id.PID, sig)
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// killRest signals everything but ourselves.
func (e *effects) killRest(k KillRest) {
	switch sig := syscall.Signal(k.Signal); {
	case k.Group != 0:
		_ = syscall.Kill(-k.Group, sig)
	case !reaper.HasChildren():
		// The common end of a life: no need to read the process table.
	case e.initPID:
		_ = syscall.Kill(-1, sig) // kill(2): all but init itself
	default:
		table, err := procfs.Take()
		if err != nil {
			return
		}
		for _, p := range table.Processes {
			if p.PID != e.self && !p.Dead() && table.Descends(p.PID, e.self) {
				_ = killVerified(p.ID, sig)
			}
		}
	}
}

func (e *effects) look(l Look) Event {
	table, err := procfs.Take()
	answer := Looked{For: l.For, Table: &table, Err: err}
	if err != nil {
		return answer
	}
	for _, pid := range l.Detail {
		if p := table.Get(pid); p != nil {
			procfs.Inspect(p)
		}
	}
	if l.Known != nil {
		for i := range table.Processes {
			p := &table.Processes[i]
			if !p.Forked && !p.Dead() && !p.Inspected() && !l.Known(p) {
				procfs.Inspect(p)
			}
		}
	}
	table.Listening, table.ListeningErr = procfs.Listening()
	if l.Connections {
		table.Established, table.EstablishedErr = procfs.Established()
	}
	answer.PIDFile = e.readPIDFile()
	return answer
}

// readPIDFile returns the pid in the app's pid file, or zero.
func (e *effects) readPIDFile() int {
	if e.pidFile == "" {
		return 0
	}
	f, err := os.OpenFile(e.pidFile, os.O_RDONLY|syscall.O_NONBLOCK, 0) // whatever it is, it must not block us
	if err != nil {
		return 0 // not written yet
	}
	defer f.Close()
	text := make([]byte, 32)
	n, err := f.Read(text)
	if err != nil {
		return 0
	}
	text = text[:n]
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}

// suspend stops us. PID 1 is never stopped by its own SIGSTOP (pid_namespaces(7)).
func (e *effects) suspend() { _ = syscall.Kill(e.self, syscall.SIGSTOP) }
