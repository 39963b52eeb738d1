package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/demo/proc"
)

// figures of one init.
type figures struct {
	Name        string    `json:"name"`
	Size        int64     `json:"binary_bytes"`
	RSS         int64     `json:"rss_start_bytes"`
	Anonymous   int64     `json:"anonymous_start_bytes"`
	Threads     int       `json:"threads"`
	Wakeups     int64     `json:"idle_wakeups"`
	Preempted   int64     `json:"idle_preemptions"`
	IdleCPU     float64   `json:"idle_cpu_us"`
	LoggedRSS   int64     `json:"rss_after_logged_bytes"`
	LoggedAnon  int64     `json:"anonymous_after_logged_bytes"`
	LogLines    int64     `json:"log_lines"`
	PerOrphan   []float64 `json:"cpu_per_orphan_us"`
	StartAndEnd []float64 `json:"start_and_stop_ms"`
}

type measurement struct {
	ctx     context.Context
	o       options
	figures []figures // as the subjects
	bare    []float64 // what StartAndEnd is without an init
	delays  []delay
}

const (
	// quiet is how long an init is left alone before it counts as idle.
	quiet = 3 * time.Second
	limit = 5 * time.Minute
)

func (m *measurement) sizes(subjects []subject) error {
	for i, s := range subjects {
		fi, err := os.Stat(s.path)
		if err != nil {
			return err
		}
		m.figures[i].Size = fi.Size()
	}
	return nil
}

// idle watches all inits at the same time, so that what the machine does besides meets all of them.
func (m *measurement) idle(subjects []subject) error {
	spaces := make([]*pidns.Namespace, len(subjects))
	for i, s := range subjects {
		n, err := pidns.Start(pidns.Command{Args: slices.Concat([]string{s.path}, s.holding, []string{"--", "/bin/sleep", "infinity"})})
		if err != nil {
			return err
		}
		defer n.Kill()
		spaces[i] = n
	}
	if err := m.pass(quiet); err != nil {
		return err
	}
	type reading struct {
		switches proc.Switches
		cpu      time.Duration
	}
	read := func() ([]reading, error) {
		var out []reading
		for _, n := range spaces {
			s, err := proc.ReadSwitches("/proc", n.PID)
			if err != nil {
				return nil, err
			}
			cpu, err := proc.CPU("/proc", n.PID)
			if err != nil {
				return nil, err
			}
			out = append(out, reading{s, cpu})
		}
		return out, nil
	}
	before, err := read()
	if err != nil {
		return err
	}
	for i, n := range spaces {
		mem, err := proc.ReadMemory("/proc", n.PID)
		if err != nil {
			return err
		}
		m.figures[i].RSS, m.figures[i].Anonymous = int64(mem.RSS), int64(mem.Anonymous)
	}
	if err := m.pass(m.o.idle); err != nil {
		return err
	}
	after, err := read()
	if err != nil {
		return err
	}
	for i := range spaces {
		f := &m.figures[i]
		f.Threads = after[i].switches.Threads
		f.Wakeups = int64(after[i].switches.Voluntary - before[i].switches.Voluntary)
		f.Preempted = int64(after[i].switches.Involuntary - before[i].switches.Involuntary)
		f.IdleCPU = micro(after[i].cpu - before[i].cpu)
	}
	return nil
}

// logged reads the memory after a life with many orphans, each of them logged where the init can do that.
func (m *measurement) logged(subjects []subject) error {
	for i, s := range subjects {
		var lines counter
		a, err := m.churn(slices.Concat([]string{s.path}, s.verbose), m.o.logged, &lines)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		err = m.pass(quiet)
		if err == nil {
			var mem proc.Memory
			mem, err = proc.ReadMemory("/proc", a.PID)
			m.figures[i].LoggedRSS, m.figures[i].LoggedAnon = int64(mem.RSS), int64(mem.Anonymous)
		}
		a.Kill()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		m.figures[i].LogLines = lines.lines.Load()
	}
	return nil
}

// reaping takes turns, so that what changes on the machine meets all inits.
func (m *measurement) reaping(subjects []subject) error {
	for range m.o.rounds {
		for i, s := range subjects {
			a, err := m.churn([]string{s.path}, m.o.churn, io.Discard)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			m.figures[i].PerOrphan = append(m.figures[i].PerOrphan, micro(a.cpu)/float64(m.o.churn))
			a.Kill()
		}
	}
	return nil
}

// after is an init whose orphans have all been reaped.
type after struct {
	*pidns.Namespace
	cpu time.Duration // that it took to reap them
}

func (m *measurement) churn(command []string, orphans int, log io.Writer) (*after, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	n, err := pidns.Start(pidns.Command{Args: slices.Concat(command, []string{"--"}, churn.Orphans(orphans, 1)), Stdout: w, Stderr: log})
	w.Close()
	if err != nil {
		return nil, err
	}
	_ = r.SetReadDeadline(time.Now().Add(limit))
	defer context.AfterFunc(m.ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })()
	a := &after{Namespace: n}
	measure := func() error {
		if err := expect(r, churn.Begin); err != nil {
			return err
		}
		before, err := proc.CPU("/proc", n.PID)
		if err != nil {
			return err
		}
		if err := expect(r, churn.Done); err != nil {
			return err
		}
		if err := m.reaped(n); err != nil {
			return err
		}
		end, err := proc.CPU("/proc", n.PID)
		a.cpu = end - before
		return err
	}
	if err := measure(); err != nil {
		n.Kill()
		return nil, err
	}
	return a, nil
}

func expect(r io.Reader, word string) error {
	b := make([]byte, len(word))
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("the app did not say %q: %w", word, err)
	}
	if !bytes.Equal(b, []byte(word)) {
		return fmt.Errorf("the app said %q, want %q", b, word)
	}
	return nil
}

// reaped waits until only the init and its app are left.
func (m *measurement) reaped(n *pidns.Namespace) error {
	deadline := time.After(10 * time.Second)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		list, err := proc.List(n.Proc())
		if err != nil {
			return err
		}
		if len(list) == 2 {
			return nil
		}
		select {
		case <-m.ctx.Done():
			return m.ctx.Err()
		case <-deadline:
			return fmt.Errorf("%d processes are left, want the init and its app", len(list))
		case <-again.C:
		}
	}
}

// starts runs a program that ends at once, below each init and by itself, in turns.
func (m *measurement) starts(subjects []subject) error {
	const program = "/bin/true"
	once := func(args []string) (float64, error) {
		if err := m.ctx.Err(); err != nil {
			return 0, err
		}
		n, err := pidns.Start(pidns.Command{Args: args, Stderr: io.Discard})
		if err != nil {
			return 0, err
		}
		if st := n.Wait(); st != 0 {
			return 0, fmt.Errorf("%v ended with status %#x", args, uint32(st))
		}
		return micro(n.Took()) / 1000, nil
	}
	for range m.o.starts {
		took, err := once([]string{program})
		if err != nil {
			return err
		}
		m.bare = append(m.bare, took)
		for i, s := range subjects {
			if took, err = once([]string{s.path, "--", program}); err != nil {
				return err
			}
			m.figures[i].StartAndEnd = append(m.figures[i].StartAndEnd, took)
		}
	}
	return nil
}

// pass lets time go by: here it is what is measured.
func (m *measurement) pass(d time.Duration) error {
	select {
	case <-m.ctx.Done():
		return errors.New("interrupted")
	case <-time.After(d):
		return nil
	}
}

// counter counts lines.
type counter struct{ lines atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.lines.Add(int64(bytes.Count(b, []byte("\n"))))
	return len(b), nil
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
