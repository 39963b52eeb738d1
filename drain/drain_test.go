package drain

import (
	"testing"
	"time"
)

func TestPhases(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var d Drain
	if _, running := d.Deadline(); running || d.Expire(at(100)) != Nothing {
		t.Fatal("a drain that has not begun runs")
	}
	limits := Limits{Delay: 5 * time.Second, Timeout: 10 * time.Second, KillTimeout: 3 * time.Second}
	for _, c := range []struct {
		at    int
		do    func(time.Time) Step
		want  Step
		phase Phase
		next  int // seconds, -1 for never
	}{
		{0, func(now time.Time) Step { return d.Begin(now, limits) }, Nothing, Delaying, 5},
		{1, func(now time.Time) Step { return d.Begin(now, limits) }, Nothing, Delaying, 5}, // has begun already
		{4, d.Expire, Nothing, Delaying, 5},
		{5, d.Expire, Stop, Draining, 15},
		{14, d.Expire, Nothing, Draining, 15},
		{14, d.SkipDelay, Nothing, Draining, 15}, // there is none left to skip
		{16, d.Expire, Kill, Killing, 19},        // late: the next limit counts from now
		{18, d.Expire, Nothing, Killing, 19},
		{19, d.Expire, GiveUp, GivenUp, -1},
		{99, d.Expire, Nothing, GivenUp, -1},
	} {
		if got := c.do(at(c.at)); got != c.want || d.Phase() != c.phase {
			t.Errorf("at %d: step %d, phase %d; want %d, %d", c.at, got, d.Phase(), c.want, c.phase)
		}
		deadline, running := d.Deadline()
		if running != (c.next >= 0) || running && !deadline.Equal(at(c.next)) {
			t.Errorf("at %d: deadline %v, %v; want %d", c.at, deadline.Sub(start), running, c.next)
		}
	}
}

func TestZeroLimitsEndAtOnce(t *testing.T) {
	now := time.Unix(0, 0)
	var d Drain
	for i, want := range []Step{Stop, Kill, GiveUp, Nothing} {
		got := d.Expire(now)
		if i == 0 {
			got = d.Begin(now, Limits{})
		}
		if got != want {
			t.Errorf("step %d: %d, want %d", i, got, want)
		}
	}
}

func TestSkipDelay(t *testing.T) {
	now := time.Unix(0, 0)
	var d Drain
	d.Begin(now, Limits{Delay: time.Hour, Timeout: time.Minute})
	if got := d.SkipDelay(now.Add(time.Second)); got != Stop {
		t.Errorf("step %d, want Stop", got)
	}
	if deadline, _ := d.Deadline(); !deadline.Equal(now.Add(time.Second + time.Minute)) {
		t.Errorf("the timeout does not count from the stop: %v", deadline)
	}
}
