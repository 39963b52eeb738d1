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

	"github.com/graceinit/graceinit/internal/notify"
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
	Result        int            // fd on which a failure, or the pid with Reparent and Guard, is told
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

// resultFD is the lowest number the result pipe may get, out of the way of fds that the app inherits.
const resultFD = 200

// start runs the shim, whose pid is told too, and waits until it has executed the program or failed. The fds become
// 3 and up in it, image too unless it is zero.
func (s shim) start(path string, args, env []string, fds []int, image int) (started Process, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return Process{}, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer unix.Close(pipe[0])
	s.FDs = len(fds)
	const firstFD = 3
	if s.FDs > 0 || image != 0 {
		s.Result = firstFD + s.FDs
		fds = append(slices.Clone(fds), pipe[1])
		if image != 0 {
			s.Image = s.Result + 1
			fds = append(fds, image)
		}
	} else {
		// The copy without close-on-exec exists only from here to the fork, and nobody else forks.
		s.Result, err = unix.FcntlInt(uintptr(pipe[1]), unix.F_DUPFD, resultFD)
		if errors.Is(err, unix.EINVAL) { // RLIMIT_NOFILE is lower than that; a number that is free will do too
			s.Result, err = unix.FcntlInt(uintptr(pipe[1]), unix.F_DUPFD, firstFD)
		}
		unix.Close(pipe[1])
		if err != nil {
			return Process{}, fmt.Errorf("cannot make a pipe: %w", err)
		}
		pipe[1] = s.Result
	}
	pid, err := reaper.Start(reaper.Command{
		Path: self,
		Args: append([]string{ShimName, s.encode(), path}, args...),
		Env:  env,
		FDs:  fds,
		Sys:  &syscall.SysProcAttr{Setpgid: !s.Setsid, Setsid: s.Setsid},
	})
	unix.Close(pipe[1])
	if err != nil {
		return Process{}, &ExecError{Path: self, Code: CodeNotStarted, Errno: asErrno(err), Reason: "the exec shim cannot be started: " + err.Error()}
	}
	return s.result(pid, path, readAll(pipe[0]))
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
	text := fmt.Sprintf("%x %x %x %x %x %x %x", uint64(s.Inherited.Ignored), uint64(s.Inherited.Mask),
		int(s.ReparentUntil), s.Result, switches, s.FDs, s.Image)
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
	const always, withUser = 7, 9
	if len(numbers) != always && len(numbers) < withUser {
		return s, fmt.Errorf("cannot decode %q: %d fields", text, len(numbers))
	}
	s.Inherited = signals.Inherited{Ignored: signals.Set(numbers[0]), Mask: signals.Set(numbers[1])}
	s.ReparentUntil, s.Result = signals.Signal(numbers[2]), int(numbers[3])
	for i, on := range s.switches() {
		*on = numbers[4]&(1<<i) != 0
	}
	s.FDs, s.Image = int(numbers[5]), int(numbers[6])
	if len(numbers) > always {
		s.User = &User{UID: int(numbers[7]), GID: int(numbers[8])}
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
	return syscall.Exec(path, args, env)
}

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

// parent starts the program as a child of the shim's. With Reparent the shim exits once the program has started,
// which makes the init its parent: foreground nginx ignores the upgrade signal for as long as it has the parent it
// started with. With Guard it stays. A program that ends is left to the init: it inherits zombies too.
func (s shim) parent(path string, args []string) error {
	var received *signals.Subscription
	if s.Guard {
		var err error
		if received, err = signals.Subscribe(); err != nil { // before there is an app that could signal
			return err
		}
	}
	inner := s
	inner.Reparent, inner.Guard, inner.Image = false, false, 0
	fds := make([]int, s.FDs)
	for i := range fds {
		fds[i] = 3 + i
	}
	app, err := inner.start(path, args, os.Environ(), fds, s.Image)
	if err != nil {
		return err
	}
	pid := app.PID
	_, _ = unix.Write(s.Result, []byte("pid "+strconv.Itoa(pid)))
	_ = unix.Close(s.Result)
	for _, fd := range fds {
		_ = unix.Close(fd) // a listener that has lost its generations must not seem to live on here
	}
	if s.Guard {
		go received.Deliver()
		s.guard(pid, received.C)
		return nil
	}
	const atMost, step = 10 * time.Second, 5 * time.Millisecond
	for deadline := time.Now().Add(atMost); time.Now().Before(deadline) && s.parentNeeded(pid); {
		time.Sleep(step)
	}
	return nil
}

// guard stands between the init and a facebookgo/grace app. That app, once it serves on inherited sockets, sends its
// parent SIGTERM, unless that is PID 1; the init must not take this for its own. It is the app's word that it is
// ready, and is passed on as such.
func (s shim) guard(pid int, received <-chan signals.Signal) {
	go func() {
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if err != unix.EINTR {
				os.Exit(0)
			}
		}
	}()
	for sig := range received {
		if sig == signals.Signal(syscall.SIGTERM) {
			_ = notify.Send(os.Getenv("NOTIFY_SOCKET"), "READY=1")
			return
		}
	}
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
