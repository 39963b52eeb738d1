package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/demo/proc"
)

// Names of subjects that are treated in a special way.
const (
	ours     = "graceinit"
	standard = "tini" // what the others are compared with
	control  = "bare" // no init: the app is PID 1
	s6       = "s6"
)

// subject is an init to be measured, or the control.
type subject struct {
	name    string
	program string // what is executed as PID 1
	// verbose makes it log every orphan that it reaps; nil if it has no such option.
	verbose []string
	// command is the command line that runs an app; what is made in dir is removed afterwards.
	command func(program string, flags, app []string, dir string) ([]string, error)
}

// peers of graceinit.
var peers = []subject{
	{name: standard, program: "tini", verbose: []string{"-w"}, command: before},
	{name: "dumb-init", program: "dumb-init", verbose: []string{"-v"}, command: before},
	{name: "catatonit", program: "catatonit", command: before},
	{name: s6, program: "s6-svscan", command: service},
}

func peerNames() []string {
	var out []string
	for _, p := range peers {
		out = append(out, p.name)
	}
	return out
}

// installed are graceinit, its peers that are there, and the control.
func installed(graceinit, app string) ([]subject, error) {
	all := []subject{{name: ours, program: graceinit, verbose: []string{"-w"}, command: before}}
	for _, p := range peers {
		path, err := exec.LookPath(p.program)
		if err != nil {
			fmt.Printf("%s is not installed and left out\n", p.name)
			continue
		}
		p.program = path
		all = append(all, p)
	}
	// A program that has just been written is in memory only, and its pages would count as dirty ones of the process.
	for _, s := range all {
		f, err := os.Open(s.program)
		if err != nil {
			return nil, err
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return append(all, subject{name: control, program: app, command: func(_ string, _, app []string, _ string) ([]string, error) { return app, nil }}), nil
}

// before is the command line of an init that is written before the app's.
func before(program string, flags, app []string, _ string) ([]string, error) {
	return slices.Concat([]string{program}, flags, []string{"--"}, app), nil
}

// service is the command line of s6-svscan with one service. A link is as good as a script where the app needs no arguments,
// and costs no shell.
func service(program string, flags, app []string, dir string) ([]string, error) {
	name := filepath.Join(dir, "app")
	err := os.Mkdir(name, 0o755)
	run := filepath.Join(name, "run")
	switch {
	case err != nil:
	case len(app) == 1:
		err = os.Symlink(app[0], run)
	default:
		err = os.WriteFile(run, []byte("#!/bin/sh\nexec '"+strings.Join(app, "' '")+"'\n"), 0o755)
	}
	return slices.Concat([]string{program}, flags, []string{dir}), err
}

// inits are the subjects without the control.
func (b *bench) inits() []subject {
	return slices.DeleteFunc(slices.Clone(b.subjects), func(s subject) bool { return s.name == control })
}

// forwarding are the subjects that hand signals to the app.
func (b *bench) forwarding() []subject {
	return slices.DeleteFunc(slices.Clone(b.subjects), func(s subject) bool { return s.name == s6 })
}

// buildApp compiles what the inits run.
func buildApp(ctx context.Context, root, dir string) (string, error) {
	app := filepath.Join(dir, "app")
	cc := exec.CommandContext(ctx, "gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-stack-protector", "-static", "-nostdlib",
		"-o", app, filepath.Join(root, "bench", "fixture", "app.c"))
	if out, err := cc.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot compile the app: %w\n%s", err, out)
	}
	return app, nil
}

// life is an init, as PID 1 of a namespace, with its app.
type life struct {
	*pidns.Namespace
	said *os.File // what the app says
	app  string   // its program
	dir  string
	stop func() bool
}

// limit is for whatever should take seconds.
const limit = 5 * time.Minute

// start starts an app below an init. Without one it is bench.app.
func (b *bench) start(s subject, flags []string, log io.Writer, app ...string) (*life, error) {
	if len(app) == 0 {
		app = []string{b.app}
	}
	dir, err := os.MkdirTemp(filepath.Dir(b.app), "life-")
	if err != nil {
		return nil, err
	}
	args, err := s.command(s.program, flags, app, dir)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	n, err := pidns.Start(pidns.Command{Args: args, Stdout: w, Stderr: log})
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	_ = r.SetReadDeadline(time.Now().Add(limit)) // a pipe has deadlines
	return &life{Namespace: n, said: r, app: app[0], dir: dir,
		stop: context.AfterFunc(b.ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })}, nil
}

// end ends everything that is left of it. It may be called again.
func (l *life) end() {
	l.Kill()
	l.stop()
	l.said.Close()
	_ = os.RemoveAll(l.dir)
}

// begin is start, and waits until the app runs.
func (b *bench) begin(s subject, flags []string, app ...string) (*life, time.Duration, error) {
	l, err := b.start(s, flags, nil, app...)
	if err != nil {
		return nil, 0, err
	}
	first, err := l.record(0)
	if err != nil {
		l.end()
		return nil, 0, err
	}
	return l, first, nil
}

// record reads a record of the app: when it got that signal. It began with signal 0.
func (l *life) record(want syscall.Signal) (at time.Duration, err error) {
	var r struct{ Signal, At int64 }
	if err := binary.Read(l.said, binary.NativeEndian, &r); err != nil {
		select {
		case <-l.Done():
			err = fmt.Errorf("%w: PID 1 ended with status %d", err, l.Wait().ExitStatus())
		case <-time.After(time.Second): // it lives on without its app, or the app says nothing
		}
		return 0, fmt.Errorf("the app did not say that it got signal %d: %w", want, err)
	}
	if syscall.Signal(r.Signal) != want {
		return 0, fmt.Errorf("the app got signal %d, want %d", r.Signal, want)
	}
	return time.Duration(r.At), nil
}

// pids are those of the init, which can have helpers, and that of the app. They are as the caller sees them.
func (l *life) pids() (init []int, app int, err error) {
	all, err := proc.List("/proc")
	if err != nil {
		return nil, 0, err
	}
	family := []int{l.PID}
	for i := 0; i < len(family); i++ {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", family[i]))
		if err == nil && exe == l.app {
			app = family[i]
			continue
		}
		init = append(init, family[i])
		for _, p := range all {
			if p.PPID == family[i] && !p.Forked {
				family = append(family, p.PID)
			}
		}
	}
	if app == 0 {
		return nil, 0, errors.New("the app does not run")
	}
	return init, app, nil
}

// signalApp signals the app itself, past the init.
func (l *life) signalApp(sig syscall.Signal) error {
	_, app, err := l.pids()
	if err != nil {
		return err
	}
	return syscall.Kill(app, sig)
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
func milli(d time.Duration) float64 { return micro(d) / 1000 }
