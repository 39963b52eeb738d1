// Command chaos lets everything go wrong under an init that can, at random, and looks whether it keeps its promises.
// It needs root and no container engine. docs/reliability.md describes the faults, the oracle and the figures.
//
// A run is a row of episodes. An episode is one life of the init with its app under load: storms of faults with a calm
// behind each, in which the init has to be as it was, and an end. What happens in it follows from the seed and the
// episode's number alone, so an episode can be run again; how the machine schedules it does not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/gracedemo"
	"github.com/graceinit/graceinit/demo/pidns"
)

type options struct {
	init    string
	seed    uint64
	length  time.Duration
	lanes   int
	only    string
	episode uint64
	clock   bool
	growth  int64
	orphans int
	storms  int
	rest    time.Duration
	report  string
	table   string
	doc     string
	logs    string
	verbose bool
}

// maxOrphans is how many at once an init is to bear.
const maxOrphans = 50_000

func main() {
	pidns.Main()
	churn.Main()
	rolesMain()
	var o options
	flag.StringVar(&o.init, "init", "", "the init (default bin/graceinit of this repository)")
	flag.Uint64Var(&o.seed, "seed", 0, "of the random numbers (default: a new one)")
	flag.DurationVar(&o.length, "for", 20*time.Minute, "begin no episode after this `time`")
	flag.IntVar(&o.lanes, "lanes", 2, "episodes at a time")
	flag.StringVar(&o.only, "only", "", "only these `faults`, by name or by what it begins with, separated by commas")
	flag.Uint64Var(&o.episode, "episode", 0, "only the episode with this `number`")
	flag.BoolVar(&o.clock, "clock", false, "also step this machine's clock, by seconds and hours, and back at once")
	flag.IntVar(&o.storms, "storms", 0, "how many storms an episode has (default: 2 to 4); with many, whatever leaks is seen to")
	flag.DurationVar(&o.rest, "rest", time.Minute, "how long the init may take to come to rest after a storm")
	flag.Int64Var(&o.growth, "growth", 3072, "`kB` by which the init's own memory at rest may grow in an episode")
	flag.IntVar(&o.orphans, "orphans", maxOrphans, "how many orphans at once, at most")
	flag.StringVar(&o.report, "report", "", "write the figures to this `file`, as JSON")
	flag.StringVar(&o.table, "table", "", "run nothing: merge these `reports`, separated by commas, into one table")
	flag.StringVar(&o.doc, "doc", "", "with -table: put it between the markers in this `file`")
	flag.StringVar(&o.logs, "logs", "", "keep the init's log of every episode that violates the oracle in this `directory`")
	flag.BoolVar(&o.verbose, "v", false, "show what happens")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: chaos [flags]\n\nLets everything go wrong that can, at random and under load, and judges (docs/reliability.md). It needs root, Go and\n"+
			"no container engine. Paths are relative to demo/ under make chaos.\n\nFaults:\n")
		for _, f := range faults {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-31s %s\n", f.name, f.how)
		}
		fmt.Fprintln(flag.CommandLine.Output(), "\nFlags:")
		flag.PrintDefaults()
	}
	flag.Parse()
	if o.doc != "" && o.table == "" {
		fmt.Fprintln(os.Stderr, "chaos: -doc goes with -table")
		os.Exit(2)
	}
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "chaos: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if o.table != "" {
		exitWith(merge(strings.Split(o.table, ","), o.doc))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	exitWith(run(ctx, o))
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// errViolated says that the init did not keep a promise.
var errViolated = errors.New("the oracle was violated")

func run(ctx context.Context, o options) error {
	total, err := campaign(ctx, o)
	if err != nil {
		return err
	}
	total.print(os.Stdout)
	if o.report != "" {
		if err := total.save(o.report); err != nil {
			return err
		}
	}
	if n := len(total.Violations); n > 0 {
		return fmt.Errorf("%w: %d violations in %d episodes", errViolated, n, total.Episodes)
	}
	if total.Episodes == 0 {
		return errors.New("no episode came to its end")
	}
	return nil
}

// known reports whether there are the faults of -only.
func (o options) known() error {
	if o.only == "" {
		return nil
	}
	for name := range strings.SplitSeq(o.only, ",") {
		if name == "" || !slices.ContainsFunc(faults, func(f *fault) bool { return strings.HasPrefix(f.name, name) }) {
			return fmt.Errorf("-only: there is no fault %q; there are: %s", name, strings.Join(faultNames(), ", "))
		}
	}
	return nil
}

// campaign runs the episodes.
func campaign(ctx context.Context, o options) (*report, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("it needs root")
	}
	if err := o.known(); err != nil {
		return nil, err
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	kit, err := newKit(ctx, o)
	if err != nil {
		return nil, err
	}
	defer kit.Close()
	total := newReport(o, kit)
	fmt.Printf("chaos: seed %d, %s, %s\n", o.seed, kit.version, total.Kernel)
	for _, why := range kit.leftOut {
		fmt.Printf("chaos: left out: %s\n", why)
	}

	var next atomic.Uint64
	var lanes sync.WaitGroup
	var show sync.Mutex
	began := time.Now()
	for range o.lanes {
		lanes.Go(func() {
			for ctx.Err() == nil && (time.Since(began) < o.length || o.episode != 0) {
				number := next.Add(1)
				if o.episode != 0 {
					if number > 1 {
						return
					}
					number = o.episode
				}
				e := live(ctx, kit, newPlan(o.seed, number, o.storms, kit.choice, kit.nginx != ""))
				if ctx.Err() != nil {
					return // cut off: what it saw is our doing
				}
				show.Lock()
				total.add(e)
				e.show(o)
				show.Unlock()
			}
		})
	}
	lanes.Wait()
	total.Seconds = time.Since(began).Seconds()
	return total, nil
}

// show prints one line for the episode, and what happened in it if that was wrong.
func (e *episode) show(o options) {
	switch {
	case len(e.violations) > 0:
		if o.logs != "" {
			file := filepath.Join(o.logs, fmt.Sprintf("chaos-%d-%d.log", e.plan.Seed, e.plan.Number))
			if err := os.WriteFile(file, []byte(e.said.String()), 0o644); err != nil {
				fmt.Printf("cannot keep the log: %v\n", err)
			}
		}
		fmt.Printf("\n--- episode %d violates the oracle\n%s", e.plan.Number, e.log)
		for _, v := range e.violations {
			fmt.Printf("VIOLATION %s\n", v)
		}
		fmt.Printf("--- to run it again: make chaos CHAOSFLAGS=\"-seed %d -episode %d%s\"\n\n", e.plan.Seed, e.plan.Number, again(o))
	case o.verbose:
		fmt.Printf("\n--- episode %d\n%s", e.plan.Number, e.log)
	}
	fmt.Printf("chaos: episode %d: %s, %.0f s, %d requests (%d explained failures), %s\n", e.plan.Number, e.plan.App,
		e.took.Seconds(), e.requests, e.explained, e.outcome)
}

// again are the flags that the plan depends on beside the seed.
func again(o options) string {
	out := ""
	if o.only != "" {
		out += " -only '" + o.only + "'"
	}
	if o.clock {
		out += " -clock"
	}
	if o.init != "" {
		out += " -init " + o.init
	}
	if o.orphans != maxOrphans {
		out += fmt.Sprintf(" -orphans %d", o.orphans)
	}
	if o.storms > 0 {
		out += fmt.Sprintf(" -storms %d", o.storms)
	}
	return out
}

// repository is the root of the one that contains the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	return gracedemo.Root(dir)
}

func (o options) initPath(root string) string {
	if o.init == "" {
		return filepath.Join(root, "bin", "graceinit")
	}
	return o.init
}
