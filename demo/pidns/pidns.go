// Package pidns starts a command as PID 1 of a new PID namespace with a /proc of its own, as a container engine
// would, so that an init can be run for real where there is no engine.
//
// The calling binary starts itself once more as a helper inside the new namespaces; the helper mounts /proc and
// executes the command, which thereby keeps PID 1. Main must be the first call in main and in TestMain.
//
// Everything in the namespace dies with PID 1, and PID 1 dies with the process that called Start, however that ends:
// nothing is left behind.
package pidns

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is what becomes PID 1.
type Command struct {
	Path   string   // found in PATH unless it has a slash; default Args[0]
	Args   []string // with Args[0]
	Env    []string // default: the environment of the caller
	Dir    string   // default: the caller's
	Stdout io.Writer
	Stderr io.Writer
}

// Namespace is a running PID namespace.
type Namespace struct {
	PID   int           // of the namespace's PID 1, as the caller sees it
	Began time.Duration // on CLOCK_MONOTONIC, right before the command was executed; compare with Ended

	cmd  *exec.Cmd
	done chan struct{}

	mu     sync.Mutex // guards gone: no signal is sent to a pid that was waited for
	gone   bool
	ended  time.Duration
	status syscall.WaitStatus
}

// ErrForbidden says that this machine does not let us make namespaces.
var ErrForbidden = errors.New("a PID namespace with a /proc of its own cannot be made here; it needs root " +
	"outside of a container (or `docker run --privileged`), or unprivileged user namespaces")

const (
	helperName = "pidns-helper" // argv[0] of the helper
	reportFD   = 3              // closed by the exec, see report
)

// report is what the helper says before it executes the command.
type report struct {
	At  time.Duration // CLOCK_MONOTONIC
	Err string
	// Forbidden tells a refusal of the mount from a command that cannot be executed.
	Forbidden bool
}

// Start runs the command as PID 1 and returns once it has been executed.
func Start(c Command) (*Namespace, error) {
	path := c.Path
	if path == "" {
		path = c.Args[0]
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c.Args[0], err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{helperName, path}, c.Args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.Env, c.Dir, c.Stdout, c.Stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = attributes(os.Geteuid(), os.Getegid())
	// A descendant that keeps stdout open is in the namespace and dies with it. This is for the engine's sake.
	cmd.WaitDelay = 2 * time.Second

	n := &Namespace{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go n.own(started)
	err = <-started
	w.Close()
	if err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
			return nil, fmt.Errorf("%w: %w", ErrForbidden, err)
		}
		return nil, err
	}
	n.PID = cmd.Process.Pid

	// Two reports can come: the time of the exec, and why it failed.
	for in := bufio.NewScanner(r); in.Scan(); {
		var rep report
		if err := json.Unmarshal(in.Bytes(), &rep); err != nil {
			continue
		}
		n.Began = rep.At
		if rep.Err != "" {
			n.Kill()
			if rep.Forbidden {
				return nil, fmt.Errorf("%w: %s", ErrForbidden, rep.Err)
			}
			return nil, errors.New(rep.Err)
		}
	}
	return n, nil
}

// own is the life of the command on one thread: the kernel's parent death signal is tied to the thread that forked.
func (n *Namespace) own(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := n.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	// The end is seen without reaping, so that a signal sent meanwhile still meets this process and no other.
	var info unix.Siginfo
	for unix.Waitid(unix.P_PID, n.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	ended := Monotonic()
	n.mu.Lock()
	n.gone = true
	n.mu.Unlock()
	_ = n.cmd.Wait()
	n.ended = ended
	n.status, _ = n.cmd.ProcessState.Sys().(syscall.WaitStatus)
	close(n.done)
}

// attributes asks for the namespaces. Without root a user namespace in which we are root comes with them.
func attributes(uid, gid int) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if uid != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	return a
}

// Main is the helper where this process is one, and returns otherwise.
func Main() {
	if os.Args[0] != helperName {
		return
	}
	// The thread that executes the command must be the one that asked for the parent death signal.
	runtime.LockOSThread()
	syscall.CloseOnExec(reportFD)
	pipe := os.NewFile(reportFD, "report")
	say := func(r report) {
		// Without a reader the caller is dead, and nobody would ever end this namespace.
		if err := json.NewEncoder(pipe).Encode(r); err != nil {
			os.Exit(1)
		}
	}
	fail := func(forbidden bool, format string, args ...any) {
		say(report{Err: fmt.Sprintf(format, args...), Forbidden: forbidden})
		os.Exit(1)
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		fail(false, "cannot set the parent death signal: %v", err)
	}
	// Without this the mount would propagate into the namespace of the caller.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fail(true, "cannot make mounts private: %v", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		fail(true, "cannot mount /proc: %v", err)
	}
	say(report{At: Monotonic()})
	err := syscall.Exec(os.Args[1], os.Args[2:], os.Environ())
	fail(false, "cannot execute %s: %v", os.Args[1], err)
}

// Proc is where the namespace's own /proc is to be read from outside: with its pids, for as long as PID 1 lives.
func (n *Namespace) Proc() string { return ProcOf(n.PID) }

// ProcOf is the /proc that the process with this pid sees.
func ProcOf(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/root/proc" }

// Signal sends a signal to PID 1.
func (n *Namespace) Signal(sig syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		return os.ErrProcessDone
	}
	return syscall.Kill(n.PID, sig)
}

// Done is closed when PID 1, and with it the namespace, has ended.
func (n *Namespace) Done() <-chan struct{} { return n.done }

// Wait waits for the end and returns the status of PID 1.
func (n *Namespace) Wait() syscall.WaitStatus {
	<-n.done
	return n.status
}

// Ended is when PID 1 ended, on CLOCK_MONOTONIC. It waits for the end.
func (n *Namespace) Ended() time.Duration {
	<-n.done
	return n.ended
}

// Kill ends the namespace and waits until it has ended. It may be called again.
func (n *Namespace) Kill() {
	_ = n.Signal(syscall.SIGKILL)
	<-n.done
}

// Monotonic is the time on CLOCK_MONOTONIC. It can be compared between processes, which a time.Time cannot.
func Monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}
