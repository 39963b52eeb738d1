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
	Inherited signals.Inherited

	Setsid   bool // lead a session instead of a process group
	Reparent bool // start through an intermediate process that exits
	// ReparentUntil is the signal that the app catches once it has started (foreground nginx remembers
	// its parent before that).
	ReparentUntil signals.Signal
}

// Start runs the program and returns its pid. The error is an *ExecError.
//
// Most programs are forked and executed directly. What has to be done in the child between fork and exec
// and is beyond syscall.SysProcAttr is done by the exec shim, this very executable in a hidden mode.
func (p *Program) Start() (pid int, err error) {
	path, err := Resolve(p.Args[0], environ(p.Env, "PATH"))
	if err != nil {
		return 0, err
	}
	pid, err = p.start(path, p.Args)
	if errors.Is(err, syscall.ENOEXEC) && isScript(path) {
		// execvp(3) hands a file without a #! line to the shell, and entrypoints rely on it.
		pid, err = p.start("/bin/sh", append([]string{"/bin/sh", path}, p.Args[1:]...))
	}
	if err != nil {
		return 0, explain(path, err)
	}
	return pid, nil
}

func (p *Program) start(path string, args []string) (pid int, err error) {
	if p.Reparent {
		args = append([]string{path}, args[1:]...) // a bare argv[0] could not execute itself anew
	}
	if s, needed := p.shim(); needed {
		if s.Terminal {
			letGoOfTerminal()
		}
		pid, err = s.start(path, args, p.Env)
		if !isShimFailure(err) || p.Reparent {
			return pid, err
		}
		// No /proc, or an emulator that cannot execute us: the app runs, without the niceties.
	}
	p.Inherited.WithMask(func() {
		pid, err = reaper.Start(reaper.Command{Path: path, Args: args, Env: p.Env,
			Sys: &syscall.SysProcAttr{Setpgid: !p.Setsid, Setsid: p.Setsid}})
	})
	return pid, err
}

// shim returns what the exec shim has to do, and whether anything.
func (p *Program) shim() (shim, bool) {
	s := shim{
		Inherited:     p.Inherited,
		Setsid:        p.Setsid,
		Foreground:    !p.Setsid && ownsForeground(),
		Terminal:      p.Setsid && isTerminal(0),
		Reparent:      p.Reparent,
		ReparentUntil: p.ReparentUntil,
		ListenPID:     environ(p.Env, "LISTEN_PID") == strconv.Itoa(os.Getpid()),
	}
	return s, s.Inherited.Ignored != 0 || s.Foreground || s.Terminal || s.Reparent || s.ListenPID
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

func environ(env []string, name string) string {
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}
