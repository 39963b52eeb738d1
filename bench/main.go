// Command bench measures what an init costs, beside the peers that are installed: size, memory, wake-ups, time to start
// and stop, and CPU per reaped orphan; and what an upgrade adds to the time that an app takes to start. README.md tells how.
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
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/pidns"
)

type options struct {
	idle           time.Duration
	logged, churn  int
	rounds, starts int
	upgrades       int
	json           string
	strict         bool
}

// subject is an init to be measured.
type subject struct {
	name string
	path string
	// verbose makes it log every orphan that it reaps; nil if it has no such option.
	verbose []string
	// holding makes it open what it has open in mode spawn, beside its control and notification sockets.
	holding []string
}

// peers of graceinit; those that are not installed are left out.
var peers = []subject{
	{name: "tini", verbose: []string{"-w"}},
	{name: "dumb-init", verbose: []string{"-v"}},
	{name: "catatonit"},
}

func main() {
	pidns.Main()
	churn.Main()
	var o options
	var graceinit string
	flag.StringVar(&graceinit, "init", "", "graceinit (default bin/graceinit of this repository)")
	flag.DurationVar(&o.idle, "idle", 60*time.Second, "how long to watch the idle inits")
	flag.IntVar(&o.logged, "logged", 20_000, "orphans that are reaped and logged before the memory is read again")
	flag.IntVar(&o.churn, "orphans", 2_000, "orphans in a round of the measurement of CPU")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of the measurement of CPU")
	flag.IntVar(&o.starts, "starts", 100, "starts of each init")
	flag.IntVar(&o.upgrades, "upgrades", 11, "upgrades of each server")
	flag.StringVar(&o.json, "json", "", "write the figures to this `file` (default bin/bench.json of this repository)")
	flag.BoolVar(&o.strict, "strict", false, "exit with 1 if a goal is missed")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	missed, err := run(ctx, graceinit, o)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
	if missed && o.strict {
		os.Exit(1)
	}
}

func run(ctx context.Context, graceinit string, o options) (missed bool, err error) {
	root, err := root()
	if err != nil {
		return false, err
	}
	if graceinit == "" {
		graceinit = filepath.Join(root, "bin", "graceinit")
	}
	if o.json == "" {
		o.json = filepath.Join(root, "bin", "bench.json")
	}
	if _, err := os.Stat(graceinit); err != nil {
		return false, fmt.Errorf("graceinit is not built (make build): %w", err)
	}
	subjects := []subject{{
		name: "graceinit", path: graceinit, verbose: []string{"-w"}, holding: []string{"--listen", "tcp://127.0.0.1:0"},
	}}
	for _, s := range peers {
		if s.path, err = exec.LookPath(s.name); err != nil {
			fmt.Printf("%s is not installed and left out\n", s.name)
			continue
		}
		subjects = append(subjects, s)
	}
	m := measurement{ctx: ctx, o: o, figures: make([]figures, len(subjects))}
	for i, s := range subjects {
		m.figures[i].Name = s.name
	}
	for _, step := range []struct {
		what string
		do   func([]subject) error
	}{
		{"size", m.sizes},
		{fmt.Sprintf("memory and wake-ups, %v idle", o.idle), m.idle},
		{fmt.Sprintf("memory after %d logged orphans", o.logged), m.logged},
		{fmt.Sprintf("CPU for %d × %d orphans", o.rounds, o.churn), m.reaping},
		{fmt.Sprintf("%d starts", o.starts), m.starts},
		{fmt.Sprintf("%d upgrades of each server", o.upgrades), func([]subject) error { return m.upgrades(graceinit, root) }},
	} {
		fmt.Printf("measuring: %s\n", step.what)
		if err := step.do(subjects); err != nil {
			return false, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	rep := report{Time: time.Now().UTC().Truncate(time.Second), Idle: o.idle.Seconds(), Logged: o.logged, Inits: m.figures, Bare: m.bare, Delays: m.delays}
	rep.Goals = goals(rep.Inits[0], rep.Delays, o)
	rep.print(os.Stdout)
	for _, g := range rep.Goals {
		missed = missed || !g.Met
	}
	return missed, rep.write(o.json)
}

// root is the directory of the repository.
func root() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, serr := os.Stat(filepath.Join(dir, "cmd", "graceinit")); serr == nil {
			return dir, nil
		}
	}
	return "", errors.Join(errors.New("cannot find the repository from the working directory"), err)
}
