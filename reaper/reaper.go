// Package reaper starts processes and reaps them, for a process that is the parent of orphans: PID 1
// or a child subreaper (prctl(2), PR_SET_CHILD_SUBREAPER).
//
// Start is the only fork and Reap the only wait4 of a program that uses this package, and both belong to
// one goroutine; a Watcher reaps only between its Leave and its Take, and nothing that is to be kept. Then a
// process cannot exit before its pid is known, no status is lost to somebody else's wait, and a pid that was
// not reaped yet cannot mean another process. os/exec and
// os.StartProcess beside it would break all three.
package reaper

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Status tells how a process ended.
type Status struct {
	Code   int            // exit code, where Signal is zero
	Signal syscall.Signal // the signal that killed it, or zero
	Core   bool           // it dumped core
}

// ExitCode is the code under which a shell would report the status: 128+n after signal n.
func (s Status) ExitCode() int {
	if s.Signal != 0 {
		return 128 + int(s.Signal)
	}
	return s.Code
}

// String says the same in words.
func (s Status) String() string {
	if s.Signal == 0 {
		return "exited with code " + strconv.Itoa(s.Code)
	}
	text := "killed by " + unix.SignalName(s.Signal)
	if unix.SignalName(s.Signal) == "" {
		text = "killed by signal " + strconv.Itoa(int(s.Signal))
	}
	if s.Core {
		text += " (core dumped)"
	}
	return text
}

// Command is a process to be started.
type Command struct {
	Path string   // the executable; PATH is not searched
	Args []string // with argv[0]
	Env  []string
	FDs  []int // passed on as fds 3 and up
	Sys  *syscall.SysProcAttr

	Stderr int // passed on as fd 2; zero: our own
}

// Start forks and executes. Fds 0, 1 and 2 and those of the command are passed on, and every other fd that is
// not close-on-exec and whose number is free.
// The process starts with the calling thread's signal mask, and with the signals that we catch at their
// defaults. The error of a failed fork or exec is a syscall.Errno.
func Start(c Command) (pid int, err error) {
	files := []uintptr{0, 1, 2}
	if c.Stderr != 0 {
		files[2] = uintptr(c.Stderr)
	}
	for _, fd := range c.FDs {
		files = append(files, uintptr(fd))
	}
	return syscall.ForkExec(c.Path, c.Args, &syscall.ProcAttr{
		Env:   c.Env,
		Files: files,
		Sys:   c.Sys,
	})
}

// ErrNoChild is Reap's answer when there is no child at all, alive or dead.
var ErrNoChild = errors.New("no child process")

// Reap takes the status of one dead child. A pid of zero means that children live but none is dead.
func Reap() (pid int, status Status, err error) {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		switch {
		case err == nil && pid == 0:
			return 0, Status{}, nil
		case err == nil && ws.Exited():
			return pid, Status{Code: ws.ExitStatus()}, nil
		case err == nil && ws.Signaled():
			return pid, Status{Signal: ws.Signal(), Core: ws.CoreDump()}, nil
		case err == nil, errors.Is(err, syscall.EINTR):
			continue // a stop or a trace event: not a death
		case errors.Is(err, syscall.ECHILD):
			return 0, Status{}, ErrNoChild
		default:
			return 0, Status{}, fmt.Errorf("cannot reap: %w", err)
		}
	}
}

// IsChild reports whether the process is a child of ours, alive or dead, that was not reaped yet.
func IsChild(pid int) bool {
	return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) != unix.ECHILD
}

// HasChildren reports whether there is a child, alive or dead.
func HasChildren() bool {
	for {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err != unix.ECHILD
		}
	}
}

// Subreap makes the orphans among this process's descendants its children (Linux 3.4).
func Subreap() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become a child subreaper: %w (needs Linux 3.4)", err)
	}
	return nil
}
