package upgrade

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
)

// shim is what the exec shim does between fork and exec.
type shim struct {
	Inherited     signals.Inherited
	Setsid        bool           // lead a session instead of a process group
	Foreground    bool           // take the terminal's foreground
	Terminal      bool           // make standard input the session's terminal
	ListenPID     bool           // LISTEN_PID named the init and is to name the app (sd_listen_fds(3))
	Reparent      bool           // stay as the app's parent for a while, then exit
	ReparentUntil signals.Signal // until the app catches this signal
	Result        int            // fd on which a failure, or the pid with Reparent, is told
}

// ShimName is argv[0] of the exec shim. No user can choose it by accident.
const ShimName = "graceinit: exec shim"

// ShimRequested reports whether this process is to be the exec shim.
func ShimRequested() bool { return len(os.Args) > 3 && os.Args[0] == ShimName }

// self is this executable, whatever has become of its path.
const self = "/proc/self/exe"

// resultFD is the lowest number the result pipe may get, out of the way of fds that the app inherits.
const resultFD = 200

// start runs the shim and waits until it has executed the program or failed.
func (s shim) start(path string, args, env []string) (pid int, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer unix.Close(pipe[0])
	// The copy without close-on-exec exists only from here to the fork, and nobody else forks.
	s.Result, err = unix.FcntlInt(uintptr(pipe[1]), unix.F_DUPFD, resultFD)
	if errors.Is(err, unix.EINVAL) { // RLIMIT_NOFILE is lower than that; a number that is free will do too
		s.Result, err = unix.FcntlInt(uintptr(pipe[1]), unix.F_DUPFD, 3)
	}
	unix.Close(pipe[1])
	if err != nil {
		return 0, fmt.Errorf("cannot make a pipe: %w", err)
	}
	pid, err = reaper.Start(reaper.Command{
		Path: self,
		Args: append([]string{ShimName, s.encode(), path}, args...),
		Env:  env,
		Sys:  &syscall.SysProcAttr{Setpgid: !s.Setsid, Setsid: s.Setsid},
	})
	unix.Close(s.Result)
	if err != nil {
		return 0, &ExecError{Path: self, Code: CodeNotStarted, Errno: asErrno(err), Reason: "the exec shim cannot be started: " + err.Error()}
	}
	result := readAll(pipe[0])
	switch kind, number, _ := strings.Cut(result, " "); kind {
	case "":
		return pid, nil
	case "pid":
		return strconv.Atoi(number)
	default:
		errno, _ := strconv.Atoi(number)
		return 0, syscall.Errno(errno)
	}
}

// encode writes the shim's work as an argument: hexadecimal numbers, the switches as bits of the last.
func (s shim) encode() string {
	var switches uint64
	for i, on := range s.switches() {
		if *on {
			switches |= 1 << i
		}
	}
	return fmt.Sprintf("%x %x %x %x %x", uint64(s.Inherited.Ignored), uint64(s.Inherited.Mask),
		int(s.ReparentUntil), s.Result, switches)
}

func decodeShim(text string) (s shim, err error) {
	var numbers [5]uint64
	fields := strings.Fields(text)
	if len(fields) != len(numbers) {
		return s, fmt.Errorf("cannot decode %q: %d fields", text, len(fields))
	}
	for i, f := range fields {
		if numbers[i], err = strconv.ParseUint(f, 16, 64); err != nil {
			return s, fmt.Errorf("cannot decode %q: %w", text, err)
		}
	}
	s.Inherited = signals.Inherited{Ignored: signals.Set(numbers[0]), Mask: signals.Set(numbers[1])}
	s.ReparentUntil, s.Result = signals.Signal(numbers[2]), int(numbers[3])
	for i, on := range s.switches() {
		*on = numbers[4]&(1<<i) != 0
	}
	return s, nil
}

func (s *shim) switches() []*bool {
	return []*bool{&s.Setsid, &s.Foreground, &s.Terminal, &s.ListenPID, &s.Reparent}
}

// isShimFailure reports whether it was the shim itself that could not be started.
func isShimFailure(err error) bool {
	var execErr *ExecError
	return errors.As(err, &execErr) && execErr.Path == self
}

func asErrno(err error) syscall.Errno {
	errno := syscall.EINVAL
	_ = errors.As(err, &errno)
	return errno
}

func readAll(fd int) string {
	var text []byte
	buf := make([]byte, 64)
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return string(text)
		}
		text = append(text, buf[:n]...)
	}
}

// RunShim is the exec shim. It does not return.
func RunShim() {
	runtime.LockOSThread() // the signal mask belongs to the thread that calls execve
	s, err := decodeShim(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "graceinit: the exec shim is not to be called by hand")
		os.Exit(CodeNotStarted)
	}
	unix.CloseOnExec(s.Result)
	if err := s.run(os.Args[2], os.Args[3:]); err != nil {
		_, _ = unix.Write(s.Result, []byte("errno "+strconv.Itoa(int(asErrno(err)))))
		os.Exit(CodeNotStarted) // nobody looks at it: the init reports the errno
	}
	os.Exit(0)
}

func (s shim) run(path string, args []string) error {
	if s.Terminal {
		// Not a failure where the terminal belongs to another session: the app then runs without one.
		_ = unix.IoctlSetInt(0, unix.TIOCSCTTY, 0)
	}
	if s.Reparent {
		return s.reparent(path, args)
	}
	if s.Foreground {
		takeForeground()
	}
	if s.ListenPID {
		_ = os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	env := os.Environ()
	if err := s.Inherited.Restore(); err != nil {
		return err
	}
	return syscall.Exec(path, args, env)
}

// takeForeground gives the terminal to our process group. A background group may do so only while it blocks
// or ignores SIGTTOU (tcsetpgrp(3)); here it blocks it, since an ignored signal would leak into the app.
// The mask is set anew before execve.
func takeForeground() {
	_ = signals.Block(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, unix.Getpgrp())
}

// reparent starts the program as a child and exits once the program has started, which makes the init its
// parent. Foreground nginx ignores the upgrade signal for as long as it has the parent it started with.
// A program that ends before is left to the init: it inherits zombies too.
func (s shim) reparent(path string, args []string) error {
	inner := s
	inner.Reparent = false
	pid, err := inner.start(path, args, os.Environ())
	if err != nil {
		return err
	}
	_, _ = unix.Write(s.Result, []byte("pid "+strconv.Itoa(pid)))
	_ = unix.Close(s.Result)
	const atMost, step = 10 * time.Second, 5 * time.Millisecond
	for deadline := time.Now().Add(atMost); time.Now().Before(deadline) && s.parentNeeded(pid); {
		time.Sleep(step)
	}
	return nil
}

// parentNeeded reports whether the program lives and has not come so far that its parent may change.
func (s shim) parentNeeded(pid int) bool {
	p, err := procfs.Stat(pid)
	if err != nil || p.Dead() {
		return false
	}
	procfs.Inspect(&p)
	return p.SignalsErr == nil && !p.Caught.Has(s.ReparentUntil)
}
