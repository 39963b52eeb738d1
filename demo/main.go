// Command demo shows upgrades in place: it runs facebookgo's gracedemo, unmodified, below graceinit as PID 1 of a PID
// namespace, drives load, and three times puts a new binary in place and sends USR2. Then it shows the same below tini,
// where that is installed. No container engine is needed; -docker uses Docker.
//
// It exits with 0 if below graceinit every upgrade worked and no request failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/demo/gracedemo"
	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/demo/record"
)

// demo is the demonstration.
type demo struct {
	root   string
	docker bool
	rates  gracedemo.Rates
	app    *gracedemo.App
	screen *screen
	record record.Record
}

const upgrades = 3

func main() {
	pidns.Main()
	var (
		d         = demo{rates: gracedemo.Rates{KeepAlive: 300, Fresh: 100, InFlight: 16, Slow: 4 * time.Second}}
		initPath  string
		json, svg string
		noTini    bool
	)
	flag.BoolVar(&d.docker, "docker", false, "use Docker")
	flag.StringVar(&initPath, "init", "", "the init (default bin/graceinit of this repository, which is built first)")
	flag.StringVar(&json, "json", "", "write the measured data to this `file` (default bin/demo.json of this repository)")
	flag.StringVar(&svg, "svg", "", "draw the measured data to this `file`")
	flag.BoolVar(&noTini, "no-tini", false, "do not show tini")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := 0
	if err := d.run(ctx, initPath, json, svg, !noTini); err != nil {
		code = 1
		if ctx.Err() != nil {
			code, err = 130, errors.New("interrupted")
		}
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
	}
	stop()
	os.Exit(code)
}

func (d *demo) run(ctx context.Context, initPath, json, svg string, withTini bool) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if d.root, err = gracedemo.Root(dir); err != nil {
		return err
	}
	_, terr := unix.IoctlGetTermios(int(os.Stdout.Fd()), unix.TCGETS)
	d.screen = &screen{w: os.Stdout, terminal: terr == nil && os.Getenv("TERM") != "dumb"}
	if d.docker && os.Geteuid() != 0 {
		return errors.New("-docker needs root, to look into the container from outside")
	}
	fmt.Println("building graceinit and the grace demo ...")
	if initPath == "" {
		initPath = filepath.Join(d.root, "bin", "graceinit")
		if out, err := exec.CommandContext(ctx, "make", "-C", d.root, "build").CombinedOutput(); err != nil {
			return fmt.Errorf("make build: %w\n%s", err, out)
		}
	}
	if d.app, err = gracedemo.Build(ctx, d.root, upgrades+1); err != nil {
		return err
	}
	defer d.app.Close()

	d.record = record.Record{Time: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Kernel: kernel(), Docker: d.docker,
		Load: record.Load{KeepAlive: d.rates.KeepAlive, Fresh: d.rates.Fresh, Slow: d.rates.InFlight, SlowSeconds: d.rates.Slow.Seconds()}}
	grace, err := d.play(ctx, initProgram{name: "graceinit", path: initPath, version: version(ctx, initPath)}, upgrades)
	d.screen.end()
	if err != nil {
		return err
	}
	d.record.Runs = append(d.record.Runs, grace.Run)
	summary := []string{describe(grace)}
	if tini, ok := d.tini(ctx); ok && withTini {
		other, err := d.play(ctx, tini, 1)
		d.screen.end()
		if err != nil {
			return err
		}
		d.record.Runs = append(d.record.Runs, other.Run)
		summary = append(summary, describe(other))
	} else if withTini {
		summary = append(summary, "tini       is not installed; with it you would see the container end at the first upgrade")
	}
	summary = append(summary, "no init    as PID 1 the grace demo takes its predecessor for init (ppid 1) and never stops it: two generations serve for ever")
	if err := d.write(ctx, json, svg); err != nil {
		return err
	}
	fmt.Println()
	for _, s := range summary {
		fmt.Println(s)
	}
	if grace.Crossed > 0 {
		fmt.Printf("%d requests besides were on their way as the grace demo itself closed their idle connection; in HTTP/1.1 a client sends these again\n", grace.Crossed)
	}
	for _, f := range grace.Failures {
		fmt.Println(f)
	}
	fmt.Printf("%d of %d requests failed\n", grace.Failed, grace.Requests)
	return verdict(&grace.Run)
}

// verdict says what was not as it should be below graceinit.
func verdict(r *record.Run) error {
	switch {
	case r.Ended != 0:
		return fmt.Errorf("%s ended under load, %s", r.Init, r.Exit)
	case r.Requests == 0:
		return errors.New("there was no load")
	case r.Failed > 0:
		return fmt.Errorf("%d requests failed", r.Failed)
	case len(r.Generations) != upgrades+1:
		return fmt.Errorf("there were %d generations, want %d", len(r.Generations), upgrades+1)
	case r.Left != 1 || r.Dead != 0:
		return fmt.Errorf("%d processes and %d zombies were left, want one process", r.Left, r.Dead)
	case r.Exit != "exit code 0":
		return fmt.Errorf("%s ended with %s", r.Init, r.Exit)
	}
	for _, g := range r.Generations {
		if g.OK == 0 || g.Build != g.Number {
			return fmt.Errorf("generation %d answered %d requests from build %d", g.Number, g.OK, g.Build)
		}
	}
	return nil
}

func describe(r *run) string {
	if r.Ended != 0 {
		first := 0.0
		for _, e := range r.Events {
			if e.Kind == record.Upgrade {
				first = e.At
				break
			}
		}
		return fmt.Sprintf("%-10s the container ended %.1f s after the first USR2 (%s), and %d of %d requests failed up to %.0f s later",
			r.Init, r.Ended-first, r.Exit, r.Failed, r.Requests, afterDeath.Seconds())
	}
	pids := ""
	for i, g := range r.Generations {
		if i > 0 {
			pids += " → "
		}
		pids += fmt.Sprint(g.PID)
	}
	return fmt.Sprintf("%-10s %d upgrades in place (pids %s), one process and %d zombies left, stopped with %s", r.Init, len(r.Generations)-1, pids, r.Dead, r.Exit)
}

// tini finds the init to compare with.
func (d *demo) tini(ctx context.Context) (initProgram, bool) {
	if d.docker {
		return initProgram{name: "docker-init", version: "docker run --init", dockerInit: true}, true
	}
	path, err := exec.LookPath("tini")
	if err != nil {
		return initProgram{}, false
	}
	return initProgram{name: "tini", path: path, version: version(ctx, path)}, true
}

func (d *demo) write(ctx context.Context, json, svg string) error {
	if json == "" {
		json = filepath.Join(d.root, "bin", "demo.json")
	}
	if err := d.record.Write(json); err != nil {
		return err
	}
	if svg == "" {
		return nil
	}
	// The drawing is a program of its own, so that nobody who does not ask for a picture must fetch a plotting library.
	absolute := []*string{&json, &svg}
	for _, p := range absolute {
		var err error
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./picture", "-o", svg, json)
	cmd.Dir = filepath.Join(d.root, "demo")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot draw %s: %w\n%s", svg, err, out)
	}
	return nil
}

func version(ctx context.Context, path string) string {
	out, _ := exec.CommandContext(ctx, path, "--version").Output()
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first)
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
