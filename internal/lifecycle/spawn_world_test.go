package lifecycle

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// spawning is the part of the world that only matters where the init starts the successors.
type spawning struct {
	images              map[*upgrade.Image]bool // those that are held open
	ranFrom             map[procfs.ID]*upgrade.Image
	mains               []procfs.ID // every main process there was
	answers             int         // to the request that is being decided
	accepted            map[int]int // upgrades that somebody follows, and how many ends they were told
	shutWhileRestarting bool
	generations         []*process       // that were started
	guards              map[int]*process // by the app's pid: the shim that stays as its parent
	guarded             bool             // we are not PID 1
	lingered            time.Duration
}

// becomeSpawning makes a configuration one of mode spawn.
func (w *world) becomeSpawning(cfg *Config) {
	w.spawning = &spawning{images: map[*upgrade.Image]bool{}, ranFrom: map[procfs.ID]*upgrade.Image{}, accepted: map[int]int{},
		guards: map[int]*process{}, guarded: w.rng.IntN(3) == 0}
	cfg.Upgrades, cfg.Spawn, cfg.Passive, cfg.HasPIDFile, cfg.PredecessorSignal = true, true, false, false, 0
	cfg.StopFirst = w.rng.IntN(4) == 0
	cfg.HasCheck = w.rng.IntN(4) == 0
	cfg.HasProbe = w.rng.IntN(5) == 0
	cfg.ProbeRuns = w.rng.IntN(2) == 0
	cfg.HoldsListeners = w.rng.IntN(3) != 0
	if w.rng.IntN(4) != 0 {
		cfg.Probation = w.millis(0, 8000)
	}
	if w.rng.IntN(8) == 0 {
		cfg.Watchdog = w.millis(500, 5000)
	}
}

func (w *world) scheduleRequests() {
	for range w.rng.IntN(4) {
		w.later(w.millis(0, 20_000), func() {
			a := Asked{Op: control.OpUpgrade}
			switch w.rng.IntN(6) {
			case 0:
				a.Op = control.OpRollback
			case 1:
				if w.rng.IntN(4) == 0 {
					a.Op = control.OpStop
					if w.shutdownAt.IsZero() {
						w.shutdownAt = w.now
					}
				}
			case 2:
				a.Image = w.open()
			}
			w.answers = 0
			w.step(a)
			if w.answers != 1 {
				w.fail("a request for %s got %d answers", a.Op, w.answers)
			}
		})
	}
	if w.rng.IntN(6) == 0 {
		w.later(w.millis(0, 20_000), func() {
			if main, _ := w.machine.Main(); main.PID != 0 {
				w.step(Notified{Lineage: []int{main.PID}, Message: notify.Message{
					Watchdog: notify.WatchdogTrigger, WatchdogInterval: time.Second, ExtendTimeout: 2 * time.Second, Errno: 5, Status: "x"}})
			}
		})
	}
}

func (w *world) open() *upgrade.Image {
	i := &upgrade.Image{}
	w.images[i] = true
	return i
}

// linger lets time pass in an action: file systems are slow now and then, and containers are paused.
func (w *world) linger() {
	if w.spawning == nil || w.rng.IntN(40) != 0 {
		return
	}
	d := w.millis(0, 12_000)
	w.now = w.now.Add(d)
	w.lingered += d
	if !w.shutdownAt.IsZero() {
		w.shutdownAt = w.shutdownAt.Add(d) // not the machine's fault
	}
}

func (w *world) find() {
	w.linger()
	if w.rng.IntN(12) == 0 {
		if w.machine.State() == Starting {
			w.code = upgrade.CodeNotStarted
		}
		w.step(NotFound{errors.New("not found")})
		return
	}
	w.step(Found{w.open()})
}

func (w *world) release(i *upgrade.Image) {
	switch m := w.machine; {
	case !w.images[i]:
		w.fail("an executable was let go twice")
	case i == m.image || i == m.previous || m.up != nil && i == m.up.image && !m.up.reported && m.state == Preparing && m.up.successor.PID != 0:
		w.fail("an executable in use was let go")
	}
	delete(w.images, i)
}

// spawn starts a generation.
func (w *world) spawn(a Start) {
	w.linger()
	m := w.machine
	first := m.State() == Starting
	for _, s := range []struct {
		oneIn int
		errno syscall.Errno
	}{{30, syscall.ENOEXEC}, {30, syscall.EAGAIN}, {10, syscall.ETXTBSY}} {
		if w.rng.IntN(s.oneIn) == 0 {
			if first {
				w.code = 126
			}
			w.step(StartFailed{Code: 126, Err: s.errno})
			return
		}
	}
	switch {
	case !w.images[a.Image]:
		w.fail("an executable is started that is not held")
	case first && a.Generation != 1, !first && a.Generation != m.generation+1:
		w.fail("generation %d is started beside generation %d", a.Generation, m.generation)
	case m.State() == Restarting && m.rollback.back && !w.ranBefore(a.Image):
		w.fail("a rollback starts an executable that was no main process's")
	}
	next := w.randomApp()
	next.kind = inert
	if next.crashAfter > 0 && first {
		next.crashAfter += 5 * time.Second
	}
	parent := self
	if w.guarded {
		guard := w.fork(self, nil, 0)
		guard.exec(false)
		parent = guard.PID
	}
	p := w.fork(parent, next, a.Generation)
	p.exec(true)
	w.generations = append(w.generations, p)
	w.ranFrom[p.ID] = a.Image
	for range next.workers {
		w.fork(p.PID, next, a.Generation)
	}
	if next.crashAfter > 0 {
		w.later(next.crashAfter, func() { w.die(p, reaper.Status{Code: 1}) })
	}
	if next.notifies {
		w.later(w.millis(0, 500), func() { w.say(p) })
	}
	if w.rng.IntN(10) == 0 { // a launcher, which names the process that serves, and ends
		w.later(w.millis(0, 4000), func() {
			if !w.live(p) {
				return
			}
			child := w.fork(p.PID, next, a.Generation)
			child.exec(true)
			w.named = child.PID
			w.step(Notified{Lineage: []int{p.PID}, Message: notify.Message{Ready: true, MainPID: child.PID}})
			w.later(w.millis(0, 1000), func() { w.die(p, reaper.Status{}) })
		})
	}
	started := Started{Main: p.ID}
	if w.guarded {
		guard := w.procs[parent]
		w.guards[p.PID], started.Guard = guard, parent
		if w.rng.IntN(2) == 0 { // the app sends it SIGTERM, it says READY=1 and ends
			w.later(w.millis(0, 2000), func() { w.say(guard); w.die(guard, reaper.Status{}) })
		}
	}
	w.step(started)
}

// ranBefore reports whether a main process ran from the executable.
func (w *world) ranBefore(i *upgrade.Image) bool {
	return slices.ContainsFunc(w.mains, func(id procfs.ID) bool { return w.ranFrom[id] == i })
}

// run starts a helper.
func (w *world) run(a Run) {
	if w.spawning != nil {
		w.linger()
	}
	if w.rng.IntN(20) == 0 {
		w.step(HelperFailed{Helper: a.Helper, Err: errors.New("cannot execute")})
		return
	}
	p := w.fork(self, nil, 0)
	p.exec(false)
	if w.rng.IntN(10) != 0 {
		code := w.rng.IntN(2)
		w.later(w.millis(0, 3000), func() { w.die(p, reaper.Status{Code: code}) })
	}
	w.step(HelperStarted{Helper: a.Helper, PID: p.PID})
}

func (w *world) probe() {
	var err error
	if w.rng.IntN(3) != 0 {
		err = syscall.ECONNREFUSED
	}
	w.later(w.millis(0, 1000), func() { w.step(Probed{err}) })
}

// tell checks that each upgrade ends once for whoever follows it.
func (w *world) tell(p control.Progress) {
	switch {
	case p.Upgrade == 0:
		w.fail("progress of no upgrade: %+v", p)
	case p.Final:
		if w.accepted[p.Upgrade]++; w.accepted[p.Upgrade] > 1 {
			w.fail("upgrade %d ended twice", p.Upgrade)
		}
	case w.accepted[p.Upgrade] > 0:
		w.fail("upgrade %d goes on after its end: %+v", p.Upgrade, p)
	}
}

func (w *world) accept(a Accepted) {
	w.answers++
	if a.Upgrade != 0 && w.accepted[a.Upgrade] > 0 {
		w.fail("upgrade %d, which has ended, is promised", a.Upgrade)
	}
	if a.Upgrade != 0 {
		w.accepted[a.Upgrade] += 0
	}
}

// checkSpawned holds what must be true after each step.
func (w *world) checkSpawned() {
	m := w.machine
	if main, _ := m.Main(); main.PID != 0 && (len(w.mains) == 0 || w.mains[len(w.mains)-1] != main) {
		w.mains = append(w.mains, main)
		if _, started := w.ranFrom[main]; !started || w.named == main.PID { // named by MAINPID=
			w.ranFrom[main] = m.image
		}
		if m.image != w.ranFrom[main] {
			w.fail("the main process does not run from the executable that is taken for its")
		}
	}
	for _, i := range []*upgrade.Image{m.image, m.previous} {
		if i != nil && !w.images[i] {
			w.fail("an executable that may be needed is not held")
		}
	}
	used := map[*upgrade.Image]bool{m.image: true, m.previous: true, m.wanted: true, m.rollback.image: true}
	if m.up != nil {
		used[m.up.image] = true
	}
	for _, p := range w.generations {
		known := p.ID == m.main || m.up != nil && (p.ID == m.up.successor || p.ID == m.up.retiring) ||
			slices.ContainsFunc(m.strays, func(s stray) bool { return s.id == p.ID })
		if w.live(p) && !known && !m.ending() {
			w.fail("generation %d (pid %d) runs, and nobody knows of it", p.gen, p.PID)
		}
	}
	w.generations = slices.DeleteFunc(w.generations, func(p *process) bool { return !w.live(p) })
	for i := range w.images {
		if !used[i] && !m.ending() {
			w.fail("an executable is held for nothing in state %s", m.State())
		}
	}
}

// checkSpawnedStop checks a stop signal that nobody asked for.
func (w *world) checkSpawnedStop(k Kill) {
	main, _ := w.machine.Main()
	if k.Signal == sigTERM && k.Target == main && w.shutdownAt.IsZero() && !w.machine.cfg.StopFirst {
		w.fail("the main process was told to stop, but no successor is ready")
	}
}

// checkSpawnedEnd holds at the end of a life.
func (w *world) checkSpawnedEnd() {
	for n, ends := range w.accepted {
		if ends != 1 {
			w.fail("upgrade %d was told %d ends", n, ends)
		}
	}
}

const sigABRT = signals.Signal(syscall.SIGABRT)
