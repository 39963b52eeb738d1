package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/gracedemo"
	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/demo/proc"
	"github.com/graceinit/graceinit/test/container/load"
)

const (
	// warmUp is how many upgrades come before the first measurement, for caches and pools to fill.
	warmUp = 5
	// upgradeLimit is how long one upgrade may take before the soak gives up.
	upgradeLimit = 60 * time.Second
	progress     = 10 * time.Second
)

// figures of the init that must not grow.
type figures struct {
	rss int64 // kB
	fds int
}

func measure(ns *pidns.Namespace) (figures, error) {
	m, err := proc.ReadMemory("/proc", ns.PID)
	if err != nil {
		return figures{}, err
	}
	f := figures{rss: int64(m.RSS >> 10)}
	// The init may be reading /proc itself just now, with an fd or two more: the fewest of some counts is what it keeps.
	const counts = 50
	for i := range counts {
		fds, err := proc.FDs("/proc", ns.PID)
		if err != nil {
			return figures{}, err
		}
		if i == 0 || fds < f.fds {
			f.fds = fds
		}
	}
	return f, nil
}

func soakUpgrades(ctx context.Context, root string, o options) error {
	app, err := gracedemo.Build(ctx, root, 2)
	if err != nil {
		return err
	}
	defer app.Close()
	log := newTail(o.verbose)
	ns, err := pidns.Start(pidns.Command{Args: append([]string{o.init, "--"}, app.Command()...), Stderr: log})
	if err != nil {
		return err
	}
	defer ns.Kill()
	if err := poll(ctx, ns, 10*time.Second, "the app to serve", func() (bool, error) {
		c, err := net.Dial("tcp", gracedemo.Addr(app.Slow))
		if err != nil {
			return false, err
		}
		return true, c.Close()
	}); err != nil {
		return fmt.Errorf("%w\n%s", err, log)
	}
	traffic, err := app.Start(ctx, o.rates)
	if err != nil {
		return err
	}
	s := soak{app: app, ns: ns, traffic: traffic, o: o}
	first, last, err := s.repeat(ctx)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, log)
	}
	result := traffic.Stop()
	if err := quiet(ctx, ns, app); err != nil {
		return fmt.Errorf("%w\n%s", err, log)
	}
	failed, crossed := gracedemo.Split(result.Failures, s.windows)
	fmt.Printf("upgrades: %d of %d requests failed; one app process and 0 zombies are left\n", len(failed), result.Requests)
	fmt.Printf("upgrades: %d requests crossed the app's close of their idle connection (HTTP/1.1's own race, see gracedemo.Split)\n", len(crossed))
	fmt.Printf("upgrades: RSS %d kB after %d upgrades and %d kB after %d; fds %d and %d\n",
		first.rss, min(warmUp, o.upgrades), last.rss, o.upgrades, first.fds, last.fds)
	if err := verdict(failed, result.Requests, first, last, o.growth); err != nil {
		return err
	}
	return end(ns, syscall.SIGTERM, 0)
}

func verdict(failed []load.Failure, requests int, first, last figures, growth int64) error {
	if len(failed) > 0 {
		return fmt.Errorf("%d requests failed, the first ones:\n%s", len(failed), listed(failed))
	}
	if requests == 0 {
		return fmt.Errorf("there was no load")
	}
	if last.rss > first.rss+growth {
		return fmt.Errorf("the init grew from %d kB to %d kB", first.rss, last.rss)
	}
	if last.fds > first.fds {
		return fmt.Errorf("the init went from %d to %d fds", first.fds, last.fds)
	}
	return nil
}

func listed(failures []load.Failure) string {
	kinds := map[load.Kind]int{}
	for _, f := range failures {
		kinds[f.Kind]++
	}
	out := fmt.Sprintf("  by kind: %v\n", kinds)
	for i, f := range failures {
		if i == 10 {
			return out + fmt.Sprintf("  ... and %d more", len(failures)-i)
		}
		out += "  " + f.String() + "\n"
	}
	return out
}

// soak is the soak of upgrades in progress.
type soak struct {
	app     *gracedemo.App
	ns      *pidns.Namespace
	traffic *gracedemo.Load
	o       options
	windows []gracedemo.Window
}

// repeat upgrades and measures the init before and after.
func (s *soak) repeat(ctx context.Context) (first, last figures, err error) {
	ns, o := s.ns, s.o
	begin, shown := time.Now(), time.Now()
	var slowest time.Duration
	for i := 1; i <= o.upgrades; i++ {
		took, err := s.upgrade(ctx, 1+i%2)
		if err != nil {
			return first, last, fmt.Errorf("upgrade %d: %w; %d requests without a response so far", i, err, s.traffic.Failed())
		}
		slowest = max(slowest, took)
		if i == min(warmUp, o.upgrades) {
			if first, err = measure(ns); err != nil {
				return first, last, err
			}
		}
		if time.Since(shown) > progress || i == o.upgrades {
			shown = time.Now()
			now, err := measure(ns)
			if err != nil {
				return first, last, err
			}
			fmt.Printf("upgrades: %d of %d, %.0f/min, slowest %.1f s, %d requests without a response, init RSS %d kB, %d fds\n", i, o.upgrades,
				float64(i)/time.Since(begin).Minutes(), slowest.Seconds(), s.traffic.Failed(), now.rss, now.fds)
		}
	}
	// What the last upgrade needed may still be open for a moment.
	err = poll(ctx, ns, 10*time.Second, "the init to close what the last upgrade needed", func() (bool, error) {
		var err error
		last, err = measure(ns)
		return err == nil && last.fds <= first.fds, err
	})
	if last.fds > first.fds {
		err = nil // the verdict says so
	}
	return first, last, err
}

// upgrade replaces the executable and asks the init for an upgrade. It is over when a new process listens and the ones
// of before are gone.
func (s *soak) upgrade(ctx context.Context, build int) (time.Duration, error) {
	before, err := s.app.Processes(s.ns.Proc())
	if err != nil {
		return 0, err
	}
	if err := s.app.Install(build); err != nil {
		return 0, err
	}
	begin := time.Now()
	window := gracedemo.Window{From: s.traffic.Since()}
	if err := s.ns.Signal(syscall.SIGUSR2); err != nil {
		return 0, err
	}
	err = poll(ctx, s.ns, upgradeLimit, "the successor to serve and the predecessor to go", func() (bool, error) {
		now, err := s.app.Processes(s.ns.Proc())
		if err != nil {
			return false, err
		}
		ok := len(now) > 0
		for _, p := range now {
			old := slices.ContainsFunc(before, func(q gracedemo.Process) bool { return q.PID == p.PID })
			ok = ok && !old && p.Listening && p.Build == build
		}
		return ok, fmt.Errorf("before %s, now %s", describe(before), describe(now))
	})
	window.To = s.traffic.Since()
	s.windows = append(s.windows, window)
	return time.Since(begin), err
}

// quiet waits until one app process is left, and looks that nothing else is.
func quiet(ctx context.Context, ns *pidns.Namespace, app *gracedemo.App) error {
	return poll(ctx, ns, 10*time.Second, "one app process to be left", func() (bool, error) {
		now, err := app.Processes(ns.Proc())
		if err != nil {
			return false, err
		}
		return len(now) == 1 && now[0].Listening, fmt.Errorf("there are %s", describe(now))
	})
}

func describe(list []gracedemo.Process) string {
	out := fmt.Sprintf("%d processes:", len(list))
	for _, p := range list {
		out += fmt.Sprintf(" pid %d (parent %d, %c, build %d, listening %v, %d slow requests);", p.PID, p.PPID, p.State, p.Build, p.Listening, p.Slow)
	}
	return out
}
