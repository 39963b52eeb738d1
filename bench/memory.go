package main

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/graceinit/graceinit/bench/result"
	"github.com/graceinit/graceinit/demo/proc"
)

// megabyte is what ls -h and ps take it for.
const megabyte = 1 << 20

// reading is what /proc says of an init and its helpers together.
type reading struct {
	memory   proc.Memory
	switches proc.Switches
	cpu      time.Duration
}

func read(pids []int) (sum reading, err error) {
	for _, pid := range pids {
		m, err := proc.ReadMemory("/proc", pid)
		if err != nil {
			return sum, err
		}
		s, err := proc.ReadSwitches("/proc", pid)
		if err != nil {
			return sum, err
		}
		cpu, err := proc.CPU("/proc", pid)
		if err != nil {
			return sum, err
		}
		sum.memory.RSS += m.RSS
		sum.memory.PSS += m.PSS
		sum.memory.PrivateDirty += m.PrivateDirty
		sum.switches.Voluntary += s.Voluntary
		sum.switches.Involuntary += s.Involuntary
		sum.switches.Threads += s.Threads
		sum.cpu += cpu
	}
	return sum, nil
}

// resting is an init with a sleeping app.
type resting struct {
	*life
	init []int // its pids
}

// rest starts all inits and waits until they are at rest.
func (b *bench) rest(subjects []subject, flags ...string) (map[string]resting, func(), error) {
	all := map[string]resting{}
	end := func() {
		for _, r := range all {
			r.end()
		}
	}
	for _, i := range b.random.Perm(len(subjects)) {
		s := subjects[i]
		l, _, err := b.begin(s, flags)
		if err != nil {
			end()
			return nil, nil, fmt.Errorf("%s: %w", s.name, err)
		}
		init, _, err := l.pids()
		all[s.name] = resting{l, init}
		if err != nil {
			end()
			return nil, nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if err := b.pass(b.o.quiet); err != nil {
		end()
		return nil, nil, err
	}
	return all, end, nil
}

// memory reads what the inits have in RAM, and what they do when there is nothing to do.
func (b *bench) memory() error {
	rss, pss, dirty := b.figure("memory", "RSS", "MB", result.Lower), b.figure("memory", "PSS", "MB", result.Lower), b.figure("memory", "private dirty", "MB", result.Lower)
	samples := map[string][]proc.Memory{}
	for i := range b.o.memories {
		progress("memory: start %d of %d", i+1, b.o.memories)
		if err := b.atRest(b.inits(), nil, samples); err != nil {
			return err
		}
	}
	column := func(name string, of func(proc.Memory) uint64) (out []float64) {
		for _, m := range samples[name] {
			out = append(out, float64(of(m))/megabyte)
		}
		return out
	}
	theRSS := func(m proc.Memory) uint64 { return m.RSS }
	for _, s := range b.inits() {
		rss.Add(s.name, column(s.name, theRSS)...)
		pss.Add(s.name, column(s.name, func(m proc.Memory) uint64 { return m.PSS })...)
		dirty.Add(s.name, column(s.name, func(m proc.Memory) uint64 { return m.PrivateDirty })...)
	}
	rss.AtMost("RSS at rest at most 3.5 MB", rss.Subject(ours).Median, "MB", 3.5)

	holding := b.figure("memory", "RSS with a listener", "MB", result.Lower)
	clear(samples)
	for range b.o.memories {
		if err := b.atRest(b.subjects[:1], []string{"--listen", "tcp://127.0.0.1:0"}, samples); err != nil {
			return err
		}
	}
	holding.Add(ours, column(ours, theRSS)...)
	for _, s := range b.inits()[1:] {
		holding.Skip(s.name, "the others hold no listeners")
	}
	holding.AtMost("RSS at rest with a listener at most 3.5 MB", holding.Subject(ours).Median, "MB", 3.5)

	if err := b.logged(); err != nil {
		return err
	}
	return b.idle()
}

// atRest adds what the inits have in RAM.
func (b *bench) atRest(subjects []subject, flags []string, to map[string][]proc.Memory) error {
	all, end, err := b.rest(subjects, flags...)
	if err != nil {
		return err
	}
	defer end()
	for name, l := range all {
		r, err := read(l.init)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		to[name] = append(to[name], r.memory)
	}
	return nil
}

// logged reads the memory after a life with many orphans, each of them logged where the init can do that.
func (b *bench) logged() error {
	after := b.figure("memory", fmt.Sprintf("RSS after %d orphans, logged", b.o.logged), "MB", result.Lower)
	lines := b.figure("memory", "lines in that log", "", result.Equal)
	for _, s := range b.inits() {
		progress("memory: %d logged orphans of %s", b.o.logged, s.name)
		rss, said, err := b.logging(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if s.verbose != nil && said < int64(b.o.logged) {
			return fmt.Errorf("%s logged %d lines of %d orphans", s.name, said, b.o.logged)
		}
		after.Add(s.name, rss)
		lines.Add(s.name, float64(said))
	}
	after.AtMost(fmt.Sprintf("RSS after %d logged orphans at most 4.5 MB", b.o.logged), after.Subject(ours).Median, "MB", 4.5)
	return nil
}

func (b *bench) logging(s subject) (rss float64, lines int64, err error) {
	var log counter
	l, _, err := b.churned(s, s.verbose, b.o.logged, &log)
	if err != nil {
		return 0, 0, err
	}
	defer l.end()
	if err := b.pass(b.o.quiet); err != nil {
		return 0, 0, err
	}
	init, _, err := l.pids()
	if err != nil {
		return 0, 0, err
	}
	r, err := read(init)
	l.end() // the log is read to its end
	return float64(r.memory.RSS) / megabyte, log.lines.Load(), err
}

// idle watches all inits at the same time, so that what the machine does besides meets all of them.
func (b *bench) idle() error {
	all, end, err := b.rest(b.inits())
	if err != nil {
		return err
	}
	defer end()
	before := map[string]reading{}
	for name, l := range all {
		if before[name], err = read(l.init); err != nil {
			return err
		}
	}
	progress("memory: %v idle", b.o.idle)
	if err := b.pass(b.o.idle); err != nil {
		return err
	}
	threads := b.figure("memory", "threads", "", result.Lower)
	wakeups := b.figure("memory", fmt.Sprintf("wake-ups in %.0f s idle", b.o.idle.Seconds()), "", result.Lower)
	preempted := b.figure("memory", "preemptions meanwhile", "", result.Equal)
	cpu := b.figure("memory", fmt.Sprintf("CPU in %.0f s idle", b.o.idle.Seconds()), "µs", result.Lower)
	for _, s := range b.inits() {
		after, err := read(all[s.name].init)
		if err != nil {
			return err
		}
		was := before[s.name]
		threads.Add(s.name, float64(after.switches.Threads))
		wakeups.Add(s.name, float64(after.switches.Voluntary-was.switches.Voluntary))
		preempted.Add(s.name, float64(after.switches.Involuntary-was.switches.Involuntary))
		cpu.Add(s.name, micro(after.cpu-was.cpu))
	}
	wakeups.AtMost(fmt.Sprintf("no wake-up in %.0f s idle", b.o.idle.Seconds()), wakeups.Subject(ours).Median, "", 0)
	return nil
}

// counter counts lines.
type counter struct{ lines atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.lines.Add(int64(bytes.Count(b, []byte("\n"))))
	return len(b), nil
}
