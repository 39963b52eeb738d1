package main

import (
	"fmt"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/bench/result"
	"github.com/graceinit/graceinit/demo/pidns"
)

// starts times lives: from the exec of the init to the app's first instruction, from the signal to the end, and from the app's
// exit to the end.
func (b *bench) starts() error {
	up, down, exit := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	err := b.turns("start", b.o.starts, b.subjects, func(s subject, counts bool) error {
		started, ended, err := b.live(s, func(l *life) (time.Duration, error) {
			at := pidns.Monotonic()
			return at, l.Signal(syscall.SIGTERM)
		})
		if err == nil && counts {
			up[s.name], down[s.name] = append(up[s.name], started), append(down[s.name], ended)
		}
		if err != nil || s.name == s6 {
			return err
		}
		_, ended, err = b.live(s, func(l *life) (time.Duration, error) {
			if err := l.signalApp(syscall.SIGUSR2); err != nil {
				return 0, err
			}
			return l.record(syscall.SIGUSR2)
		})
		if err == nil && counts {
			exit[s.name] = append(exit[s.name], ended)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		samples map[string][]float64
		of      string // what the init adds to it is the overhead of
	}{
		{"exec → the app's first instruction", up, "start-up"},
		{"SIGTERM → PID 1 is gone", down, "shutdown"},
		{"the app exits → PID 1 is gone", exit, ""}, // the inits add less than the noise
	} {
		total := b.figure("start", f.name, "ms", result.Lower)
		for _, s := range b.subjects {
			if samples := f.samples[s.name]; samples != nil {
				total.Add(s.name, samples...)
			} else {
				total.Skip(s.name, "s6 starts an app that has ended again")
			}
		}
		total.Compare(standard)
		if f.of == "shutdown" {
			total.RatioAtMost("SIGTERM → PID 1 is gone, median, at most 2 × tini", ours, 2)
		}
		if f.of == "" {
			continue
		}
		over := b.figure("start", f.of+" overhead: the same less that of bare", "ms", result.Lower)
		for _, s := range b.inits() {
			over.AddOver(s.name, f.samples[s.name], f.samples[control])
		}
		over.Compare(standard)
		if f.of == "start-up" {
			over.RatioAtMost("start-up overhead at most 2 × tini", ours, 2)
		}
	}
	return nil
}

// live runs one life. Some milliseconds after the app has begun finish makes it end and says since when.
func (b *bench) live(s subject, finish func(*life) (time.Duration, error)) (up, down float64, err error) {
	l, first, err := b.begin(s, nil)
	if err != nil {
		return 0, 0, err
	}
	defer l.end()
	if err := b.pass(b.gap(6 * time.Millisecond)); err != nil {
		return 0, 0, err
	}
	at, err := finish(l)
	if err != nil {
		return 0, 0, err
	}
	select {
	case <-l.Done():
	case <-time.After(limit):
		return 0, 0, fmt.Errorf("the end of PID 1: %w", errStuck)
	}
	if st := l.Wait(); st != 0 {
		return 0, 0, ended(st)
	}
	return milli(first - l.Began), milli(l.Ended() - at), nil
}
