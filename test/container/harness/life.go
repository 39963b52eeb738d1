package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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

// Life is a container in the middle of its life, with the Report so far.
type Life struct {
	*Report
	d     *Docker
	ct    *container
	run   *load.Run
	begin time.Time
	mu    sync.Mutex // guards Events, while commands run side by side
}

// Run performs a case: start, load, upgrades, stop.
func (d *Docker) Run(ctx context.Context, img *Images, c Case) *Report {
	l := d.Begin(ctx, img, c)
	for range c.Upgrades {
		if !l.Upgrade(ctx) {
			break
		}
	}
	return l.End(ctx)
}

// Begin starts the container and the load. If that fails the report tells, and End is the only thing left to do.
func (d *Docker) Begin(ctx context.Context, img *Images, c Case) *Life {
	l := &Life{Report: &Report{Case: c}, d: d, begin: time.Now()}
	l.Err = l.start(ctx, img)
	return l
}

func (l *Life) start(ctx context.Context, img *Images) (err error) {
	if l.ct, err = l.d.start(ctx, img, l.Case); l.ct == nil {
		return err
	}
	if err != nil {
		l.event("not started: %v", err)
		return errors.Join(err, l.died(ctx))
	}
	if !l.until(ctx, startTimeout, func() bool { return l.serves(ctx) }) {
		l.event("not started")
		return l.died(ctx)
	}
	l.Started = true
	l.event("serves at %s: %s", l.ct.load.Addr, names(l.ct.app()))
	if l.Case.Server.Fast == "" {
		return nil
	}
	if l.run, err = load.Start(ctx, l.ct.load); err != nil {
		return err
	}
	return nil
}

// serves tells whether the server answers; without HTTP, whether it is ready.
func (l *Life) serves(ctx context.Context) bool {
	if l.Case.Server.Fast == "" {
		st, err := l.Status(ctx)
		return err == nil && st.Ready
	}
	_, err := load.Get(ctx, l.ct.load, time.Second)
	return err == nil
}

// goesOn tells whether there is a container to go on with, under full load.
func (l *Life) goesOn(ctx context.Context) bool {
	if l.Err != nil || !l.Started || l.Died {
		return false
	}
	if !l.busy(ctx) {
		l.Err = l.died(ctx)
		return false
	}
	return true
}

// Upgrade performs an upgrade as the server's row in the table says, and tells whether the container lives.
func (l *Life) Upgrade(ctx context.Context) bool {
	if !l.goesOn(ctx) {
		return false
	}
	l.Expected = append(l.Expected, l.Case.Server.Final)
	u := l.upgrade(ctx)
	l.Upgrades = append(l.Upgrades, u)
	if !u.Alive {
		l.Err = l.died(ctx)
	}
	return u.Alive
}

// End stops the container under load, removes it, and returns the report.
func (l *Life) End(ctx context.Context) *Report {
	if l.goesOn(ctx) {
		l.Err = l.stop(ctx)
	}
	if l.run != nil {
		// What a dead container has dropped is seen at once. Other requests would only wait for their deadline.
		l.run.Drain()
		for deadline := time.Now().Add(time.Second); l.run.InFlight(load.Slow) > 0 && time.Now().Before(deadline); {
			time.Sleep(poll)
		}
		l.Load = l.run.Abort()
	}
	if l.ct != nil {
		l.Logs = l.ct.remove()
	}
	l.sortFailures()
	for _, m := range Final.FindAllStringSubmatch(l.Logs, -1) {
		l.Lines = append(l.Lines, m[1])
	}
	return l.Report
}

func (l *Life) event(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Events = append(l.Events, fmt.Sprintf("%8.3fs ", time.Since(l.begin).Seconds())+fmt.Sprintf(format, args...))
}

// until polls cond; false when it did not come true, or the container ended.
func (l *Life) until(ctx context.Context, timeout time.Duration, cond func() bool) bool {
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
		if !l.ct.alive() {
			return false
		}
	}
	return true
}

// busy waits until the load runs in full: every slow request in flight, and a second's worth of the others served
// since now.
func (l *Life) busy(ctx context.Context) bool {
	if l.run == nil {
		return l.ct.alive()
	}
	from := l.run.Succeeded()
	ok := l.until(ctx, startTimeout, func() bool {
		return l.run.InFlight(load.Slow) == 16 && l.run.Succeeded()-from >= 400
	})
	if !ok {
		l.event("the load is not served")
	}
	return ok
}

// died looks at a container that has ended by itself, or cannot go on.
func (l *Life) died(ctx context.Context) error {
	if l.ct.alive() {
		return nil
	}
	l.Died = true
	var err error
	l.Exit, err = l.ct.exit(ctx)
	l.event("the container has ended with status %d", l.Exit)
	return err
}

func (l *Life) upgrade(ctx context.Context) Upgrade {
	var u Upgrade
	old := l.ct.app()
	logged := len(Final.FindAllString(l.ct.logs(), -1))
	from := l.run.Since()
	trigger := time.Now()
	l.event("USR2 to PID 1; %s", names(old))
	if err := l.ct.signal(ctx, "USR2"); err != nil {
		l.event("cannot signal: %v", err)
	}

	if l.Case.Server.Outcome == Unchanged {
		l.unchanged(ctx, &u, old, logged)
	} else {
		l.replaced(ctx, &u, old, from, trigger, logged)
	}
	u.Drained = time.Since(trigger)

	u.After = l.ct.app()
	// A process is a zombie for a moment before it is reaped. What matters is one that stays.
	l.until(ctx, 2*time.Second, func() bool {
		u.Zombies = zombies(tree(l.ct.init.Host))
		return len(u.Zombies) == 0
	})
	u.Alive = l.ct.alive()
	u.From, u.To = from, l.run.Since()
	u.Lines = len(Final.FindAllString(l.ct.logs(), -1)) - logged
	l.event("upgrade ends: alive=%v answered=%v gone=%v; %s", u.Alive, u.Answered, u.Gone, names(u.After))
	return u
}

// replaced waits until the successor answers, then until the predecessor's generation has gone.
func (l *Life) replaced(ctx context.Context, u *Upgrade, old []Process, from time.Duration, trigger time.Time, logged int) {
	s := l.Case.Server
	going := old
	if s.Outcome == InPlace && len(old) > 0 {
		going = old[1:] // the main process stays
	}
	isOld := func(pid string) bool {
		return slices.ContainsFunc(old, func(p Process) bool { return p.PID == pid })
	}
	timeout := readyTimeout
	if !l.Case.Init.Ours {
		timeout = peerTimeout
	}
	u.Answered = l.until(ctx, timeout, func() bool {
		for pid, at := range l.run.Answered() {
			if at > from && !isOld(pid) {
				return true
			}
		}
		return false
	})
	u.Ready = time.Since(trigger)
	if !u.Answered {
		l.event("no successor answers; %s", names(l.ct.app()))
		return
	}
	l.event("a successor answers; %s", names(l.ct.app()))
	if !l.Case.Init.Ours && s.Predecessor != "" && len(old) > 0 {
		l.event("%s to the predecessor by hand", s.Predecessor)
		if err := l.ct.signalMain(s.Predecessor); err != nil {
			l.event("cannot signal: %v", err)
		}
	}
	if l.Case.Init.Ours {
		timeout = upgradeTimeout
	}
	u.Gone = l.until(ctx, timeout, func() bool {
		return !slices.ContainsFunc(going, Process.alive)
	})
	for _, p := range going {
		if p.present() {
			u.Left = append(u.Left, p)
		}
	}
	l.event("the predecessor has gone: %v", u.Gone)
	if l.Case.Init.Ours {
		l.line(ctx, logged)
	}
}

// unchanged watches that the server serves on.
func (l *Life) unchanged(ctx context.Context, u *Upgrade, old []Process, logged int) {
	if l.Case.Init.Ours {
		l.line(ctx, logged)
	} else {
		l.until(ctx, unchangedFor, func() bool { return false })
	}
	now := l.run.Since()
	u.Answered = l.until(ctx, readyTimeout, func() bool {
		for _, p := range old {
			if l.run.Answered()[p.PID] > now {
				return true
			}
		}
		return false
	})
	u.Gone = !slices.ContainsFunc(old, func(p Process) bool { return !p.alive() })
}

// line waits for the line that ends the upgrade.
func (l *Life) line(ctx context.Context, logged int) {
	if !l.until(ctx, upgradeTimeout, func() bool {
		return len(Final.FindAllString(l.ct.logs(), -1)) > logged
	}) {
		l.event("no line has ended the upgrade")
	}
}

// stop issues nothing more and stops the container: what is in flight is the app's to finish.
func (l *Life) stop(ctx context.Context) (err error) {
	if l.run == nil {
		if err = l.ct.stop(ctx); err == nil {
			l.Exit, err = l.ct.exit(ctx)
		}
		return err
	}
	// A fast request may still be on its way to a listener that the stop closes: that is nobody's to finish.
	l.run.DrainFast()
	if !l.until(ctx, startTimeout, func() bool {
		return l.run.InFlight(load.KeepAlive)+l.run.InFlight(load.Fresh) == 0 && l.run.InFlight(load.Slow) == 16
	}) {
		return l.died(ctx)
	}
	l.run.Drain()
	from := l.run.Since()
	l.InFlight = l.run.InFlight(load.Slow)
	begin := time.Now()
	l.event("docker stop, %d slow requests in flight; %s", l.InFlight, names(l.ct.app()))
	if err = l.ct.stop(ctx); err != nil {
		return err
	}
	if l.Exit, err = l.ct.exit(ctx); err != nil {
		return err
	}
	l.StopTook = time.Since(begin)
	l.event("stopped after %v with status %d", l.StopTook.Round(time.Millisecond), l.Exit)
	l.Load = l.run.Stop()
	l.run = nil
	l.Dropped = l.Load.FailuresIn(from, time.Hour)
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
