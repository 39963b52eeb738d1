package lifecycle

import (
	"syscall"
	"testing"
	"time"

	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// story is a life that a test tells event by event. Lives that go by chance are the simulation's.
type story struct {
	*testing.T
	m   *Machine
	now time.Time
}

func tell(t *testing.T, cfg Config) *story {
	t.Helper()
	cfg.Self, cfg.Upgrades, cfg.UpgradeSignal = self, true, upgradeSignal
	cfg.ShutdownSignals = map[signals.Signal]bool{sigTERM: true}
	cfg.Settle, cfg.ReadyTimeout, cfg.DrainTimeout, cfg.KillTimeout = time.Second, 10*time.Second, 10*time.Second, time.Second
	s := &story{T: t, m: New(cfg), now: time.Unix(1e9, 0)}
	s.m.Begin()
	if cfg.Spawn {
		s.step(Found{&upgrade.Image{}})
	}
	s.step(Started{Main: procfs.ID{PID: 10, Start: 10}})
	return s
}

func (s *story) step(e Event) []Action { return s.m.Step(s.now, e) }

func (s *story) after(d time.Duration, e Event) []Action {
	s.now = s.now.Add(d)
	return s.step(e)
}

func (s *story) is(want State) {
	s.Helper()
	if s.m.state != want {
		s.Fatalf("state %s, want %s", s.m.state, want)
	}
}

// looked is the process table with these processes, each a child of the init and a group of its own.
func looked(p Purpose, pids ...int) Looked {
	l := Looked{For: p, Table: &procfs.Snapshot{Listening: map[uint64]bool{}, Established: map[uint64]bool{}}}
	for _, pid := range append([]int{self}, pids...) {
		row := procfs.Process{ID: procfs.ID{PID: pid, Start: uint64(pid)}, PPID: self, State: 'S'}
		if pid == self {
			row.PPID = 0
		}
		row.Caught.Add(upgradeSignal)
		l.Table.Processes = append(l.Table.Processes, row)
	}
	return l
}

// upgrade begins one in mode spawn, up to where the successor runs as pid 20; with --stop-first, up to where the
// predecessor has been told to stop.
func (s *story) upgrade() {
	s.Helper()
	s.after(time.Minute, Signalled{upgradeSignal})
	s.step(looked(ForTrigger, 10))
	s.step(Found{&upgrade.Image{}})
	if !s.m.cfg.StopFirst {
		s.step(Started{Main: procfs.ID{PID: 20, Start: 20}})
		s.is(Settling)
	}
}

// mainDies has the main process die. Others that live are named.
func (s *story) mainDies(pid, code int, others ...int) {
	s.Helper()
	if has(s.step(ChildExited{PID: pid, Status: reaper.Status{Code: code}}), func(l Look) bool { return l.For == ForExit }) {
		s.step(looked(ForExit, others...))
	}
}

func has[A Action](actions []Action, match func(A) bool) bool {
	for _, a := range actions {
		if a, ok := a.(A); ok && match(a) {
			return true
		}
	}
	return false
}

// A deadline that passes while the generation is being started must not make anybody forget it.
func TestDeadlineWhileStarting(t *testing.T) {
	s := tell(t, Config{Spawn: true})
	s.after(time.Minute, Signalled{upgradeSignal})
	s.step(looked(ForTrigger, 10))
	if !has(s.after(time.Minute, Found{&upgrade.Image{}}), func(Start) bool { return true }) { // from a slow file system
		t.Fatal("nothing is started")
	}
	if !has(s.step(Started{Main: procfs.ID{PID: 20, Start: 20}}), func(k Kill) bool { return k.Target.PID == 20 }) {
		t.Error("the successor came too late, and nobody ended it")
	}
	s.is(Running)
}

// With --stop-first, a successor that has died is not ready, however long it takes to start its predecessor's
// executable.
func TestNobodyIsReadyWhileRestarting(t *testing.T) {
	for name, cfg := range map[string]Config{
		"settle time": {}, "probe": {HasProbe: true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Spawn, cfg.StopFirst = true, true
			s := tell(t, cfg)
			s.upgrade()
			s.step(ChildExited{PID: 10})
			s.step(Started{Main: procfs.ID{PID: 20, Start: 20}})
			s.is(Settling)
			s.mainDies(20, 1)
			s.is(Restarting)
			s.step(StartFailed{Err: syscall.EAGAIN})
			if cfg.HasProbe {
				s.step(Probed{})
			}
			s.after(5*time.Second, looked(ForProgress))
			s.is(Restarting)
			s.step(Started{Main: procfs.ID{PID: 30, Start: 30}})
			s.is(Running)
			if main, _ := s.m.Main(); main.PID != 30 {
				t.Errorf("main process %d", main.PID)
			}
		})
	}
}

// What a probe finds out about one generation is not true of another.
func TestProbeOfAnotherGeneration(t *testing.T) {
	s := tell(t, Config{Spawn: true, HasProbe: true, ProbeRuns: true})
	s.step(Tick{})
	s.step(HelperStarted{Helper: ProbeHelper, PID: 11}) // about generation 1, which takes its time
	s.m.triggeredAt = time.Time{}
	s.step(Signalled{upgradeSignal})
	s.step(looked(ForTrigger, 10))
	s.step(Found{&upgrade.Image{}})
	s.step(Started{Main: procfs.ID{PID: 20, Start: 20}})
	s.is(Settling)
	actions := s.after(time.Second, ChildExited{PID: 11})
	s.is(Settling)
	if !has(actions, func(r Run) bool { return r.PID == 20 }) {
		t.Error("the successor is not probed")
	}
	s.step(HelperStarted{Helper: ProbeHelper, PID: 12})
	s.step(ChildExited{PID: 12})
	s.is(Draining)
}

// A main process that drains may have ended what says WATCHDOG=1.
func TestWatchdogOfADrainingMain(t *testing.T) {
	aborted := func(k Kill) bool { return k.Signal == sigABRT }
	s := tell(t, Config{Spawn: true, StopFirst: true, Watchdog: 2 * time.Second})
	s.after(time.Second, Tick{}) // ready
	s.m.watchdog.by = s.now.Add(2 * time.Minute)
	s.upgrade()
	s.is(Draining)
	s.m.watchdog.by = s.now.Add(time.Second)
	if has(s.after(5*time.Second, Tick{}), aborted) {
		t.Error("the predecessor was aborted while it drained")
	}
}

// Where the app forks its successor itself, that is in the main process's group.
func TestWatchdogSparesTheSuccessor(t *testing.T) {
	s := tell(t, Config{Watchdog: 2 * time.Second})
	s.after(time.Second, Tick{})
	s.m.trigger()
	s.step(looked(ForTrigger, 10))
	s.is(Awaiting)
	if !has(s.after(2*time.Second, Tick{}), func(k Kill) bool { return k.Signal == sigABRT }) {
		t.Fatal("the main process is silent, and lives")
	}
	if has(s.step(ChildExited{PID: 10, Status: reaper.Status{Signal: syscall.SIGABRT}}), func(KillRest) bool { return true }) {
		t.Error("the group was killed")
	}
}

// What a generation had agreed to is not expected of the one after it.
func TestAgreementsEndWithTheirGeneration(t *testing.T) {
	s := tell(t, Config{Spawn: true, Probation: time.Hour})
	s.step(Notified{Lineage: []int{10}, Message: notify.Message{WatchdogInterval: time.Hour, Status: "one"}})
	s.upgrade()
	s.step(Notified{Lineage: []int{20}, Message: notify.Message{Ready: true, Status: "two"}})
	s.is(Draining)
	if s.m.watchdog.interval != 0 {
		t.Error("the predecessor's watchdog interval is the successor's")
	}
	s.step(ChildExited{PID: 10})
	if len(s.m.said) != 1 {
		t.Errorf("what the dead said is kept: %v", s.m.said)
	}
	s.mainDies(20, 1)
	s.is(Restarting)
	s.step(Started{Main: procfs.ID{PID: 30, Start: 30}})
	if s.is(Running); s.m.saysReady {
		t.Error("the old executable is expected to say READY=1, as the new one did")
	}
}

// It may while its predecessor drains, too, which must not be forgotten then.
func TestMainPIDWhileThePredecessorDrains(t *testing.T) {
	s := tell(t, Config{Spawn: true})
	s.upgrade()
	s.step(Notified{Lineage: []int{20}, Message: notify.Message{Ready: true}})
	s.step(Notified{Lineage: []int{20}, Message: notify.Message{MainPID: 21}})
	was := s.m.image
	s.mainDies(20, 0, 10, 21)
	s.is(Draining)
	if main, generation := s.m.Main(); main.PID != 21 || generation != 2 || s.m.image != was {
		t.Errorf("generation %d, pid %d", generation, main.PID)
	}
	actions := s.after(11*time.Second, Tick{})
	if !has(actions, func(l Look) bool { return l.For == ForKill }) ||
		!has(s.step(looked(ForKill, 10, 21)), func(k Kill) bool { return k.Target.PID == 10 && k.Signal == sigKILL }) {
		t.Error("the predecessor is not ended at the drain deadline")
	}
}

// What a successor that was not ready in time leaves behind is not the main process, whatever MAINPID= said.
func TestMainPIDOfALateSuccessor(t *testing.T) {
	s := tell(t, Config{Spawn: true, StopFirst: true, HasProbe: true})
	s.upgrade()
	s.step(Notified{Lineage: []int{10}, Message: notify.Message{MainPID: 11}})
	s.step(ChildExited{PID: 10})
	s.step(Started{Main: procfs.ID{PID: 20, Start: 20}})
	if s.m.mainPIDHint != 0 {
		t.Error("what the predecessor said of its main process is true of the successor")
	}
	s.step(Notified{Lineage: []int{20}, Message: notify.Message{MainPID: 21}})
	if !has(s.after(11*time.Second, Tick{}), func(k Kill) bool { return k.Target.PID == 20 && k.Signal == sigKILL }) {
		t.Fatal("it is not ended")
	}
	s.mainDies(20, 137, 11, 21)
	s.is(Restarting)
}

// A main process that names another by MAINPID= may end in its probation.
func TestMainPIDInProbation(t *testing.T) {
	for _, alive := range []bool{true, false} {
		s := tell(t, Config{Spawn: true, Probation: time.Hour})
		s.upgrade()
		s.step(Notified{Lineage: []int{20}, Message: notify.Message{Ready: true}})
		s.step(Notified{Lineage: []int{20}, Message: notify.Message{MainPID: 21}})
		s.step(ChildExited{PID: 10})
		s.after(time.Second, looked(ForProgress, 20))
		s.is(Running)
		s.step(Notified{Lineage: []int{20}, Message: notify.Message{MainPID: 21}})
		if alive {
			s.mainDies(20, 0, 21)
			s.is(Running)
		} else {
			s.mainDies(20, 0)
			s.is(Restarting)
		}
	}
}
