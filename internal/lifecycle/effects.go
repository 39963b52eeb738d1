package lifecycle

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/listen"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// effects carries out what Step decides. Each method returns the event that answers the action, or nil.
type effects struct {
	program   *upgrade.Program
	listeners []listen.Listener
	dialects  listen.Dialects
	check     []string // the commands of the helpers
	probeRun  []string
	probeAddr unix.Sockaddr // where a probe connects to, nil without one
	probes    chan Event
	store     store
	spawn     bool
	pidFile   string
	self      int
	initPID   bool // we are PID 1
	inspector procfs.Inspector
	counted   func() bool // somebody wants to know how many connections are left; or nil
}

func (e *effects) start(a Start) Event {
	launch := upgrade.Launch{Image: a.Image}
	if e.spawn {
		e.store.prune()
		for _, l := range e.listeners {
			launch.FDs = append(launch.FDs, l.FD)
		}
		for _, s := range e.store.entries {
			launch.FDs = append(launch.FDs, s.fd)
		}
		launch.Env = listen.Environment(e.program.Env, e.listeners, e.store.names(), a.Generation, e.dialects)
		launch.Env = upgrade.Setenv(launch.Env, "GRACEINIT_GENERATION", strconv.Itoa(a.Generation))
		launch.Env = upgrade.Setenv(launch.Env, "RESTART_EPOCH", strconv.Itoa(a.Epoch))
	}
	started, err := e.program.Start(launch)
	if err != nil {
		return StartFailed{Code: upgrade.CodeOf(err), Err: err}
	}
	return Started{Main: identify(started.PID), Guard: started.Guard}
}

// identify adds the start time to the pid of a child.
func identify(pid int) procfs.ID {
	if p, err := procfs.Stat(pid); err == nil && procfs.Ours() == nil {
		return p.ID
	}
	return procfs.ID{PID: pid}
}

func (e *effects) find() Event {
	image, err := e.program.Find()
	if err != nil {
		return NotFound{err}
	}
	return Found{image}
}

// run starts a helper in a process group of its own.
func (e *effects) run(a Run) Event {
	args := e.check
	if a.Helper == ProbeHelper {
		args = e.probeRun
	}
	env := listen.Environment(e.program.Env, nil, nil, 0, nil) // the fds that were passed to us are not passed on to it
	env = upgrade.Setenv(env, "GRACEINIT_GENERATION", strconv.Itoa(a.Generation))
	if a.PID != 0 {
		env = upgrade.Setenv(env, "GRACEINIT_PID", strconv.Itoa(a.PID))
	}
	if a.Image != nil {
		env = upgrade.Setenv(env, "GRACEINIT_BINARY", a.Image.Reachable())
	}
	helper := upgrade.Program{Args: args, Env: env, Dir: e.program.Dir, Inherited: e.program.Inherited}
	started, err := helper.Start(upgrade.Launch{})
	if err != nil {
		return HelperFailed{Helper: a.Helper, Err: err}
	}
	return HelperStarted{Helper: a.Helper, PID: started.PID}
}

// probe connects without blocking the loop.
func (e *effects) probe() {
	go func() { e.probes <- Probed{connect(e.probeAddr)} }()
}

// connect reports whether somebody accepts connections at the address.
func connect(to unix.Sockaddr) error {
	family := unix.AF_UNIX
	switch to.(type) {
	case *unix.SockaddrInet4:
		family = unix.AF_INET
	case *unix.SockaddrInet6:
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, to); !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	const patience = 1000 // ms
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, patience); n == 0 && err == nil {
		return unix.ETIMEDOUT
	}
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = unix.Errno(errno)
	}
	return err
}

// kill signals one process. A child of ours cannot have been reaped by anybody else, so its pid is its; any
// other pid is verified by its start time behind a pidfd. Without a /proc of ours no start time is known, and of our
// children alone is it certain who they are.
func (e *effects) kill(k Kill, main procfs.ID) Event {
	var err error
	switch sig := syscall.Signal(k.Signal); {
	case k.Group && k.Target == main:
		err = killGroup(k.Target.PID, sig)
	case (k.Target == main || k.Target.Start == 0) && reaper.IsChild(k.Target.PID):
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

// passTerminal has ^C and ^Z reach the successor. The leader of a group that is the foreground one may have ended.
func passTerminal(a PassTerminal) {
	foreground, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	if err != nil {
		return // no terminal of ours
	}
	from, err := syscall.Getpgid(a.From)
	if err != nil {
		from = a.From
	}
	if to, err := syscall.Getpgid(a.To); err == nil && foreground == from {
		// From the background that causes a SIGTTOU (tcsetpgrp(3)).
		_ = signals.Discard(func() { _ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, to) }, signals.Signal(syscall.SIGTTOU))
	}
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
	if (statErr != nil || procfs.Ours() != nil) && reaper.IsChild(id.PID) {
		return syscall.Kill(id.PID, sig) // there is no start time to be had: no /proc, no fd
	}
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
	table.Listening, table.ListeningErr = procfs.Listening()
	e.inspect(l, &table)
	if len(l.Accepts) > 0 {
		sockets := map[uint64]bool{}
		for _, l := range e.listeners {
			sockets[l.Inode] = true
		}
		answer.Accepts = map[int]procfs.Accepting{}
		for _, pid := range l.Accepts {
			answer.Accepts[pid] = table.Accepts(pid, sockets)
		}
	}
	answer.PIDFile = e.readPIDFile()
	return answer
}

// inspect reads the details that the look asks for.
func (e *effects) inspect(l Look, table *procfs.Snapshot) {
	if l.For == ForKill {
		e.inspector = procfs.Inspector{} // whose connections are cut is counted at that moment
	}
	for _, pid := range l.Detail {
		if p := table.Get(pid); p != nil {
			e.inspector.Inspect(p, table.Listening, procfs.Listeners)
		}
	}
	if l.Known != nil {
		for i := range table.Processes {
			p := &table.Processes[i]
			if !p.Forked && !p.Dead() && !p.Inspected() && !l.Known(p) {
				e.inspector.Inspect(p, table.Listening, procfs.Listeners)
			}
		}
	}
	want, counted, partial := procfs.Few, false, false
	if l.For == ForKill || e.counted != nil && e.counted() {
		want = procfs.All
	}
	for _, pid := range l.Count {
		if p := table.Get(pid); p != nil && !p.Dead() {
			if !p.Inspected() || want == procfs.All && p.Partial {
				e.inspector.Inspect(p, table.Listening, want)
			}
			counted, partial = true, partial || p.Partial
		}
	}
	e.inspector.Forget()
	if counted && !partial {
		table.Established, table.EstablishedErr = e.inspector.Established()
	}
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
