package lifecycle

import (
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
)

var (
	lives = flag.Int("lives", 20_000, "how many lives TestSimulation simulates")
	seed  = flag.Uint64("seed", 0, "the only life that TestSimulation simulates, with its trace")
)

// seen collects the transitions that any life made.
var seen [stateCount][stateCount]atomic.Bool

// TestSimulation runs random lives and checks the invariants that the package comment lists. A life that
// breaks one is printed with its seed, which replays it: go test -run TestSimulation -seed N.
func TestSimulation(t *testing.T) {
	if *seed != 0 {
		w := live(*seed, true)
		t.Log("\n" + strings.Join(w.trace, "\n"))
		for _, v := range w.violate {
			t.Error(v)
		}
		return
	}
	var next, broken atomic.Uint64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for s := next.Add(1); s <= uint64(*lives) && broken.Load() < 5; s = next.Add(1) {
				if w := live(s, false); len(w.violate) > 0 {
					broken.Add(1)
					t.Errorf("life %d: %s", s, strings.Join(w.violate, "; "))
				}
			}
		})
	}
	group.Wait()
	if *lives < 20_000 || t.Failed() {
		return
	}
	for _, tr := range Transitions {
		if !seen[tr.From][tr.To].Load() {
			t.Errorf("no life went from %s to %s (%s)", tr.From, tr.To, tr.Cause)
		}
	}
}

// live simulates one life.
func live(seed uint64, tracing bool) *world {
	w := newWorld(seed)
	w.tracing = tracing
	first := w.randomApp()
	first.daemonises = w.rng.IntN(10) == 0
	cfg := Config{
		Self: self, Upgrades: w.rng.IntN(12) != 0, UpgradeSignal: upgradeSignal, Insist: w.rng.IntN(8) == 0,
		HasPIDFile:      first.daemonises,
		ShutdownSignals: map[signals.Signal]bool{sigTERM: true},
		Passive:         w.rng.IntN(15) == 0,
		DrainDelay:      w.sometimes(3 * time.Second), StopTimeout: w.millis(0, 8000), DrainTimeout: w.millis(0, 6000),
		KillTimeout: w.millis(0, 1000), ReadyTimeout: w.millis(1000, 9000), Settle: w.millis(0, 2000),
	}
	if first.kind == waits && w.rng.IntN(5) != 0 {
		cfg.PredecessorSignal = quit
	}
	cfg.HasCheck = w.rng.IntN(8) == 0
	if w.rng.IntN(2) == 0 {
		first.daemonises = false
		w.becomeSpawning(&cfg)
	}
	w.machine = New(cfg)
	w.machine.observe = w.checkTransition
	w.fdsHidden = w.rng.IntN(12) == 0
	w.schedule(first)
	if w.spawning != nil {
		w.scheduleRequests()
	}
	w.carryOut(w.machine.Begin(), first)
	const end = 120 * time.Second
	w.later(end, func() { w.shut() })
	bound := cfg.DrainDelay + cfg.StopTimeout + 3*cfg.KillTimeout + 5*time.Second
	deadline := w.now.Add(end + bound)
	for w.exited == nil && w.now.Before(deadline) && len(w.violate) == 0 {
		w.advance(first)
		if w.spawning != nil {
			deadline = deadline.Add(w.lingered)
			w.lingered = 0
		}
		if w.shutdownAt != (time.Time{}) && w.now.After(w.shutdownAt.Add(bound)) && !cfg.Passive {
			w.fail("the init has not ended %s after the shutdown signal", bound)
		}
	}
	if w.exited == nil && !cfg.Passive && len(w.violate) == 0 {
		w.fail("the init has not ended")
	}
	if w.exited != nil && w.spawning != nil {
		w.checkSpawnedEnd()
	}
	if w.exited != nil && w.reports != w.triggered {
		w.fail("%d upgrades began, %d ended with a line", w.triggered, w.reports)
	}
	return w
}

func (w *world) sometimes(d time.Duration) time.Duration {
	if w.rng.IntN(3) == 0 {
		return d
	}
	return 0
}

// schedule plans what comes from outside: signals, orphans, crashes, a /proc that cannot be read.
func (w *world) schedule(first *app) {
	at := func() time.Duration { return w.millis(0, 20_000) }
	for range w.rng.IntN(6) {
		w.later(at(), func() { w.step(Signalled{upgradeSignal}) })
	}
	if w.rng.IntN(2) == 0 {
		for range 1 + w.rng.IntN(2) {
			w.later(at(), func() { w.shut() })
		}
	}
	for range w.rng.IntN(3) {
		w.later(at(), func() { w.step(Signalled{signals.Signal(syscall.SIGHUP)}) })
	}
	for range w.rng.IntN(3) { // an orphan of a kubectl exec
		w.later(at(), func() {
			o := w.fork(self, nil, 0)
			o.exec(w.rng.IntN(4) == 0)
			w.later(w.millis(0, 9000), func() { w.die(o, reaper.Status{}) })
		})
	}
	if w.rng.IntN(4) == 0 { // the main process crashes
		w.later(at(), func() {
			if main, _ := w.machine.Main(); w.procs[main.PID] != nil {
				w.die(w.procs[main.PID], reaper.Status{Signal: syscall.SIGSEGV, Core: true})
			}
		})
	}
	if w.rng.IntN(10) == 0 {
		w.later(at(), func() { w.blind, w.wasBlind = true, true })
		w.later(at(), func() { w.blind = false })
	}
	if w.rng.IntN(5) == 0 { // somebody who is not of the app speaks
		w.later(at(), func() {
			w.named = w.rng.IntN(20)
			w.step(Notified{Lineage: []int{w.rng.IntN(20)}, Message: notify.Message{Ready: true, MainPID: w.named}})
		})
	}
}

func (w *world) shut() {
	if w.shutdownAt.IsZero() {
		w.shutdownAt = w.now
	}
	w.step(Signalled{sigTERM})
}

// advance lets the next thing happen: an app's doing, or the machine's deadline.
func (w *world) advance(first *app) {
	at, due := w.machine.Deadline()
	next := -1
	for i, h := range w.future {
		if next < 0 || h.at.Before(w.future[next].at) {
			next = i
		}
	}
	switch {
	case next >= 0 && (!due || w.future[next].at.Before(at)):
		h := w.future[next]
		w.future = append(w.future[:next], w.future[next+1:]...)
		w.now = later(w.now, h.at)
		h.do()
	case due:
		w.now = later(w.now, at.Add(w.millis(0, 2)))
		w.step(Tick{})
		if again, still := w.machine.Deadline(); still && !again.After(w.now) && w.exited == nil {
			w.fail("the deadline %s does not move in state %s", again.Sub(w.now), w.machine.State())
		}
	default:
		w.now = w.now.Add(time.Hour)
	}
	w.reapAll()
}

// reapAll is the loop's part: every dead child of the init becomes an event.
func (w *world) reapAll() {
	for w.exited == nil {
		children, dead := 0, (*process)(nil)
		for _, p := range w.all {
			if p.PPID != self {
				continue
			}
			children++
			if p.zombie && dead == nil {
				dead = p
			}
		}
		if children == 0 {
			w.step(Childless{})
			return
		}
		if dead == nil {
			return
		}
		w.remove(dead)
		w.reaped[dead.ID] = true
		if main, _ := w.machine.Main(); main == dead.ID {
			w.code = dead.status.ExitCode()
		}
		if awaited, ok := w.machine.Awaited(); ok && !slices.Contains(awaited, dead.PID) {
			w.orphanExited(dead)
		} else {
			w.step(ChildExited{PID: dead.PID, Status: dead.status})
		}
	}
}

// orphanExited is about a child that the machine does not await: the watcher may have reaped it without a word, so
// whether it is told of its end must change nothing.
func (w *world) orphanExited(dead *process) {
	if dead.PID%2 == 0 {
		return
	}
	before := w.machine.State()
	deadline, timed := w.machine.Deadline()
	actions := w.machine.Step(w.now, ChildExited{PID: dead.PID, Status: dead.status})
	if !timed || w.now.Before(deadline) { // else it is time for something else
		if after, _ := w.machine.Deadline(); len(actions) > 0 || w.machine.State() != before || after != deadline {
			w.fail("the end of pid %d, which is not awaited, led to %v", dead.PID, actions)
		}
	}
	w.carryOut(actions, nil)
}

func (w *world) step(e Event) {
	if w.exited != nil {
		return
	}
	before := w.machine.State()
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf("%8s %-9s %T%+v", w.now.Sub(time.Unix(1e9, 0)).Round(time.Millisecond), before, e, e))
	}
	w.depth++
	actions := w.machine.Step(w.now, e)
	if w.spawning != nil && (before == Restarting || before == Starting) && w.machine.State() >= Sweeping {
		w.shutWhileRestarting = true
	}
	w.carryOut(actions, nil)
	if w.depth--; w.spawning != nil && w.depth == 0 {
		w.checkSpawned()
	}
}

func (w *world) carryOut(actions []Action, first *app) {
	for i, a := range actions {
		if w.exited != nil {
			return
		}
		if w.tracing {
			w.trace = append(w.trace, fmt.Sprintf("%28s %T%+v", "→", a, a))
		}
		switch a := a.(type) {
		case Start:
			if w.spawning != nil {
				w.spawn(a)
			} else {
				w.start(first)
			}
		case Find:
			w.find()
		case Release:
			w.release(a.Image)
		case Run:
			w.run(a)
		case Probe:
			w.probe()
		case Accepted:
			w.accept(a)
		case Refused:
			w.answers++
		case Tell:
			if w.spawning != nil {
				w.tell(*a.Progress)
			}
		case Look:
			w.look(a)
		case Kill:
			w.kill(a)
		case KillRest:
			for _, p := range append([]*process(nil), w.all...) {
				if p.PID != self && w.live(p) && (a.Group == 0 || p.group == a.Group) {
					w.deliver(p, a.Signal)
				}
			}
		case Log:
			w.checkLog(a)
		case Exit:
			w.exited = &a
			w.checkExit(a)
			if i != len(actions)-1 {
				w.fail("%T after Exit", actions[i+1])
			}
		}
	}
}

func (w *world) start(first *app) {
	if w.rng.IntN(50) == 0 {
		w.code = 127
		w.step(StartFailed{Code: 127, Err: errors.New("cannot execute")})
		return
	}
	p := w.fork(self, first, 1)
	p.exec(!first.daemonises)
	for range first.workers {
		w.fork(p.PID, first, 1)
	}
	p.immortal = w.rng.IntN(40) == 0
	if first.notifies {
		w.later(w.millis(0, 500), func() { w.say(p) })
	}
	if first.daemonises {
		w.later(w.millis(0, 50), func() {
			daemon := w.fork(p.PID, first, 1)
			daemon.listens = true
			w.die(p, reaper.Status{})
			if w.rng.IntN(5) != 0 {
				w.later(w.millis(0, 100), func() { w.pidFile = daemon.PID })
			}
		})
	}
	w.step(Started{Main: p.ID})
}

func (w *world) look(l Look) {
	w.linger()
	if w.blind {
		w.step(Looked{For: l.For, Err: syscall.EMFILE})
		return
	}
	looked := Looked{For: l.For, Table: w.snapshot(), PIDFile: w.pidFile, Accepts: map[int]procfs.Accepting{}}
	for _, pid := range l.Accepts {
		looked.Accepts[pid] = procfs.Accepting(w.rng.IntN(3))
	}
	w.step(looked)
}

func (w *world) kill(k Kill) {
	if w.reaped[k.Target] {
		w.fail("%s to pid %d, which was reaped", k.Signal, k.Target.PID)
	}
	if k.Target == (procfs.ID{}) {
		w.fail("%s to nobody", k.Signal)
	}
	if w.rng.IntN(200) == 0 && k.Signal != sigKILL {
		w.step(KillFailed{Target: k.Target, Signal: k.Signal, Err: syscall.EPERM})
		return
	}
	p := w.procs[k.Target.PID]
	if p == nil || p.ID != k.Target {
		w.step(KillFailed{Target: k.Target, Signal: k.Signal, Err: syscall.ESRCH})
		return
	}
	switch {
	case w.machine.cfg.Upgrades && w.spawning == nil && k.Signal == upgradeSignal:
		if again := w.now.Sub(w.asked); again < debounce {
			w.fail("pid %d was sent the upgrade signal again after %s", p.PID, again)
		}
		w.asked = w.now
	case w.spawning != nil && k.Signal == sigTERM:
		w.checkSpawnedStop(k)
		if w.stopping[k.Target]++; w.stopping[k.Target] > 1 && w.named != p.PID {
			w.fail("pid %d was told to stop twice", p.PID)
		}
	case k.Signal == quit && k.Target != w.machine.up.record.Main:
		w.fail("a process other than the predecessor (pid %d) was sent the predecessor signal", p.PID)
	case k.Signal == quit || k.Signal == sigTERM && !w.machine.cfg.Passive:
		if w.stopping[k.Target]++; w.stopping[k.Target] > 1 {
			w.fail("pid %d was told to stop twice", p.PID)
		}
	}
	if w.live(p) {
		w.deliver(p, k.Signal)
	}
}

// checkTransition holds what must be true when a state is left for another.
func (w *world) checkTransition(from, to State) {
	seen[from][to].Store(true)
	if !legal[from][to] {
		w.fail("illegal transition from %s to %s", from, to)
	}
	if w.spawning != nil || to != Sweeping || !w.shutdownAt.IsZero() || w.blind || w.fdsHidden || !w.machine.cfg.Upgrades {
		return
	}
	past := w.machine.past
	for _, p := range w.all {
		// Not those that came after the upgrade was given up, nor one of several: what a repeated trigger
		// leaves beside its predecessor belongs to the predecessor's generation.
		late := past != nil && w.now.After(past.readyBy.Add(w.machine.cfg.DrainTimeout)) && !w.inherits(p)
		if w.live(p) && p.listens && !p.Forked && p.app != nil && p.gen > 1 && !p.draining && !late && !w.several && w.named == 0 && !w.machine.cfg.HasPIDFile {
			w.fail("the init ends although the successor pid %d serves", p.PID)
		}
	}
}

// inherits reports whether a process holds its predecessor's listeners, as it does unless it opened its own.
func (w *world) inherits(p *process) bool { return p.socket != p.Start }

func (w *world) checkLog(l Log) {
	switch {
	case strings.Contains(l.Text, "BUG"):
		w.fail("%s", l.Text)
	case l.Text == "upgrade triggered":
		w.triggered++
		w.predecessor, _ = w.machine.Main()
	case l.Text == "upgrade refused" && w.spawning == nil:
	case l.Text == "upgrade rolled back" && w.reports == w.triggered: // after it was done
	case strings.HasPrefix(l.Text, "upgrade ") && l.Text != "upgrade signal held" && !strings.HasPrefix(l.Text, "upgrade signal"):
		w.reports++
		if l.Text != "upgrade done" {
			return
		}
		predecessor := w.predecessor
		if p := w.procs[predecessor.PID]; p != nil && p.ID == predecessor && w.live(p) {
			w.fail("the upgrade is done, but the predecessor pid %d lives", p.PID)
		}
	}
}

func (w *world) checkExit(e Exit) {
	switch {
	case e.Code == w.code:
	case w.spawning != nil && w.shutWhileRestarting && e.Code == 128+int(sigTERM):
	case w.wasBlind: // a successor may have been adopted unseen
	case strings.Contains(e.Cause, "did not end within") && e.Code == 137:
	case strings.Contains(e.Cause, "pid file") && e.Code == 1:
	case strings.Contains(e.Cause, "vanished") && e.Code == 1:
	case w.machine.cfg.HasPIDFile && e.Code == 128+int(sigTERM): // shut down before the daemon was known
	default:
		w.fail("exit code %d, but the main process ended with %d (%s)", e.Code, w.code, e.Cause)
	}
}
