// Package drain bounds how long something that was asked to stop may still work:
//
//	delay → stop signal → timeout → SIGKILL → kill timeout → give up
//
// A Drain is pure: it is told the time and answers what to do, and it neither signals nor waits. That
// makes the same few lines serve a predecessor in an upgrade, everything on shutdown, and the leftovers
// after it.
package drain

import "time"

// Phase is where a drain is. It only ever moves forward.
type Phase uint8

const (
	Idle     Phase = iota // not begun
	Delaying              // begun, but nobody was told yet
	Draining              // told to stop; the timeout runs
	Killing               // SIGKILL was sent; the kill timeout runs
	GivenUp               // not even SIGKILL ended it in time
)

// Step is what is to be done now.
type Step uint8

const (
	Nothing Step = iota
	Stop         // send the stop signal
	Kill         // send SIGKILL
	GiveUp       // stop waiting
)

// Limits are the durations of a drain. Zero is a limit like any other: the phase ends at once.
type Limits struct {
	Delay       time.Duration // before the stop signal
	Timeout     time.Duration // from the stop signal to SIGKILL
	KillTimeout time.Duration // from SIGKILL to giving up
}

// Drain is one drain. The zero value has not begun.
type Drain struct {
	limits   Limits
	phase    Phase
	began    time.Time
	deadline time.Time
}

// Begin starts a drain. It does nothing, and answers Nothing, when it has begun already.
func (d *Drain) Begin(now time.Time, limits Limits) Step {
	if d.phase != Idle {
		return Nothing
	}
	d.limits, d.began = limits, now
	d.phase, d.deadline = Delaying, now.Add(limits.Delay)
	return d.Expire(now)
}

// SkipDelay sends the stop signal now instead of at the end of the delay.
func (d *Drain) SkipDelay(now time.Time) Step {
	if d.phase != Delaying {
		return Nothing
	}
	d.deadline = now
	return d.Expire(now)
}

// Expire moves on if the current phase has ended, by one phase. Call it again until it answers Nothing.
func (d *Drain) Expire(now time.Time) Step {
	if !d.running() || now.Before(d.deadline) {
		return Nothing
	}
	switch d.phase {
	case Delaying:
		d.phase, d.deadline = Draining, now.Add(d.limits.Timeout)
		return Stop
	case Draining:
		d.phase, d.deadline = Killing, now.Add(d.limits.KillTimeout)
		return Kill
	default:
		d.phase = GivenUp
		return GiveUp
	}
}

// Extend lets a drain that was told to stop take until then, at least.
func (d *Drain) Extend(until time.Time) {
	if d.phase == Draining && d.deadline.Before(until) {
		d.deadline = until
	}
}

// Phase returns where the drain is.
func (d *Drain) Phase() Phase { return d.phase }

// Began returns when the drain began, zero if it has not.
func (d *Drain) Began() time.Time { return d.began }

// Deadline returns when Expire has something to do next, and false when never.
func (d *Drain) Deadline() (time.Time, bool) { return d.deadline, d.running() }

func (d *Drain) running() bool { return d.phase != Idle && d.phase != GivenUp }
