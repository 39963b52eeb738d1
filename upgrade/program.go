package upgrade

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
)

// Program is what a generation runs.
type Program struct {
	Args      []string // the command, Args[0] as the user wrote it
	Env       []string
	Dir       string // the working directory, followed anew by every generation; empty: where we are
	Inherited signals.Inherited

	User     *User // nil: ours
	Setsid   bool  // lead a session instead of a process group
	Reparent bool  // start through an intermediate process that exits
	// ReparentUntil is the signal that the app catches once it has started (foreground nginx remembers
	// its parent before that).
	ReparentUntil signals.Signal
	// Guard has the shim stay as the parent of an app that gets fds. It is for an init that is not PID 1.
	Guard bool
}

// Launch is what differs from one generation to the next.
type Launch struct {
	Image *Image   // nil: what the command names now
	Env   []string // instead of the program's; nil: that
	FDs   []int    // the app's fds from 3 on
}

// Process is a started program.
type Process struct {
	PID   int
	Guard int // the shim that has stayed as its parent, or zero
}

// Start runs the program. The error is an *ExecError.
//
// Most programs are forked and executed directly. What has to be done in the child between fork and exec
// and is beyond syscall.SysProcAttr is done by the exec shim, this very executable in a hidden mode.
func (p *Program) Start(l Launch) (started Process, err error) {
	p.enterDir()
	if l.Env == nil {
		l.Env = p.Env
	}
	var path string
	file := func() string { return path }
	if l.Image != nil {
		path = l.Image.Path
		if !l.Image.inPlace() {
			file = l.Image.fdPath
		}
	} else if path, err = Resolve(p.Args[0], environ(p.Env, "PATH")); err != nil {
		return Process{}, err
	}
	started, err = p.start(path, p.Args, l)
	if errors.Is(err, syscall.ENOEXEC) && (l.Image == nil || l.Image.inPlace()) && isScript(path) {
		// execvp(3) hands a file without a #! line to the shell, and entrypoints rely on it.
		l.Image = nil
		shell, failed := p.start("/bin/sh", append([]string{"/bin/sh", path}, p.Args[1:]...), l)
		if !errors.Is(failed, syscall.ENOENT) { // an image without a shell: then it is the file that is wrong
			started, err = shell, failed
		}
	}
	if err != nil {
		return Process{}, explainFile(path, file(), err)
	}
	return started, nil
}

func (p *Program) start(path string, args []string, l Launch) (started Process, err error) {
	if p.Reparent {
		args = append([]string{path}, args[1:]...) // a bare argv[0] could not execute itself anew
	}
	if s, needed := p.shim(l); needed {
		if s.Terminal {
			letGoOfTerminal()
		}
		image := 0
		if l.Image != nil && !l.Image.inPlace() {
			image, s.KeepImage = l.Image.FD, l.Image.isScript()
		}
		started, err = s.start(path, args, l.Env, l.FDs, image)
		if !isShimFailure(err) || p.Reparent || len(l.FDs) > 0 || image != 0 || p.User != nil {
			return started, err
		}
		// No /proc, or an emulator that cannot execute us: the app runs, without the niceties.
	}
	p.Inherited.WithMask(func() {
		started.PID, err = reaper.Start(reaper.Command{Path: path, Args: args, Env: l.Env,
			Sys: &syscall.SysProcAttr{Setpgid: !p.Setsid, Setsid: p.Setsid}})
	})
	return started, err
}

// shim returns what the exec shim has to do, and whether anything.
func (p *Program) shim(l Launch) (shim, bool) {
	s := shim{
		Inherited:     p.Inherited,
		Setsid:        p.Setsid,
		Foreground:    !p.Setsid && ownsForeground(),
		Terminal:      p.Setsid && isTerminal(0),
		Reparent:      p.Reparent,
		ReparentUntil: p.ReparentUntil,
		ListenPID:     len(l.FDs) > 0 || environ(l.Env, "LISTEN_PID") == strconv.Itoa(os.Getpid()),
		Guard:         p.Guard && len(l.FDs) > 0,
		User:          p.User,
	}
	byFD := l.Image != nil && !l.Image.inPlace()
	return s, byFD || s.User != nil || s.Inherited.Ignored != 0 || s.Foreground || s.Terminal || s.Reparent || s.ListenPID
}

// letGoOfTerminal makes the terminal free for the session that the app will lead. Where we lead the session that
// it controls, the kernel sends us and our group SIGHUP and SIGCONT (tty_ioctl(4), TIOCNOTTY).
func letGoOfTerminal() {
	_ = signals.Discard(func() { _ = unix.IoctlSetInt(0, unix.TIOCNOTTY, 0) },
		signals.Signal(syscall.SIGHUP), signals.Signal(syscall.SIGCONT))
}

// ownsForeground reports whether standard input is our terminal and we are its foreground group. Only then
// is the terminal ours to give to the app.
func ownsForeground() bool {
	pgrp, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// Resolve finds the executable file of a command as execvp(3) does: a name with a slash is a path, any
// other is looked for in PATH, where a file that may not be executed is passed over.
func Resolve(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	if path == "" {
		path = "/bin:/usr/bin" // confstr(3), _CS_PATH
	}
	var denied error
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		file := dir + "/" + name
		st, err := os.Stat(file)
		if err != nil {
			continue
		}
		if !st.IsDir() && unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
		if denied == nil {
			denied = explain(file, syscall.EACCES)
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &ExecError{Path: name, Code: CodeNotFound, Errno: syscall.ENOENT,
		Reason: fmt.Sprintf("not found in PATH (%s)", path)}
}

// Setenv returns an environment in which a variable is set, or is not where the value is empty.
func Setenv(env []string, name, value string) []string {
	set := make([]string, 0, len(env)+1)
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			set = append(set, e)
		}
	}
	if value == "" {
		return set
	}
	return append(set, name+"="+value)
}

func environ(env []string, name string) string {
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}
