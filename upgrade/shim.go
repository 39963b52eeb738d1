package upgrade

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
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
	ListenPID     bool           // set LISTEN_PID, which names the app (sd_listen_fds(3))
	Reparent      bool           // stay as the app's parent for a while, then exit
	ReparentUntil signals.Signal // until the app catches this signal
	Guard         bool           // stay as the app's parent until it sends SIGTERM there
	User          *User          // become this user
	FDs           int            // how many fds, from 3 on, the app gets
	Image         int            // fd of the executable, zero where its path leads to it
	KeepImage     bool           // the app gets that fd too: it is a script, which its interpreter opens
	Result        int            // fd on which a failure, or the pid with Reparent and Guard, is told; 2 too is that
	Errors        int            // fd of the app's standard error
}

// User is whom the app runs as.
type User struct {
	UID, GID int
	Groups   []int  // supplementary
	Home     string // for HOME, empty where unknown
}

// ShimName is argv[0] of the exec shim. No user can choose it by accident.
const ShimName = "graceinit: exec shim"

// ShimRequested reports whether this process is to be the exec shim.
func ShimRequested() bool { return len(os.Args) > 3 && os.Args[0] == ShimName }

// self is this executable, whatever has become of its path.
const self = "/proc/self/exe"

// highFD is the lowest number that the shim's own fds may get, out of the way of those that the app inherits.
const highFD = 200

// start runs the shim, whose pid is told too, and waits until it has executed the program or failed. The fds become
// 3 and up in it, image too unless it is zero.
func (s shim) start(path string, args, env []string, fds []int, image int) (started Process, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return Process{}, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer unix.Close(pipe[0])
	pid, err := s.fork(path, args, env, fds, image, pipe[1])
	unix.Close(pipe[1])
	if err != nil {
		return Process{}, &ExecError{Path: self, Code: CodeNotStarted, Errno: asErrno(err), Reason: "the exec shim cannot be started: " + err.Error()}
	}
	return s.result(pid, path, readAll(pipe[0]))
}

// fork starts the shim. What its runtime says when it has to give up goes into the result pipe too, where it is read:
// standard error may be a pipe that nobody reads, and the shim would never end.
func (s shim) fork(path string, args, env []string, fds []int, image, result int) (pid int, err error) {
	const firstFD = 3
	stderr := 2
	if s.Errors != 0 {
		stderr = s.Errors // this is a shim itself
	}
	s.FDs = len(fds)
	if s.FDs > 0 || image != 0 {
		s.Result = firstFD + s.FDs
		s.Errors = s.Result + 1
		fds = append(slices.Clone(fds), result, stderr)
		if image != 0 {
			s.Image = s.Errors + 1
			fds = append(fds, image)
		}
	} else {
		if s.Errors, err = inheritable(stderr); err != nil {
			return 0, err
		}
		defer unix.Close(s.Errors)
		if s.Result, err = inheritable(result); err != nil {
			return 0, err
		}
		defer unix.Close(s.Result)
		result = s.Result // the highest of all: syscall.ForkExec takes the next number for itself
	}
	return reaper.Start(reaper.Command{
		Path:   self,
		Args:   append([]string{ShimName, s.encode(), path}, args...),
		Env:    env,
		Stderr: result,
		FDs:    fds,
		Sys:    &syscall.SysProcAttr{Setpgid: !s.Setsid, Setsid: s.Setsid},
	})
}

// inheritable copies an fd out of the way of those that the app inherits. The copy without close-on-exec exists only from
// here to the fork, and nobody else forks.
func inheritable(fd int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, highFD)
	if errors.Is(err, unix.EINVAL) { // RLIMIT_NOFILE is lower than that; a number that is free will do too
		n, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 3)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot copy an fd: %w", err)
	}
	return n, nil
}

// result is the program, or the error, that the shim, which runs as pid, has told of.
func (s shim) result(pid int, path, told string) (Process, error) {
	kind, text, _ := strings.Cut(told, " ")
	number, _ := strconv.Atoi(text)
	switch errno := syscall.Errno(number); {
	case kind == "" && (strings.HasSuffix(path, "/exe") || !shimDied(pid)):
		return Process{PID: pid}, nil
	case kind == "": // its threads count as processes too
		return Process{}, &ExecError{Path: self, Code: CodeNotStarted, Errno: syscall.EAGAIN,
			Reason: "the exec shim died (is the pids or memory limit reached?)"}
	case kind == "pid" && s.Guard:
		return Process{PID: number, Guard: pid}, nil
	case kind == "pid":
		return Process{PID: number}, nil
	case kind != "user" && kind != "errno":
		reason, _, _ := strings.Cut(told, "\n")
		return Process{}, &ExecError{Path: self, Code: CodeNotStarted, Errno: syscall.EAGAIN,
			Reason: fmt.Sprintf("the exec shim died (is the pids or memory limit reached?): %.100q", reason)}
	case kind == "user":
		return Process{}, &ExecError{Path: "the program", Code: CodeNotStarted, Errno: errno, Reason: fmt.Sprintf(
			"cannot become user %d: %v (--user needs CAP_SETUID and CAP_SETGID)", s.User.UID, errno)}
	default:
		return Process{}, errno
	}
}

// shimDied reports whether a shim has ended without having executed the program: the pipe closes in both cases. The
// process then still has the name that self gives it, which execve(2) changes only after it has closed the pipe.
func shimDied(pid int) bool {
	for procfs.Ours() == nil {
		p, err := procfs.Stat(pid)
		if err != nil || p.Comm != "exe" {
			break
		}
		if p.Dead() {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// encode writes the shim's work as an argument: hexadecimal numbers, the switches as bits of one, the user last.
func (s shim) encode() string {
	var switches uint64
	for i, on := range s.switches() {
		if *on {
			switches |= 1 << i
		}
	}
	text := fmt.Sprintf("%x %x %x %x %x %x %x %x", uint64(s.Inherited.Ignored), uint64(s.Inherited.Mask),
		int(s.ReparentUntil), s.Result, switches, s.FDs, s.Image, s.Errors)
	if s.User != nil {
		text += fmt.Sprintf(" %x %x", s.User.UID, s.User.GID)
		for _, g := range s.User.Groups {
			text += fmt.Sprintf(" %x", g)
		}
	}
	return text
}

func decodeShim(text string) (s shim, err error) {
	var numbers []uint64
	for _, f := range strings.Fields(text) {
		n, err := strconv.ParseUint(f, 16, 64)
		if err != nil {
			return s, fmt.Errorf("cannot decode %q: %w", text, err)
		}
		numbers = append(numbers, n)
	}
	const always, withUser = 8, 10
	if len(numbers) != always && len(numbers) < withUser {
		return s, fmt.Errorf("cannot decode %q: %d fields", text, len(numbers))
	}
	s.Inherited = signals.Inherited{Ignored: signals.Set(numbers[0]), Mask: signals.Set(numbers[1])}
	s.ReparentUntil, s.Result = signals.Signal(numbers[2]), int(numbers[3])
	for i, on := range s.switches() {
		*on = numbers[4]&(1<<i) != 0
	}
	s.FDs, s.Image, s.Errors = int(numbers[5]), int(numbers[6]), int(numbers[7])
	if len(numbers) > always {
		s.User = &User{UID: int(numbers[8]), GID: int(numbers[9])}
		for _, g := range numbers[withUser:] {
			s.User.Groups = append(s.User.Groups, int(g))
		}
	}
	return s, nil
}

func (s *shim) switches() []*bool {
	return []*bool{&s.Setsid, &s.Foreground, &s.Terminal, &s.ListenPID, &s.Reparent, &s.Guard, &s.KeepImage}
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
	buf := make([]byte, 512)
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return string(text)
		}
		const enough = 4096 // a dying runtime says more
		text = append(text, buf[:min(n, enough-len(text))]...)
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
	unix.CloseOnExec(s.Errors)
	if s.Image != 0 && !s.KeepImage {
		unix.CloseOnExec(s.Image)
	}
	if err := s.run(os.Args[2], os.Args[3:]); err != nil {
		kind := "errno"
		if errors.Is(err, errUser) {
			kind = "user"
		}
		_, _ = unix.Write(s.Result, []byte(kind+" "+strconv.Itoa(int(asErrno(err)))))
		os.Exit(CodeNotStarted) // nobody looks at it: the init reports the errno
	}
	os.Exit(0)
}

// errUser says that the app's user could not be taken on.
var errUser = errors.New("cannot become the user")

func (s shim) run(path string, args []string) error {
	if s.Terminal {
		// Not a failure where the terminal belongs to another session: the app then runs without one.
		_ = unix.IoctlSetInt(0, unix.TIOCSCTTY, 0)
	}
	if s.Reparent || s.Guard {
		return s.parent(path, args)
	}
	if s.Foreground {
		takeForeground()
	}
	if s.ListenPID {
		_ = os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	env := os.Environ()
	if s.User != nil {
		if err := s.User.become(); err != nil {
			return fmt.Errorf("%w: %w", errUser, err)
		}
	}
	if err := s.Inherited.Restore(); err != nil {
		return err
	}
	if s.Image != 0 {
		path = fmt.Sprintf("/proc/self/fd/%d", s.Image)
	}
	if err := s.restoreStderr(); err != nil {
		return err
	}
	return syscall.Exec(path, args, env)
}

// restoreStderr makes the app's standard error ours.
func (s shim) restoreStderr() error { return unix.Dup3(s.Errors, 2, 0) }

// become drops privileges, groups first: afterwards there would be none left to do it with.
func (u *User) become() error {
	if groups, err := unix.Getgroups(); err != nil || !sameGroups(groups, u.Groups) {
		if err := unix.Setgroups(u.Groups); err != nil && u.UID != unix.Getuid() {
			return err
		}
	}
	if err := unix.Setresgid(u.GID, u.GID, u.GID); err != nil {
		return err
	}
	return unix.Setresuid(u.UID, u.UID, u.UID)
}

func sameGroups(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for _, g := range a {
		if !slices.Contains(b, g) {
			return false
		}
	}
	return true
}

// takeForeground gives the terminal to our process group. A background group may do so only while it blocks
// or ignores SIGTTOU (tcsetpgrp(3)); here it blocks it, since an ignored signal would leak into the app.
// The mask is set anew before execve.
func takeForeground() {
	_ = signals.Block(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, unix.Getpgrp())
}
