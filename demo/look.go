package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/graceinit/graceinit/demo/record"
)

// tick is how often the processes are looked at.
const tick = 100 * time.Millisecond

// at is the time of the run in seconds.
func (r *run) at() float64 {
	if r.traffic == nil {
		return 0
	}
	return r.traffic.Since().Seconds()
}

// event records and shows what happened.
func (r *run) event(kind, text string) {
	r.Events = append(r.Events, record.Event{At: r.at(), Kind: kind, Text: text})
	r.screen.say(r.at(), text)
}

// Write takes the init's log. Lines are shown only when the run itself is at work, so they are queued.
func (r *run) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		r.screen.queue(strings.TrimSpace(line))
	}
	return len(b), nil
}

// log records and shows what the init has logged. Its own time would only take room: the line has one already.
func (r *run) log() {
	for _, line := range r.screen.queued() {
		r.event(record.Log, r.Init+": "+timestamp.ReplaceAllString(line, ""))
	}
}

var timestamp = regexp.MustCompile(`^time="[^"]*" `)

// look records which processes there are and what they do, and brings the screen up to date.
func (r *run) look() {
	r.log()
	if r.traffic == nil {
		return
	}
	at := r.at()
	now, err := r.app.ProcessesAtWork(r.c.Proc())
	if err != nil {
		now = nil // PID 1 ends just now
	}
	flight := record.Flight{At: at, Slow: map[int]int{}}
	for _, p := range now {
		if p.Zombie() {
			continue
		}
		i := r.generation(p.PID)
		if i < 0 {
			// Between fork and exec a process looks like its parent. Go makes one besides, to try pidfds out.
			if p.Forked || p.Build == 0 || !p.Listening {
				continue
			}
			r.Generations = append(r.Generations, record.Generation{Number: len(r.Generations) + 1, PID: p.PID, Build: p.Build, From: at})
			i = len(r.Generations) - 1
		}
		flight.Slow[r.Generations[i].Number] = p.Slow
	}
	for i := range r.Generations {
		if g := &r.Generations[i]; g.To == 0 && !contains(now, g.PID) {
			g.To = at
		}
	}
	r.now = now
	r.InFlight = append(r.InFlight, flight)
	if since := r.traffic.Since(); since-r.shown >= r.screen.every() {
		r.shown = since
		r.screen.show(at, r.lines(at, flight))
	}
}

// generation is the index of the process among the generations.
func (r *run) generation(pid int) int {
	for i, g := range r.Generations {
		if g.PID == pid && g.To == 0 {
			return i
		}
	}
	return -1
}

// line is a generation on the screen.
type line struct {
	record.Generation
	state     string
	perSecond int
	slow      int
}

// table is what the screen shows.
type table struct {
	lines            []line
	requests, failed int
}

func (r *run) lines(at float64, flight record.Flight) table {
	result := r.traffic.Result()
	t := table{requests: result.Requests, failed: len(result.Failures)}
	last := len(result.Timeline) - 1 // not complete yet
	for _, g := range r.Generations {
		pid := fmt.Sprint(g.PID)
		l := line{Generation: g, slow: flight.Slow[g.Number]}
		l.OK = result.ByPID[pid]
		for i := max(0, last-10); i < last; i++ {
			l.perSecond += result.Timeline[i].OK[pid]
		}
		l.state = "gone"
		for _, p := range r.now {
			if p.PID == g.PID && g.To == 0 {
				if l.state = "draining"; p.Listening {
					l.state = "serving"
				}
			}
		}
		t.lines = append(t.lines, l)
	}
	return t
}

// until looks until the condition holds.
func (r *run) until(ctx context.Context, limit time.Duration, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s has not happened within %v", what, limit))
	defer cancel()
	again := time.NewTicker(tick)
	defer again.Stop()
	for {
		if holds() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.c.Done():
			r.look()
			return errEnded
		case <-again.C:
		}
	}
}

// wait lets the load go on for a time.
func (r *run) wait(ctx context.Context, d time.Duration) error {
	end := time.NewTimer(d)
	defer end.Stop()
	again := time.NewTicker(tick)
	defer again.Stop()
	done := r.c.Done()
	if r.Ended != 0 {
		done = nil
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-end.C:
			return nil
		case <-done:
			r.look()
			return errEnded
		case <-again.C:
			r.look()
		}
	}
}
