// Package load drives an HTTP/1.1 server over raw connections and counts what became of every request.
//
// It exists because net/http's client hides what these tests look for: its Transport silently sends an idempotent
// request again when a reused connection turns out to be closed. Here every request is written once. It succeeds
// with a complete response of status 200 that names the answering process, or it is a failure.
//
// What a server may do without a failure being counted:
//   - answer with "Connection: close" and close afterwards;
//   - close an idle keep-alive connection: before a connection is used again it is looked at, and if the end of
//     the stream is already there, the request goes over a new connection. Nothing had been written, so nothing
//     is repeated. Result.IdleClosed counts these.
//
// A connection that ends after the request was written and before the response is complete is a failure, also
// where the server closed an idle connection and the two crossed on the way. Failure.Crossed marks the failures that
// can be such a crossing. Failure.Unread adds the proof: the server's kernel answered with a reset, which it does
// only if no process has read the request. A request that was read and dropped has no such proof.
//
// The load is three streams: keep-alive requests on a fixed set of connections, requests on a fresh connection
// each, and slow requests, of which a fixed number is always in flight.
package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is the stream that a request belongs to.
type Kind string

const (
	KeepAlive Kind = "keep-alive"
	Fresh     Kind = "fresh"
	Slow      Kind = "slow"
)

var kinds = []Kind{KeepAlive, Fresh, Slow}

// Config describes a load. Addr is needed; the zero value of everything else is the load of the container tests.
type Config struct {
	Addr     string // host:port
	Device   string // send through this interface only (needs root): not elsewhere, should it vanish with its route
	FastPath string // default "/"
	SlowPath string // default "/slow"

	KeepAliveRate  int // requests a second over KeepAliveConns connections; default 300, negative: none
	KeepAliveConns int // default 20
	FreshRate      int // requests a second, a connection each; default 100, negative: none
	SlowInFlight   int // default 16, negative: none

	// FastTimeout and SlowTimeout bound one request, from dialling to the last byte. Defaults 10 s and 30 s.
	FastTimeout, SlowTimeout time.Duration

	// PID finds the answering process in a body; its first group is the pid. Default `pid (\d+)`.
	PID *regexp.Regexp
}

func (c Config) withDefaults() Config {
	str := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	num := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
		*v = max(*v, 0)
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	str(&c.FastPath, "/")
	str(&c.SlowPath, "/slow")
	num(&c.KeepAliveRate, 300)
	num(&c.KeepAliveConns, 20)
	num(&c.FreshRate, 100)
	num(&c.SlowInFlight, 16)
	dur(&c.FastTimeout, 10*time.Second)
	dur(&c.SlowTimeout, 30*time.Second)
	if c.PID == nil {
		c.PID = regexp.MustCompile(`pid (\d+)`)
	}
	return c
}

// Run is a load in progress.
type Run struct {
	cfg   Config
	start time.Time

	issue context.Context    // ends when no further request is to be issued
	quit  context.CancelFunc // ends issue
	fast  context.Context    // the same for all but the slow ones
	lull  context.CancelFunc // ends fast
	abort context.CancelFunc // cuts what is in flight
	life  context.Context    // ends with abort

	wg   sync.WaitGroup
	once sync.Once

	inFlight [3]atomic.Int64 // by index in kinds

	mu  sync.Mutex
	rec recorder
}

// Start begins the load. It ends with Drain, Stop or ctx, whichever is first; ctx also cuts what is in flight.
func Start(ctx context.Context, cfg Config) (*Run, error) {
	if _, _, err := net.SplitHostPort(cfg.Addr); err != nil {
		return nil, fmt.Errorf("cannot use address %q: %w", cfg.Addr, err)
	}
	r := &Run{cfg: cfg.withDefaults(), start: time.Now()}
	r.life, r.abort = context.WithCancel(ctx)
	r.issue, r.quit = context.WithCancel(r.life)
	r.fast, r.lull = context.WithCancel(r.issue)
	r.rec.init()

	if r.cfg.KeepAliveRate > 0 {
		// Each connection keeps its own schedule, shifted so that the sum is even.
		period := time.Second * time.Duration(r.cfg.KeepAliveConns) / time.Duration(r.cfg.KeepAliveRate)
		for i := range r.cfg.KeepAliveConns {
			shift := period * time.Duration(i) / time.Duration(r.cfg.KeepAliveConns)
			r.wg.Go(func() { r.keepAlive(period, shift) })
		}
	}
	if r.cfg.FreshRate > 0 {
		r.wg.Go(func() { r.fresh(time.Second / time.Duration(r.cfg.FreshRate)) })
	}
	for i := range r.cfg.SlowInFlight {
		// Of different ages, so that a drain sees them end one by one.
		r.wg.Go(func() { r.slow(time.Duration(i) * 50 * time.Millisecond) })
	}
	return r, nil
}

// InFlight tells how many requests of a kind are waiting for their response now.
func (r *Run) InFlight(k Kind) int { return int(r.inFlight[index(k)].Load()) }

// Since is the time on the run's clock, the one that Failure.At uses.
func (r *Run) Since() time.Duration { return time.Since(r.start) }

// DrainFast stops issuing all but slow requests.
func (r *Run) DrainFast() { r.lull() }

// Drain stops issuing requests. What is in flight goes on; Stop waits for it.
func (r *Run) Drain() { r.quit() }

// Stop drains, waits until the last response has come or timed out, and tells what happened.
func (r *Run) Stop() Result {
	r.Drain()
	r.wg.Wait()
	r.once.Do(r.abort)
	return r.Result()
}

// Abort ends the load at once. What is in flight is not counted.
func (r *Run) Abort() Result {
	r.abort()
	r.wg.Wait()
	return r.Result()
}

func (r *Run) keepAlive(period, shift time.Duration) {
	var c *conn
	defer func() { c.close() }()
	tick := newTicks(r.fast, r.start.Add(shift), period)
	for tick.next() {
		if c != nil && c.ended() {
			r.mu.Lock()
			r.rec.idleClosed++
			r.mu.Unlock()
			c.close()
			c = nil
		}
		c = r.do(KeepAlive, r.cfg.FastPath, c)
	}
}

// fresh bounds the requests that wait at one time: a server that accepts nothing must not take every fd here.
func (r *Run) fresh(period time.Duration) {
	slots := make(chan struct{}, 256)
	tick := newTicks(r.fast, r.start, period)
	for tick.next() {
		select {
		case slots <- struct{}{}:
		case <-r.fast.Done():
			return
		}
		r.wg.Go(func() {
			r.do(Fresh, r.cfg.FastPath, nil).close()
			<-slots
		})
	}
}

func (r *Run) slow(shift time.Duration) {
	if !newTicks(r.issue, r.start.Add(shift), time.Hour).next() {
		return
	}
	for r.issue.Err() == nil {
		c := r.do(Slow, r.cfg.SlowPath, nil)
		c.close()
		if c == nil {
			// The request failed. Without a pause a dead server would be dialled in a tight loop.
			select {
			case <-r.issue.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// do performs one request and records it, over c if there is one, and returns the connection if it may be used again.
func (r *Run) do(k Kind, path string, c *conn) *conn {
	timeout := r.cfg.FastTimeout
	if k == Slow {
		timeout = r.cfg.SlowTimeout
	}
	i := index(k)
	r.inFlight[i].Add(1)
	begin := time.Now()
	x := exchange{kind: k, addr: r.cfg.Addr, device: r.cfg.Device, path: path, deadline: begin.Add(timeout), pid: r.cfg.PID}
	c, pid, err := x.perform(r.life, c)
	end := time.Now()
	r.inFlight[i].Add(-1)

	if err != nil && r.life.Err() != nil {
		return nil // cut by us, not by the server
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var f *Failure
	if errors.As(err, &f) {
		f.Kind, f.At, f.Waited = k, f.when.Sub(r.start), f.when.Sub(begin)
		r.rec.fail(*f)
		return nil
	}
	r.rec.ok(k, pid, end.Sub(r.start), end.Sub(begin))
	return c
}

func index(k Kind) int {
	for i := range kinds {
		if kinds[i] == k {
			return i
		}
	}
	panic("unknown kind of request: " + string(k))
}

// ticks is a schedule that does not pile up: what was missed while a request was waiting is not made up for.
type ticks struct {
	ctx    context.Context
	at     time.Time
	period time.Duration
	timer  *time.Timer
}

func newTicks(ctx context.Context, first time.Time, period time.Duration) *ticks {
	return &ticks{ctx: ctx, at: first, period: period, timer: time.NewTimer(0)}
}

// next waits for the next moment of the schedule; false when the load is to end.
func (t *ticks) next() bool {
	t.timer.Reset(time.Until(t.at))
	select {
	case <-t.ctx.Done():
		t.timer.Stop()
		return false
	case <-t.timer.C:
	}
	t.at = t.at.Add(t.period)
	if late := time.Since(t.at); late > 0 {
		t.at = t.at.Add(late.Truncate(t.period))
	}
	return t.ctx.Err() == nil
}
