package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/gracedemo"
	"github.com/graceinit/graceinit/demo/record"
	"github.com/graceinit/graceinit/test/container/load"
)

// The times of a run. What has to happen is waited for; these only bound it, and give the reader time to look.
const (
	before       = 5 * time.Second  // load before the first upgrade; the slow requests need 4 s to be all in flight
	between      = 2 * time.Second  // after one is over
	startLimit   = 10 * time.Second // until the app serves
	upgradeLimit = 20 * time.Second
	afterDeath   = 2 * time.Second // to see what happens to clients
	stopLimit    = 30 * time.Second
)

// run is one init with the app and the load on it.
type run struct {
	record.Run
	c       container
	app     *gracedemo.App
	traffic *gracedemo.Load
	screen  *screen

	windows []gracedemo.Window
	now     []gracedemo.Process // as last seen
	shown   time.Duration       // when the screen was last brought up to date
}

// errEnded says that PID 1 ended under load. It is a result and not a failure of the demonstration.
var errEnded = errors.New("PID 1 has ended")

// play shows upgrades under one init.
func (d *demo) play(ctx context.Context, p initProgram, upgrades int) (*run, error) {
	if err := d.app.Install(1); err != nil {
		return nil, err
	}
	r := &run{Run: record.Run{Init: p.name, Version: p.version}, app: d.app, screen: d.screen}
	d.app.Restart()
	var err error
	if d.docker {
		r.c, err = startDocker(ctx, p, d.app.Dir, d.app.Command(), r)
	} else {
		r.c, err = startNamespace(p, d.app.Command(), r)
	}
	if err != nil {
		return nil, err
	}
	defer r.c.Kill()
	if err := r.until(ctx, startLimit, "the app to serve", func() bool {
		c, err := net.Dial("tcp", gracedemo.Addr(d.app.Slow))
		if err != nil {
			return false
		}
		return c.Close() == nil
	}); err != nil {
		return r, err
	}
	loadContext, cut := context.WithCancel(ctx)
	defer cut()
	if r.traffic, err = d.app.Start(loadContext, d.rates); err != nil {
		return r, err
	}
	d.screen.begin(fmt.Sprintf("%s as PID 1, grace demo unmodified, %d requests/s and %d slow ones (%v) in flight",
		p.name, d.rates.KeepAlive+d.rates.Fresh, d.rates.InFlight, d.rates.Slow))
	err = r.upgrades(ctx, upgrades)
	if errors.Is(err, errEnded) {
		r.Ended = r.at()
		r.Exit = status(r.c.Wait())
		r.event(record.End, fmt.Sprintf("%s has ended with %s, and with it the whole PID namespace", p.name, r.Exit))
		err = r.wait(ctx, afterDeath)
	}
	if err != nil {
		return r, err
	}
	return r, r.finish(ctx)
}

func (r *run) upgrades(ctx context.Context, n int) error {
	if err := r.wait(ctx, before); err != nil {
		return err
	}
	for i := 1; i <= n; i++ {
		if err := r.app.Install(i + 1); err != nil {
			return err
		}
		r.look()
		old := r.now
		window := gracedemo.Window{From: r.traffic.Since()}
		r.event(record.Upgrade, fmt.Sprintf("new binary (build %d) in place, USR2 to PID 1", i+1))
		if err := r.c.Signal(syscall.SIGUSR2); err != nil {
			return err
		}
		err := r.until(ctx, upgradeLimit, "the upgrade", func() bool {
			r.look()
			fresh, gone := false, true
			for _, p := range r.now {
				if contains(old, p.PID) {
					gone = false
				} else {
					fresh = fresh || p.Listening && p.Build == i+1
				}
			}
			return fresh && gone
		})
		window.To = r.traffic.Since()
		r.windows = append(r.windows, window)
		if err != nil {
			return err
		}
		if err := r.wait(ctx, between); err != nil {
			return err
		}
	}
	return nil
}

// finish ends the load, counts, and stops the init.
func (r *run) finish(ctx context.Context) error {
	r.LoadEnd = r.at()
	if r.Ended == 0 {
		r.screen.say(r.LoadEnd, "the load ends; waiting for the last slow requests")
	}
	stopped := make(chan load.Result)
	go func() { stopped <- r.traffic.Stop() }()
	var result load.Result
	waiting := true
	for waiting {
		select {
		case result = <-stopped:
			waiting = false
		case <-time.After(tick):
			if r.Ended == 0 {
				r.look()
			}
		}
	}
	if r.Ended == 0 {
		r.look()
		for _, p := range r.now {
			if p.Zombie() {
				r.Dead++
			} else {
				r.Left++
			}
		}
	}
	r.count(result)
	r.screen.end()
	if r.Ended != 0 {
		return nil
	}
	if err := r.c.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-r.c.Done():
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(stopLimit):
		return fmt.Errorf("%s does not end after SIGTERM", r.Init)
	}
	r.Exit = status(r.c.Wait())
	r.log()
	return nil
}

// count turns what became of the load into the record.
func (r *run) count(result load.Result) {
	failed, crossed := gracedemo.Split(result.Failures, r.windows)
	r.Requests, r.Failed, r.Crossed = result.Requests, len(failed), len(crossed)
	for i, f := range failed {
		if i == 20 {
			break
		}
		r.Failures = append(r.Failures, f.String())
	}
	for i := range r.Generations {
		g := &r.Generations[i]
		g.OK = result.ByPID[strconv.Itoa(g.PID)]
	}
	for _, k := range []load.Kind{load.KeepAlive, load.Fresh, load.Slow} {
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		l := result.Latency[k]
		r.Latency = append(r.Latency, record.Latency{Kind: string(k), N: l.N, P50: ms(l.P50), P99: ms(l.P99), Max: ms(l.Max)})
	}
	for i, p := range result.Timeline {
		rate := record.Rate{At: load.Bucket.Seconds() * float64(i), Seconds: load.Bucket.Seconds(), OK: map[int]int{}}
		for pid, n := range p.OK {
			rate.OK[r.numberOf(pid)] += n
		}
		r.Rate = append(r.Rate, rate)
	}
	for _, f := range failed {
		if i := int(f.At / load.Bucket); i < len(r.Rate) {
			r.Rate[i].Failed++
		}
	}
}

// numberOf is the generation of a pid, 0 if it was never seen.
func (r *run) numberOf(pid string) int {
	for _, g := range r.Generations {
		if strconv.Itoa(g.PID) == pid {
			return g.Number
		}
	}
	return 0
}

func contains(list []gracedemo.Process, pid int) bool {
	for _, p := range list {
		if p.PID == pid && !p.Zombie() {
			return true
		}
	}
	return false
}

func status(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "signal " + s.Signal().String()
	}
	return fmt.Sprintf("exit code %d", s.ExitStatus())
}
