package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// How long each step may take. Every upgrade lasts as long as the slow requests, 4 s, and nginx and gunicorn wait
// for the settle time before.
const (
	startTimeout   = 30 * time.Second
	readyTimeout   = 20 * time.Second // a successor answers
	upgradeTimeout = 40 * time.Second // the predecessor has gone and the upgrade's line is there
	peerTimeout    = 12 * time.Second // the same under an init that is not expected to manage
	unchangedFor   = 5 * time.Second  // how long an init that logs nothing is watched
	poll           = 25 * time.Millisecond
)

// cycle is a case in progress.
type cycle struct {
	*Report
	d     *Docker
	ct    *container
	run   *load.Run
	begin time.Time
}

// Run performs a case: start, load, upgrades, stop.
func (d *Docker) Run(ctx context.Context, img *Images, c Case) *Report {
	y := &cycle{Report: &Report{Case: c}, d: d, begin: time.Now()}
	y.Err = y.perform(ctx, img)
	if y.run != nil {
		// What a dead container has dropped is seen at once. Other requests would only wait for their deadline.
		y.run.Drain()
		for deadline := time.Now().Add(time.Second); y.run.InFlight(load.Slow) > 0 && time.Now().Before(deadline); {
			time.Sleep(poll)
		}
		y.Load = y.run.Abort()
	}
	if y.ct != nil {
		y.Logs = y.ct.remove()
	}
	y.sortFailures()
	for _, m := range Final.FindAllStringSubmatch(y.Logs, -1) {
		y.Lines = append(y.Lines, m[1])
	}
	return y.Report
}

func (y *cycle) event(format string, args ...any) {
	y.Events = append(y.Events, fmt.Sprintf("%8.3fs ", time.Since(y.begin).Seconds())+fmt.Sprintf(format, args...))
}

func (y *cycle) perform(ctx context.Context, img *Images) error {
	var err error
	if y.ct, err = y.d.start(ctx, img, y.Case); y.ct == nil {
		return err
	}
	if err != nil {
		y.event("not started: %v", err)
		return errors.Join(err, y.died(ctx))
	}
	if !y.until(ctx, startTimeout, func() bool {
		_, err := load.Get(ctx, y.ct.load, time.Second)
		return err == nil
	}) {
		y.event("not started")
		return y.died(ctx)
	}
	y.Started = true
	y.event("answers at %s", y.ct.load.Addr)
	if y.run, err = load.Start(ctx, y.ct.load); err != nil {
		return err
	}
	y.event("load starts: %s", names(y.ct.app()))
	for range y.Case.Upgrades {
		if !y.busy(ctx) {
			return y.died(ctx)
		}
		u := y.upgrade(ctx)
		y.Upgrades = append(y.Upgrades, u)
		if !u.Alive {
			return y.died(ctx)
		}
	}
	if !y.busy(ctx) {
		return y.died(ctx)
	}
	return y.stop(ctx)
}

// until polls cond; false when it did not come true, or the container ended.
func (y *cycle) until(ctx context.Context, timeout time.Duration, cond func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := time.NewTicker(poll)
	defer t.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
		if !y.ct.alive() {
			return false
		}
	}
	return true
}

// busy waits until the load runs in full: every slow request in flight, and a second's worth of the others served
// since now.
func (y *cycle) busy(ctx context.Context) bool {
	from := y.run.Succeeded()
	ok := y.until(ctx, startTimeout, func() bool {
		return y.run.InFlight(load.Slow) == 16 && y.run.Succeeded()-from >= 400
	})
	if !ok {
		y.event("the load is not served")
	}
	return ok
}

// died looks at a container that has ended by itself, or cannot go on.
func (y *cycle) died(ctx context.Context) error {
	if y.ct.alive() {
		return nil
	}
	y.Died = true
	var err error
	y.Exit, err = y.ct.exit(ctx)
	y.event("the container has ended with status %d", y.Exit)
	return err
}

func (y *cycle) upgrade(ctx context.Context) Upgrade {
	var u Upgrade
	old := y.ct.app()
	logged := len(Final.FindAllString(y.ct.logs(), -1))
	from := y.run.Since()
	trigger := time.Now()
	y.event("USR2 to PID 1; %s", names(old))
	if err := y.ct.signal(ctx, "USR2"); err != nil {
		y.event("cannot signal: %v", err)
	}

	if y.Case.Server.Outcome == Unchanged {
		y.unchanged(ctx, &u, old, logged)
	} else {
		y.replaced(ctx, &u, old, from, trigger, logged)
	}
	u.Drained = time.Since(trigger)

	u.After = y.ct.app()
	// A process is a zombie for a moment before it is reaped. What matters is one that stays.
	y.until(ctx, 2*time.Second, func() bool {
		u.Zombies = zombies(tree(y.ct.init.Host))
		return len(u.Zombies) == 0
	})
	u.Alive = y.ct.alive()
	u.From, u.To = from, y.run.Since()
	u.Lines = len(Final.FindAllString(y.ct.logs(), -1)) - logged
	y.event("upgrade ends: alive=%v answered=%v gone=%v; %s", u.Alive, u.Answered, u.Gone, names(u.After))
	return u
}

// replaced waits until the successor answers, then until the predecessor's generation has gone.
func (y *cycle) replaced(ctx context.Context, u *Upgrade, old []Process, from time.Duration, trigger time.Time, logged int) {
	s := y.Case.Server
	going := old
	if s.Outcome == InPlace && len(old) > 0 {
		going = old[1:] // the main process stays
	}
	isOld := func(pid string) bool {
		return slices.ContainsFunc(old, func(p Process) bool { return p.PID == pid })
	}
	timeout := readyTimeout
	if !y.Case.Init.Ours {
		timeout = peerTimeout
	}
	u.Answered = y.until(ctx, timeout, func() bool {
		for pid, at := range y.run.Answered() {
			if at > from && !isOld(pid) {
				return true
			}
		}
		return false
	})
	u.Ready = time.Since(trigger)
	if !u.Answered {
		y.event("no successor answers; %s", names(y.ct.app()))
		return
	}
	y.event("a successor answers; %s", names(y.ct.app()))
	if !y.Case.Init.Ours && s.Predecessor != "" && len(old) > 0 {
		y.event("%s to the predecessor by hand", s.Predecessor)
		if err := y.ct.signalMain(s.Predecessor); err != nil {
			y.event("cannot signal: %v", err)
		}
	}
	if y.Case.Init.Ours {
		timeout = upgradeTimeout
	}
	u.Gone = y.until(ctx, timeout, func() bool {
		return !slices.ContainsFunc(going, Process.alive)
	})
	for _, p := range going {
		if p.present() {
			u.Left = append(u.Left, p)
		}
	}
	y.event("the predecessor has gone: %v", u.Gone)
	if y.Case.Init.Ours {
		y.line(ctx, logged)
	}
}

// unchanged watches that the server serves on.
func (y *cycle) unchanged(ctx context.Context, u *Upgrade, old []Process, logged int) {
	if y.Case.Init.Ours {
		y.line(ctx, logged)
	} else {
		y.until(ctx, unchangedFor, func() bool { return false })
	}
	now := y.run.Since()
	u.Answered = y.until(ctx, readyTimeout, func() bool {
		for _, p := range old {
			if y.run.Answered()[p.PID] > now {
				return true
			}
		}
		return false
	})
	u.Gone = !slices.ContainsFunc(old, func(p Process) bool { return !p.alive() })
}

// line waits for the line that ends the upgrade.
func (y *cycle) line(ctx context.Context, logged int) {
	if !y.until(ctx, upgradeTimeout, func() bool {
		return len(Final.FindAllString(y.ct.logs(), -1)) > logged
	}) {
		y.event("no line has ended the upgrade")
	}
}

// stop issues nothing more and stops the container: what is in flight is the app's to finish.
func (y *cycle) stop(ctx context.Context) error {
	// A fast request may still be on its way to a listener that the stop closes: that is nobody's to finish.
	y.run.DrainFast()
	if !y.until(ctx, startTimeout, func() bool {
		return y.run.InFlight(load.KeepAlive)+y.run.InFlight(load.Fresh) == 0 && y.run.InFlight(load.Slow) == 16
	}) {
		return y.died(ctx)
	}
	y.run.Drain()
	from := y.run.Since()
	y.InFlight = y.run.InFlight(load.Slow)
	begin := time.Now()
	y.event("docker stop, %d slow requests in flight; %s", y.InFlight, names(y.ct.app()))
	err := y.ct.stop(ctx)
	if err != nil {
		return err
	}
	if y.Exit, err = y.ct.exit(ctx); err != nil {
		return err
	}
	y.StopTook = time.Since(begin)
	y.event("stopped after %v with status %d", y.StopTook.Round(time.Millisecond), y.Exit)
	y.Load = y.run.Stop()
	y.run = nil
	y.Dropped = y.Load.FailuresIn(from, time.Hour)
	return nil
}

// names lists processes for a reader.
func names(ps []Process) string {
	var out []string
	for _, p := range ps {
		s := p.PID + " " + p.Comm
		if p.Zombie {
			s += " (zombie)"
		}
		out = append(out, s)
	}
	return fmt.Sprintf("processes %q", out)
}
