package gracedemo

import (
	"context"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// Rates describe the load.
type Rates struct {
	KeepAlive, Fresh int           // requests a second
	InFlight         int           // slow requests at a time
	Slow             time.Duration // how long each of them takes
}

// Load is a load in progress. The slow requests begin evenly spaced, so that they also end so: a generation that drains
// is seen to have fewer and fewer.
type Load struct {
	fast  *load.Run
	mu    sync.Mutex
	slow  []*load.Run
	after []time.Duration // when each of slow began, on the clock of fast
	quit  context.CancelFunc
	wg    sync.WaitGroup
}

// Start begins the load. It ends with Stop, or is cut by ctx.
func (a *App) Start(ctx context.Context, r Rates) (*Load, error) {
	negative := func(n int) int { // to the package load, 0 is the default and less is none
		if n == 0 {
			return -1
		}
		return n
	}
	pid := regexp.MustCompile(`from pid (\d+)`)
	fast, err := load.Start(ctx, load.Config{Addr: Addr(a.Fast), FastPath: "/sleep/?duration=0s", PID: pid,
		KeepAliveRate: negative(r.KeepAlive), FreshRate: negative(r.Fresh), SlowInFlight: -1})
	if err != nil {
		return nil, err
	}
	l := &Load{fast: fast}
	begin, quit := context.WithCancel(ctx)
	l.quit = quit
	l.wg.Go(func() {
		every := time.NewTicker(max(r.Slow/time.Duration(max(r.InFlight, 1)), time.Millisecond))
		defer every.Stop()
		for range r.InFlight {
			select {
			case <-begin.Done():
				return
			case <-every.C:
			}
			run, err := load.Start(ctx, load.Config{Addr: Addr(a.Slow), SlowPath: "/sleep/?duration=" + r.Slow.String(), PID: pid,
				KeepAliveRate: -1, FreshRate: -1, SlowInFlight: 1})
			if err != nil {
				continue // the address was good for fast
			}
			l.mu.Lock()
			l.slow, l.after = append(l.slow, run), append(l.after, fast.Since())
			l.mu.Unlock()
		}
	})
	return l, nil
}

// Since is the time since the load began.
func (l *Load) Since() time.Duration { return l.fast.Since() }

// Failed is how many requests have failed so far.
func (l *Load) Failed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.fast.Failed()
	for _, run := range l.slow {
		n += run.Failed()
	}
	return n
}

// Result is what became of the requests so far.
func (l *Load) Result() load.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.fast.Result()
	for i, run := range l.slow {
		merge(&r, run.Result(), l.after[i])
	}
	slices.SortStableFunc(r.Failures, func(a, b load.Failure) int { return int(a.At - b.At) })
	return r
}

// Stop issues no further requests, waits for the responses and tells what happened.
func (l *Load) Stop() load.Result {
	l.quit()
	l.wg.Wait()
	for _, run := range l.slow {
		run.Drain()
	}
	l.fast.Stop()
	for _, run := range l.slow {
		run.Stop()
	}
	return l.Result()
}

// merge adds a result whose clock began later. Of the latencies, the extremes of the slow requests are kept.
func merge(into *load.Result, r load.Result, after time.Duration) {
	into.Requests += r.Requests
	into.IdleClosed += r.IdleClosed
	for k, n := range r.ByKind {
		into.ByKind[k] += n
	}
	for pid, n := range r.ByPID {
		into.ByPID[pid] += n
	}
	for _, f := range r.Failures {
		f.At += after
		into.Failures = append(into.Failures, f)
	}
	for k, lat := range r.Latency {
		old := into.Latency[k]
		old.N += lat.N
		old.P50, old.P90 = max(old.P50, lat.P50), max(old.P90, lat.P90)
		old.P99, old.P999 = max(old.P99, lat.P99), max(old.P999, lat.P999)
		old.Max = max(old.Max, lat.Max)
		into.Latency[k] = old
	}
	shift := int(after / load.Bucket)
	for i, p := range r.Timeline {
		for len(into.Timeline) <= i+shift {
			into.Timeline = append(into.Timeline, load.Point{OK: map[string]int{}})
		}
		at := &into.Timeline[i+shift]
		at.Failures += p.Failures
		for pid, n := range p.OK {
			at.OK[pid] += n
		}
	}
}
