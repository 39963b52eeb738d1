package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/bench/result"
	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/demo/proc"
)

var errStuck = errors.New("does not happen")

func ended(st syscall.WaitStatus) error { return fmt.Errorf("it ended with status %#x", uint32(st)) }

// reaping measures what orphans cost an init: in CPU per orphan, and in time until the last of many is gone.
func (b *bench) reaping() error {
	churned := b.figure("reaping", fmt.Sprintf("CPU per orphan, %d one after the other", b.o.orphans), "µs", result.Lower)
	if err := b.reap(churned, nil, func(s subject) (reaped, error) { return b.churn(s, nil, b.o.orphans, io.Discard) }); err != nil {
		return err
	}
	churned.RatioAtMost("CPU per orphan in a churn at most 1.6 × tini", ours, 1.6)

	cpu := b.figure("reaping", fmt.Sprintf("CPU per orphan, a backlog of %d zombies", b.o.backlog), "µs", result.Lower)
	wall := b.figure("reaping", "time until the backlog is gone", "ms", result.Lower)
	if err := b.reap(cpu, wall, func(s subject) (reaped, error) { return b.many(s, true) }); err != nil {
		return err
	}
	cpu.RatioAtMost(fmt.Sprintf("CPU for a backlog of %d zombies at most 1.1 × tini", b.o.backlog), ours, 1.1)

	cpu = b.figure("reaping", fmt.Sprintf("CPU per orphan, %d end at once", b.o.backlog), "µs", result.Lower)
	wall = b.figure("reaping", "time until all that end at once are gone", "ms", result.Lower)
	return b.reap(cpu, wall, func(s subject) (reaped, error) { return b.many(s, false) })
}

// reaped is what it took an init to reap some orphans.
type reaped struct {
	orphans int
	cpu     time.Duration // of all threads of PID 1
	wall    time.Duration
}

func (b *bench) reap(cpu, wall *result.Figure, f func(subject) (reaped, error)) error {
	perOrphan, took := map[string][]float64{}, map[string][]float64{}
	err := b.turns(cpu.Name, b.o.rounds, b.inits(), func(s subject, counts bool) error {
		r, err := f(s)
		if err == nil && counts {
			perOrphan[s.name] = append(perOrphan[s.name], micro(r.cpu)/float64(r.orphans))
			took[s.name] = append(took[s.name], milli(r.wall))
		}
		return err
	})
	for _, s := range b.inits() {
		cpu.Add(s.name, perOrphan[s.name]...)
		if wall != nil {
			wall.Add(s.name, took[s.name]...)
		}
	}
	cpu.Compare(standard)
	if wall != nil {
		wall.Compare(standard)
	}
	return err
}

// churn makes orphans one after the other.
func (b *bench) churn(s subject, flags []string, orphans int, log io.Writer) (reaped, error) {
	l, r, err := b.churned(s, flags, orphans, log)
	if err == nil {
		l.end()
	}
	return r, err
}

// churned is churn of which the init lives on.
func (b *bench) churned(s subject, flags []string, orphans int, log io.Writer) (*life, reaped, error) {
	l, err := b.start(s, flags, log, churn.Orphans(orphans, 1)...)
	if err != nil {
		return nil, reaped{}, err
	}
	r := reaped{orphans: orphans}
	measure := func() error {
		if err := l.expect(churn.Begin); err != nil {
			return err
		}
		before, err := proc.CPU("/proc", l.PID)
		if err != nil {
			return err
		}
		if err := l.expect(churn.Done); err != nil {
			return err
		}
		if err := b.onlyPrograms(l); err != nil {
			return err
		}
		after, err := proc.CPU("/proc", l.PID)
		r.cpu = after - before
		return err
	}
	if err := measure(); err != nil {
		l.end()
		return nil, reaped{}, err
	}
	return l, r, nil
}

// expect reads what the app of package churn says.
func (l *life) expect(word string) error {
	said := make([]byte, len(word))
	if _, err := io.ReadFull(l.said, said); err != nil {
		return fmt.Errorf("the app did not say %q: %w", word, err)
	}
	if !bytes.Equal(said, []byte(word)) {
		return fmt.Errorf("the app said %q, want %q", said, word)
	}
	return nil
}

// onlyPrograms waits until no orphan is left: those never executed a program.
func (b *bench) onlyPrograms(l *life) error {
	return b.await(10*time.Millisecond, "reaping all orphans", func() (bool, error) {
		list, err := proc.List(l.Proc())
		return !slices.ContainsFunc(list, func(p proc.Process) bool { return p.Forked || p.Zombie() }), err
	})
}

// many makes sleeping orphans and kills them all at once: either while the init is stopped, and what is measured begins when it
// goes on, or under its eyes.
func (b *bench) many(s subject, stopped bool) (reaped, error) {
	r := reaped{orphans: b.o.backlog}
	l, _, err := b.begin(s, nil, b.app, "sleepers", strconv.Itoa(b.o.backlog))
	if err != nil {
		return r, err
	}
	defer l.end()
	_, app, err := l.pids()
	if err != nil {
		return r, err
	}
	tell := func(sig syscall.Signal) (time.Duration, error) {
		if err := syscall.Kill(app, sig); err != nil {
			return 0, err
		}
		return l.record(sig)
	}
	if _, err := tell(syscall.SIGUSR1); err != nil {
		return r, err
	}
	orphans, err := l.orphans()
	if err != nil {
		return r, err
	}
	if len(orphans) != b.o.backlog {
		return r, fmt.Errorf("there are %d orphans, want %d; does something else on this machine kill processes?", len(orphans), b.o.backlog)
	}
	if stopped {
		if err := b.backlog(l, tell); err != nil {
			return r, err
		}
	}
	before, err := proc.CPU("/proc", l.PID)
	if err != nil {
		return r, err
	}
	began := pidns.Monotonic()
	if stopped {
		err = l.Signal(syscall.SIGCONT)
	} else {
		began, err = tell(syscall.SIGINT)
	}
	if err != nil {
		return r, err
	}
	if err := b.await(time.Millisecond, "reaping all orphans", func() (bool, error) {
		for len(orphans) > 0 {
			// In the namespace nobody forks any more: no pid is used again.
			if _, err := os.Stat(orphans[len(orphans)-1]); err == nil {
				return false, nil
			} else if !errors.Is(err, os.ErrNotExist) {
				return false, err
			}
			orphans = orphans[:len(orphans)-1]
		}
		return true, nil
	}); err != nil {
		return r, err
	}
	r.wall = pidns.Monotonic() - began
	if err := b.pass(20 * time.Millisecond); err != nil { // it goes back to sleep
		return r, err
	}
	after, err := proc.CPU("/proc", l.PID)
	r.cpu = after - before
	return r, err
}

// backlog stops the init and lets the orphans become zombies.
func (b *bench) backlog(l *life, tell func(syscall.Signal) (time.Duration, error)) error {
	if err := l.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := b.await(time.Millisecond, "the stop of PID 1", func() (bool, error) {
		threads, err := proc.List(fmt.Sprintf("/proc/%d/task", l.PID))
		return !slices.ContainsFunc(threads, func(t proc.Process) bool { return t.State != 'T' }), err
	}); err != nil {
		return err
	}
	if _, err := tell(syscall.SIGINT); err != nil {
		return err
	}
	return b.await(10*time.Millisecond, "the end of all orphans", func() (bool, error) {
		all, err := proc.List(l.Proc())
		return !slices.ContainsFunc(all, func(p proc.Process) bool { return p.Forked && p.State != 'Z' }), err
	})
}

// orphans are the directories in /proc of the processes that have executed nothing and belong to PID 1.
func (l *life) orphans() ([]string, error) {
	all, err := proc.List(l.Proc())
	var out []string
	for _, p := range all {
		if p.PPID == 1 && p.Forked {
			out = append(out, filepath.Join(l.Proc(), strconv.Itoa(p.PID)))
		}
	}
	return out, err
}

// await looks again and again, until it is so.
func (b *bench) await(every time.Duration, what string, is func() (bool, error)) error {
	patience := limit
	if b.patience > 0 {
		patience = b.patience
	}
	deadline := time.Now().Add(patience)
	for {
		ok, err := is()
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %w, not within %v", what, errStuck, patience)
		}
		if err := b.pass(every); err != nil {
			return err
		}
	}
}
