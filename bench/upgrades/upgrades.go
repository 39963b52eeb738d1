// Package upgrades measures the ways of upgrading a server side by side: by graceinit, by what servers bring themselves,
// and by the means that are common without either. README.md tells how.
package upgrades

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/graceinit/graceinit/bench/result"
)

// Options say what is measured. Init and Root are needed.
type Options struct {
	Init string // the graceinit to be measured
	Root string // of the repository
	// Short measures everything once, with few connections, in less than a minute.
	Short bool
	// Rounds multiplies the rounds; zero is one.
	Rounds int
	// Only are the names of ways; none is all of them.
	Only []string
	Seed uint64
}

// Measure does it all and returns the figures, and the latencies over the time of an upgrade.
func Measure(ctx context.Context, o Options) ([]result.Figure, []result.Series, error) {
	r, err := Run(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	return r.Figures(), r.TimeLines(), nil
}

// Run measures.
func Run(ctx context.Context, o Options) (*Result, error) {
	tmp, err := os.MkdirTemp("", "graceinit-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	fixtures := filepath.Join(o.Root, "test", "container", "fixtures")
	p := plan{Options: o, App: filepath.Join(tmp, appComm), Plain: filepath.Join(tmp, "plaingo"), Conf: filepath.Join(fixtures, "conf")}
	for _, b := range []struct{ dir, pkg, out string }{
		{filepath.Join(o.Root, "bench"), "./upgrades/fixtures/app", p.App},
		{filepath.Dir(fixtures), "./fixtures/plaingo", p.Plain},
	} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", b.out, b.pkg)
		cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cannot build %s: %w\n%s", b.pkg, err, out)
		}
	}
	return enter(ctx, p)
}

// Result is what was measured, as it was measured.
type Result struct {
	Files   int      // how many files a process may have open
	Missing []string // ways that cannot be measured here, and why
	Loaded  []Trial  // under load
	Still   []Trial  // of servers held still
	Servers []Server
	Look    Look
	Drain   Drain
}

// plan is the measurement, as it is handed to the network namespace.
type plan struct {
	Options
	App, Plain, Conf string

	lives int // for addresses
	files int
}

// step is a number of connections and listeners, and how often it is measured.
type step struct{ connections, listeners, loaded, still int }

func (p *plan) steps() []step {
	if p.Short {
		return []step{{100, 1, 1, 1}}
	}
	n := max(p.Rounds, 1)
	return []step{{100, 1, 6 * n, 6 * n}, {10_000, 1, 2 * n, 3 * n}, {50_000, 1, n, 2 * n}, {100, 1000, n, 2 * n}}
}

// windows are how long the latencies are watched before the trigger and after it.
func (p *plan) windows() (before, during time.Duration) {
	if p.Short {
		return 500 * time.Millisecond, 700 * time.Millisecond
	}
	return 2 * time.Second, 2 * time.Second
}

func (p *plan) run() (*Result, error) {
	r := &Result{}
	var err error
	if p.files, err = raiseFiles(); err != nil {
		return nil, err
	}
	r.Files = p.files
	all := p.installed(r)
	random := rand.New(rand.NewPCG(p.Seed, 5))
	for _, st := range p.steps() {
		// In turns, and in another order every time: what the machine does meanwhile meets all ways.
		for round := range max(st.loaded, st.still) {
			for _, i := range random.Perm(len(all)) {
				w := &all[i]
				if round < st.still {
					trial, err := p.trial(w, st, (*opened).heldStill)
					if err != nil {
						return nil, err
					}
					r.Still = append(r.Still, trial)
				}
				if round < st.loaded {
					before, during := p.windows()
					trial, err := p.trial(w, st, func(o *opened, t *Trial) error { return o.underLoad(before, during, t) })
					if err != nil {
						return nil, err
					}
					r.Loaded = append(r.Loaded, trial)
				}
			}
			fmt.Printf("upgrades: %d connections, %d listeners: round %d of %d\n", st.connections, st.listeners, round+1, max(st.loaded, st.still))
		}
	}
	if r.Servers, err = p.servers(); err != nil {
		return nil, err
	}
	if r.Look, err = p.look(); err != nil {
		return nil, err
	}
	r.Drain, err = p.drain()
	return r, err
}

// installed are the ways that can be measured here.
func (p *plan) installed(r *Result) (all []way) {
	wanted := func(name string) bool {
		for _, o := range p.Only {
			if o == name {
				return true
			}
		}
		return len(p.Only) == 0
	}
	for _, w := range ways() {
		if !wanted(w.name) {
			continue
		}
		if w.needs != "" {
			if _, err := exec.LookPath(w.needs); err != nil {
				r.Missing = append(r.Missing, w.name)
				fmt.Printf("upgrades: %s is left out: %v\n", w.name, err)
				continue
			}
		}
		all = append(all, w)
	}
	return all
}

func (p *plan) trial(w *way, st step, measure func(*opened, *Trial) error) (Trial, error) {
	t := Trial{Way: w.name, Connections: st.connections, Listeners: st.listeners, Held: st.connections}
	s := p.setting(st.listeners)
	// A process holds a connection per file. Some files are for other things, and for connections that are no idle ones.
	if most := p.files - st.listeners - 1500; t.Held > most {
		if w.single {
			t.Held = most
		} else {
			s.workers = 4
		}
	}
	o, err := open(w, s, t.Held)
	if err != nil {
		return t, err
	}
	defer o.close()
	if err := measure(o, &t); err != nil {
		return t, fmt.Errorf("%s, %d connections, %d listeners: %w\n%s", w.name, st.connections, st.listeners, err, o.said)
	}
	return t, nil
}

// setting has addresses that no life before has used: nothing is left of the connections of another.
func (p *plan) setting(listeners int) *setting {
	const port, perLife = 8080, 1024
	s := &setting{graceinit: p.Init, app: p.App, workers: 1, grace: 500 * time.Millisecond}
	if p.Short {
		s.grace = 200 * time.Millisecond
	}
	for i := range listeners {
		n := p.lives*perLife + i + 1
		s.addresses = append(s.addresses, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(10 + n>>16), byte(n >> 8), byte(n)}), port))
	}
	p.lives++
	return s
}
