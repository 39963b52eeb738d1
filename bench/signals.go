package main

import (
	"fmt"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/bench/result"
	"github.com/graceinit/graceinit/demo/pidns"
)

// signals times the way of a signal from kill(2) at PID 1 to the app. All inits are at rest meanwhile, and so is the app: the
// signal wakes up both.
func (b *bench) signals() error {
	subjects := b.forwarding()
	lives := map[string]*life{}
	for _, s := range subjects {
		l, _, err := b.begin(s, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		defer l.end()
		lives[s.name] = l
	}
	if err := b.pass(b.o.quiet); err != nil {
		return err
	}
	took := map[string][]float64{}
	err := b.turns("signals", b.o.signals, subjects, func(s subject, counts bool) error {
		if err := b.pass(b.gap(2 * time.Millisecond)); err != nil {
			return err
		}
		sent := pidns.Monotonic()
		if err := lives[s.name].Signal(syscall.SIGHUP); err != nil {
			return err
		}
		got, err := lives[s.name].record(syscall.SIGHUP)
		if err == nil && counts {
			took[s.name] = append(took[s.name], micro(got-sent))
		}
		return err
	})
	if err != nil {
		return err
	}
	latency := b.figure("signals", "kill(2) → the app has it", "µs", result.Lower)
	for _, s := range b.subjects {
		if s.name == s6 {
			latency.Skip(s.name, "s6-svscan forwards no signals to its services")
			continue
		}
		latency.AddMany(s.name, took[s.name])
	}
	latency.Compare(standard)
	latency.RatioAtMost("signal latency, median, at most 2 × tini", ours, 2)
	return nil
}
