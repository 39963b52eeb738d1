package load

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bucket is the width of a point of the timeline.
const Bucket = 100 * time.Millisecond

// Failure is one request that did not get its response.
type Failure struct {
	Kind    Kind
	At      time.Duration // when it failed, from the start of the load
	Waited  time.Duration // from dialling or writing to the failure
	Stage   string        // connect, write, response, body, status
	Reason  string
	Reused  bool // the connection had carried a request before
	Crossed bool // reused, then closed by the server without a byte of a response
	Unread  bool // crossed, and no process had read the request

	when  time.Time
	cause error
}

func (f *Failure) Error() string { return f.Stage + ": " + f.Reason }

func (f *Failure) Unwrap() error { return f.cause }

func (f Failure) String() string {
	s := fmt.Sprintf("%8.3fs %-10s %s after %v: %s", f.At.Seconds(), f.Kind, f.Stage, f.Waited.Round(100*time.Microsecond), f.Reason)
	switch {
	case f.Unread:
		s += " (crossed the close of an idle connection: nobody had read it)"
	case f.Crossed:
		s += " (connection in use before, not one byte of a response)"
	case f.Reused:
		s += " (connection in use before)"
	}
	return s
}

// Latency is the distribution of one kind of request.
type Latency struct {
	N                        int
	P50, P90, P99, P999, Max time.Duration
}

// Point is what happened in one Bucket of time. Requests are counted where they end.
type Point struct {
	OK       map[string]int // by pid
	Failures int
}

// Result is what became of the load.
type Result struct {
	Requests   int // ended, failures among them
	ByKind     map[Kind]int
	ByPID      map[string]int
	Failures   []Failure
	IdleClosed int // idle keep-alive connections that the server had closed before they were used again
	Latency    map[Kind]Latency
	Timeline   []Point
	Took       time.Duration
}

// FailuresIn are those that happened from a to before b on the run's clock.
func (r Result) FailuresIn(a, b time.Duration) []Failure {
	var out []Failure
	for _, f := range r.Failures {
		if f.At >= a && f.At < b {
			out = append(out, f)
		}
	}
	return out
}

// PIDs in the order of their first answer.
func (r Result) PIDs() []string {
	var out []string
	for _, p := range r.Timeline {
		for _, pid := range slices.Sorted(maps.Keys(p.OK)) {
			if !slices.Contains(out, pid) {
				out = append(out, pid)
			}
		}
	}
	return out
}

// Write prints the result for a reader.
func (r Result) Write(w io.Writer) {
	fmt.Fprintf(w, "%d of %d requests failed in %.1fs, %d idle connections closed by the server\n",
		len(r.Failures), r.Requests, r.Took.Seconds(), r.IdleClosed)
	for _, k := range kinds {
		if l := r.Latency[k]; l.N > 0 {
			fmt.Fprintf(w, "  %-10s %6d  p50 %v  p90 %v  p99 %v  p99.9 %v  max %v\n", k, l.N,
				round(l.P50), round(l.P90), round(l.P99), round(l.P999), round(l.Max))
		}
	}
	for _, pid := range r.PIDs() {
		fmt.Fprintf(w, "  pid %-6s %6d\n", pid, r.ByPID[pid])
	}
	for i, f := range r.Failures {
		if i == 20 {
			fmt.Fprintf(w, "  ... and %d more\n", len(r.Failures)-i)
			break
		}
		fmt.Fprintf(w, "  %v\n", f)
	}
}

func (r Result) String() string {
	var b strings.Builder
	r.Write(&b)
	return b.String()
}

func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

type recorder struct {
	byKind     map[Kind]int
	byPID      map[string]int
	lastOK     map[string]time.Duration
	failures   []Failure
	failed     int
	idleClosed int
	latency    map[Kind][]time.Duration
	timeline   []Point
}

// maxFailures bounds what a dead server makes us remember. Result.Requests counts the ones beyond it too.
const maxFailures = 100_000

func (c *recorder) init() {
	c.byKind, c.byPID, c.lastOK = map[Kind]int{}, map[string]int{}, map[string]time.Duration{}
	c.latency = map[Kind][]time.Duration{}
}

func (c *recorder) point(at time.Duration) *Point {
	i := int(at / Bucket)
	for len(c.timeline) <= i {
		c.timeline = append(c.timeline, Point{OK: map[string]int{}})
	}
	return &c.timeline[i]
}

func (c *recorder) ok(k Kind, pid string, at, took time.Duration) {
	c.byKind[k]++
	c.byPID[pid]++
	c.lastOK[pid] = max(at, c.lastOK[pid])
	c.latency[k] = append(c.latency[k], took)
	c.point(at).OK[pid]++
}

func (c *recorder) fail(f Failure) {
	c.byKind[f.Kind]++
	c.failed++
	c.point(f.At).Failures++
	if len(c.failures) < maxFailures {
		c.failures = append(c.failures, f)
	}
}

// Result is a copy of what is known so far.
func (r *Run) Result() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.rec
	out := Result{
		ByKind: maps.Clone(c.byKind), ByPID: maps.Clone(c.byPID), Failures: slices.Clone(c.failures),
		IdleClosed: c.idleClosed, Latency: map[Kind]Latency{}, Took: time.Since(r.start),
	}
	for _, n := range c.byKind {
		out.Requests += n
	}
	for _, p := range c.timeline {
		out.Timeline = append(out.Timeline, Point{OK: maps.Clone(p.OK), Failures: p.Failures})
	}
	slices.SortFunc(out.Failures, func(a, b Failure) int { return cmp.Compare(a.At, b.At) })
	for k, all := range c.latency {
		out.Latency[k] = distribution(slices.Clone(all))
	}
	return out
}

// Failed is how many requests have failed so far.
func (r *Run) Failed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rec.failed
}

// Succeeded is how many requests have got their response so far.
func (r *Run) Succeeded() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := -r.rec.failed
	for _, k := range r.rec.byKind {
		n += k
	}
	return n
}

// Answered tells for every pid when it last completed a response, on the run's clock.
func (r *Run) Answered() map[string]time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.rec.lastOK)
}

func distribution(all []time.Duration) Latency {
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[min(len(all)-1, int(q*float64(len(all))))] }
	return Latency{N: len(all), P50: at(.5), P90: at(.9), P99: at(.99), P999: at(.999), Max: all[len(all)-1]}
}
