// Command bench measures what an init costs, beside the peers that are installed, and what an upgrade does to the clients of
// a server, beside other ways of upgrading. README.md tells how.
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
	"syscall"
	"time"

	"github.com/graceinit/graceinit/bench/result"
	"github.com/graceinit/graceinit/bench/upgrades"
	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/pidns"
)

type options struct {
	amounts
	init    string
	only    string
	short   bool
	seed    uint64
	json    string
	compare string
	strict  bool
	render  bool
	check   bool
}

// amounts are how much is measured.
type amounts struct {
	idle     time.Duration
	quiet    time.Duration // how long an init is left alone before it counts as at rest
	starts   int           // lives of each init, and as many that end by themselves
	memories int           // starts of each init of which the memory is read
	logged   int           // orphans that are reaped and logged before the memory is read again
	orphans  int           // in a round of the churn
	backlog  int           // zombies, and orphans that end at once
	rounds   int           // of each kind of reaping
	signals  int           // to each init
}

var (
	full  = amounts{idle: time.Minute, quiet: 3 * time.Second, starts: 200, memories: 7, logged: 20_000, orphans: 2_000, backlog: 20_000, rounds: 9, signals: 3_000}
	short = amounts{idle: time.Second, quiet: 100 * time.Millisecond, starts: 5, memories: 3, logged: 200, orphans: 200, backlog: 500, rounds: 3, signals: 50}
)

// bench is a run.
type bench struct {
	ctx      context.Context
	o        options
	root     string // of the repository
	app      string // the program that the inits run
	subjects []subject
	random   *rand.Rand
	patience time.Duration    // in which whatever is waited for has to happen; 0 is much
	figures  []*result.Figure // of the inits
	upgraded []result.Figure
	series   []result.Series
}

// group is a part of the measurements.
type group struct {
	name string
	what string // for help
	run  func(*bench) error
}

var groups = []group{
	{"size", "size of the binaries and of the libraries that they map", (*bench).sizes},
	{"start", "start-up, shutdown, and the end of an app by itself", (*bench).starts},
	{"signals", "from kill(2) to the app's handler", (*bench).signals},
	{"reaping", "orphans one after the other, a backlog of zombies, many at once", (*bench).reaping},
	{"memory", "memory at rest and after logged orphans; threads, wake-ups and CPU in idleness", (*bench).memory},
	{upgrades.Group, "upgrades of servers under load, by graceinit and by other means (upgrades/README.md)", (*bench).upgrades},
}

func main() {
	pidns.Main()
	churn.Main()
	upgrades.Main()
	o := flags()
	root, err := root()
	if err == nil && o.render {
		err = render(root, o)
	} else if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		var missed bool
		missed, err = run(ctx, root, o)
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		stop()
		if err == nil && missed && o.strict {
			os.Exit(1)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func flags() options {
	o := options{amounts: full}
	if slices.Contains(os.Args[1:], "-short") || slices.Contains(os.Args[1:], "--short") {
		o.amounts = short // flags beside it change these
	}
	flag.StringVar(&o.init, "init", "", "the graceinit to be measured, a `file` (default bin/graceinit of this repository)")
	flag.StringVar(&o.only, "only", "", "measure these `groups` only, with commas between them; figures of others that are in the file stay there")
	flag.BoolVar(&o.short, "short", false, "measure everything, but little of it: in a minute, and the figures are worth nothing")
	flag.Uint64Var(&o.seed, "seed", 1, "for the order of the inits in each round")
	flag.StringVar(&o.json, "json", "", "keep the figures in this `file` (default bin/bench.json of this repository, or bench-short.json)")
	flag.StringVar(&o.compare, "compare", "", "also print what has changed since this `file` was made")
	flag.BoolVar(&o.strict, "strict", false, "exit with 1 if a goal is missed")
	flag.BoolVar(&o.render, "render", false, "measure nothing: write the tables and pictures of docs/performance.md from the file of -json, and keep it beside them")
	flag.BoolVar(&o.check, "check", false, "with -render: write nothing, fail if docs/performance.md is not what docs/performance/bench.json says")
	flag.DurationVar(&o.idle, "idle", o.idle, "how long to watch the idle inits")
	flag.IntVar(&o.starts, "starts", o.starts, "starts of each init that end by a signal, and as many of which the app ends by itself")
	flag.IntVar(&o.signals, "signals", o.signals, "signals to each init")
	flag.IntVar(&o.rounds, "rounds", o.rounds, "rounds of each kind of reaping")
	flag.IntVar(&o.orphans, "orphans", o.orphans, "orphans in a round of the churn")
	flag.IntVar(&o.backlog, "backlog", o.backlog, "zombies of a backlog, and orphans that end at once")
	flag.IntVar(&o.logged, "logged", o.logged, "orphans that are reaped and logged before the memory is read")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: bench [flags]\n\nMeasures graceinit beside %s, and without an init (bare). The peers that are not installed are left out.\n"+
			"It needs gcc, and root; without the group upgrades unprivileged user namespaces will do. Nothing else should run on the machine.\n\nGroups:\n", strings.Join(peerNames(), ", "))
		for _, g := range groups {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-9s %s\n", g.name, g.what)
		}
		fmt.Fprintln(flag.CommandLine.Output(), "\nFlags:")
		flag.PrintDefaults()
	}
	flag.Parse()
	if o.check && !o.render {
		fmt.Fprintln(os.Stderr, "bench: -check goes with -render")
		os.Exit(2)
	}
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	return o
}

func run(ctx context.Context, root string, o options) (missed bool, err error) {
	chosen, err := choose(o.only)
	if err != nil {
		return false, err
	}
	if os.Geteuid() != 0 && slices.ContainsFunc(chosen, func(g group) bool { return g.name == upgrades.Group }) {
		return false, fmt.Errorf("the group %s needs root, for a network namespace: name the others with -only to do without", upgrades.Group)
	}
	if o.init == "" {
		o.init = filepath.Join(root, "bin", "graceinit")
	}
	if o.json == "" {
		o.json = filepath.Join(root, "bin", "bench.json")
		if o.short {
			o.json = filepath.Join(root, "bin", "bench-short.json")
		}
	}
	if o.init, err = filepath.Abs(o.init); err != nil {
		return false, err
	}
	if _, err := os.Stat(o.init); err != nil {
		return false, fmt.Errorf("graceinit is not built (make build): %w", err)
	}
	var before *result.Result
	if o.compare != "" {
		if before, err = result.Read(o.compare); err != nil {
			return false, err
		}
	}
	tmp, err := os.MkdirTemp("", "graceinit-bench-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(tmp)
	b := &bench{ctx: ctx, o: o, root: root, random: rand.New(rand.NewPCG(o.seed, 0))}
	if b.app, err = buildApp(ctx, root, tmp); err != nil {
		return false, err
	}
	if b.subjects, err = installed(o.init, b.app); err != nil {
		return false, err
	}
	r := result.Result{Machine: machine(o.init)}
	r.Machine.Short = o.short
	var done []string
	for _, g := range chosen {
		began := time.Now()
		if err := g.run(b); err != nil {
			return false, errors.Join(fmt.Errorf("%s: %w", g.name, err), b.keep(r, done, o.json+".part"))
		}
		done = append(done, g.name)
		progress("%s: done in %v", g.name, time.Since(began).Round(time.Second/10))
		fmt.Fprintln(os.Stderr)
	}
	r.Machine.LoadAfter = load()
	if err := b.complete(); err != nil {
		return false, err
	}
	b.fill(&r)
	r.Print(os.Stdout)
	if before != nil {
		fmt.Printf("\nsince %s:\n", o.compare)
		result.PrintChanges(os.Stdout, result.Changes(before, &r))
	}
	for _, g := range r.Goals() {
		missed = missed || !g.Met
	}
	if o.only != "" {
		if old, err := result.Read(o.json); err == nil {
			r = old.With(r, ours)
		}
	}
	return missed, r.Write(o.json)
}

// fill puts what was measured into the result, in the order of the groups.
func (b *bench) fill(r *result.Result) {
	for _, f := range b.figures {
		r.Figures = append(r.Figures, *f)
	}
	r.Figures, r.Series = append(r.Figures, b.upgraded...), b.series
}

// keep saves the groups that were done before one failed: a run takes long.
func (b *bench) keep(r result.Result, done []string, file string) error {
	if len(done) == 0 {
		return nil
	}
	b.fill(&r)
	r.Figures = slices.DeleteFunc(r.Figures, func(f result.Figure) bool { return !slices.Contains(done, f.Group) })
	r.Series = slices.DeleteFunc(r.Series, func(s result.Series) bool { return !slices.Contains(done, s.Group) })
	if err := r.Write(file); err != nil {
		return err
	}
	return fmt.Errorf("what was measured before (%s) is in %s", strings.Join(done, ", "), file)
}

func choose(only string) ([]group, error) {
	if only == "" {
		return groups, nil
	}
	var out []group
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(groups, func(g group) bool { return g.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no group %q (-h lists them)", name)
		}
		out = append(out, groups[i])
	}
	return out, nil
}

func (b *bench) upgrades() (err error) {
	b.upgraded, b.series, err = upgrades.Measure(b.ctx, upgrades.Options{Init: b.o.init, Root: b.root, Short: b.o.short, Seed: b.o.seed})
	return err
}

// figure begins a figure. Where it ends up follows from the order of these calls.
func (b *bench) figure(group, name, unit, better string) *result.Figure {
	f := &result.Figure{Group: group, Name: name, Unit: unit, Better: better}
	b.figures = append(b.figures, f)
	return f
}

// complete fails if a figure lacks an init that is there: then the measurement is wrong, whatever the figures are.
func (b *bench) complete() error {
	for _, f := range b.figures {
		for _, s := range b.inits() {
			if have := f.Subject(s.name); !have.Measured() && have.Note == "" {
				return fmt.Errorf("%s of %s has no samples and no reason", f.Name, s.name)
			}
		}
	}
	return nil
}

// turns calls f for every one of the subjects in every round, in another order each time. What changes on the machine meets all
// of them, and none is always the one that follows another. The first round counts for nothing: it warms up caches.
func (b *bench) turns(what string, rounds int, subjects []subject, f func(s subject, counts bool) error) error {
	for round := range rounds + 1 {
		progress("%s: round %d of %d", what, round, rounds)
		for _, i := range b.random.Perm(len(subjects)) {
			if err := b.ctx.Err(); err != nil {
				return err
			}
			if err := f(subjects[i], round > 0); err != nil {
				return fmt.Errorf("%s: %w", subjects[i].name, err)
			}
		}
	}
	return nil
}

// pass lets time go by: here it is what is measured.
func (b *bench) pass(d time.Duration) error {
	select {
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// gap is a random time of that length on average. Without it the samples would keep step with something periodic.
func (b *bench) gap(average time.Duration) time.Duration {
	return average/2 + time.Duration(b.random.Int64N(int64(average)))
}

// progress writes over the last line of a terminal.
func progress(format string, args ...any) {
	if fi, err := os.Stderr.Stat(); err == nil && fi.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
	}
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
