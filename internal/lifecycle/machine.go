// Package lifecycle is the init's core: it decides what to do about everything that happens.
//
// Machine.Step is a pure function of the machine's state, the time and one event. It reads no clock, does
// no I/O, starts no goroutine and writes no log; it answers with actions. One goroutine (Loop) takes an
// event, calls Step and carries the actions out, and what they return comes back as an event. So an exit
// cannot precede the registration of its pid, and whole lives can be simulated.
//
// Instead of timers the machine has one Deadline. Step compares times itself, so a timer that fires late,
// early or twice changes nothing.
//
// Invariants, which the simulation checks: the exit code is decided once. Never do two main processes
// serve that were not told to make place or chose to. A successor is never sent the predecessor's stop
// signal. Every deadline ends. Nothing is signalled after it was reaped. After a shutdown signal the
// init always ends.
package lifecycle

import (
	"fmt"
	"slices"
	"time"

	"github.com/graceinit/graceinit/drain"
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// Config is what the machine needs to know of the settings. Durations of zero end at once.
type Config struct {
	Self int // the init's own pid

	Upgrades          bool           // the upgrade signal means an upgrade
	Spawn             bool           // the init itself starts the successor
	StopFirst         bool           // with Spawn: only when the predecessor has gone
	HasCheck          bool           // a command decides whether an upgrade may begin
	HasProbe          bool           // a generation is ready when it answers a probe
	KeepsPredecessor  bool           // with Spawn: PredecessorSignal zero means none
	ProbeRuns         bool           // that probe is a command
	HoldsListeners    bool           // with Spawn: generations get listeners from the init
	Insist            bool           // mode forward: forward even if nothing is known about the main process's signals
	UpgradeSignal     signals.Signal // what triggers an upgrade
	PredecessorSignal signals.Signal // what the predecessor is told to stop by, zero for nothing
	HasPIDFile        bool           // the app writes a pid file

	ShutdownSignals map[signals.Signal]bool
	StopSignal      signals.Signal // zero: the signal received
	Rewrite         map[signals.Signal]signals.Signal
	Dropped         map[signals.Signal]bool
	Group           bool // signal the main process's group
	Passive         bool // escalate nothing, exit with the main process
	SweepGroup      bool // with Passive: SIGTERM to the rest of the main process's group at the end
	Suspend         bool // stop ourselves too when the terminal stops the app

	DrainDelay, StopTimeout, DrainTimeout, KillTimeout, ReadyTimeout, Settle time.Duration

	Probation time.Duration // with Spawn: how long after it was ready a successor's death rolls back
	Watchdog  time.Duration // how long a ready main process may be silent, zero for ever
}

// debounce is the shortest time between two forwarded upgrade signals.
const debounce = time.Second

// Machine is one life of the init. Make it with New.
type Machine struct {
	cfg     Config
	now     time.Time
	actions []Action
	observe func(from, to State) // for tests: sees every transition

	state           State
	main, lastMain  procfs.ID // now, and the one before it, which has been reaped
	generation      int
	epoch           int            // how many live generations in a row came before the main process
	image, previous *upgrade.Image // with Spawn: the main process's executable, and its predecessor's
	guard           int            // the shim that stays as the main process's parent, or zero
	saysReady       bool           // the main process's generation has said READY=1
	readyAt         time.Time      // when the main process was ready, zero as long as it is not
	said            map[int]said   // by pid of a main process: what it has said of itself
	watchdog        watchdog
	probe           probe
	helpers         [helperKinds]helper
	since           time.Time // when the main process became that, or changed in place
	daemonised      bool      // the main process is one that daemonised
	pidFileBy       time.Time // until then a daemonising app may write its pid file
	nextPIDFileLook time.Time

	up           *attempt       // the upgrade in progress, nil without one
	held         bool           // a trigger waits
	wanted       *upgrade.Image // the executable that the waiting trigger asks for, nil: what the command names
	goingBack    bool           // the waiting trigger is a rollback
	serial       int            // of the last upgrade that was asked for
	pendingNo    int            // serial of the upgrade that waits or is being looked into, zero without
	triggeredAt  time.Time      // when the last trigger was acted upon
	past         *attempt       // the last upgrade, if it ended with the main process in place
	mainPIDHint  int            // the last MAINPID=
	saidNoAccess bool
	probation    *probation // of the last upgrade, as long as it lasts
	rollback     rollback
	strays       []stray // failed successors, and whatever else is to end soon
	last         *control.Progress
	counters     control.Counters

	shutdown   drain.Drain
	stopSignal signals.Signal
	stopped    map[procfs.ID]bool // who was sent the stop signal
	passedStop signals.Signal     // a shutdown signal that was only passed on

	pending  *reaper.Status // how the main process ended, while a successor or a daemon is looked for
	exit     *reaper.Status // how the life ends, decided once
	exitText string
	leader   int // the pid of the first main process: its session and group outlive it
	sweep    drain.Drain
}

// New returns a machine that has not begun. Begin starts it.
func New(cfg Config) *Machine {
	return &Machine{cfg: cfg, generation: 1, stopped: map[procfs.ID]bool{}, said: map[int]said{},
		counters: control.Counters{Upgrades: map[control.Step]int{}}}
}

// Begin returns the first actions.
func (m *Machine) Begin() []Action {
	if m.cfg.Spawn {
		return []Action{Find{}}
	}
	return []Action{Start{Generation: 1}}
}

// State returns where the life is.
func (m *Machine) State() State { return m.state }

// Main returns the main process, zero while there is none, and its generation.
func (m *Machine) Main() (procfs.ID, int) { return m.main, m.generation }

// Step takes one event and returns what is to be done about it, in order.
func (m *Machine) Step(now time.Time, event Event) []Action {
	m.now, m.actions = now, nil
	if m.state == Exited {
		return nil
	}
	switch e := event.(type) {
	case Started:
		m.started(e)
	case StartFailed:
		m.startFailed(e)
	case Found:
		m.found(e.Image)
	case NotFound:
		m.notFound(e.Err)
	case HelperStarted:
		m.helperStarted(e)
	case HelperFailed:
		m.helperEnded(e.Helper, e.Err)
	case Probed:
		m.probed(e.Err)
	case Asked:
		m.asked(e)
	case Signalled:
		m.signalled(e.Signal)
	case ChildExited:
		m.exited(e.PID, e.Status)
	case Childless:
		m.childless()
	case Looked:
		m.looked(e)
	case Notified:
		m.notified(e)
	case KillFailed:
		m.killFailed(e)
	}
	if m.state != Exited && !m.awaitsAnswer() {
		m.expire()
	}
	return m.actions
}

// awaitsAnswer reports whether one of the actions is answered by an event, which comes at once. It must find the state
// that it was asked for in: a deadline that passes now would have nobody know of the generation that is being started.
func (m *Machine) awaitsAnswer() bool {
	for _, a := range m.actions {
		switch a.(type) {
		case Start, Find, Run, Look:
			return true
		}
	}
	return false
}

// Deadline returns when Step wants a Tick if nothing else happens before, and false when never.
func (m *Machine) Deadline() (time.Time, bool) {
	var first time.Time
	consider := func(t time.Time, ok bool) {
		if ok && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	consider(m.shutdown.Deadline())
	consider(m.sweep.Deadline())
	consider(m.nextPIDFileLook, m.awaitsPIDFile())
	for i := range m.strays {
		consider(m.strays[i].drain.Deadline())
	}
	if m.state != Sweeping && m.state != Exited {
		consider(m.triggeredAt.Add(debounce), m.held && !m.busy())
		consider(m.readinessDeadline())
		consider(m.watchdogDeadline())
		consider(m.restartDeadline())
		if m.probation != nil {
			consider(m.probation.until, m.probationMayEnd())
		}
		if u := m.up; u != nil {
			consider(u.nextLook, !m.ending() && m.state != Preparing)
			consider(u.retryAt, !m.ending() && m.state == Preparing)
			consider(u.readyBy, !m.ending() && u.awaitsReadiness() && m.state != Restarting)
			consider(u.drain.Deadline())
		}
	}
	return first, !first.IsZero()
}

// expire acts on every deadline that has passed.
func (m *Machine) expire() {
	if m.awaitsPIDFile() && !m.now.Before(m.nextPIDFileLook) {
		m.lookForDaemon()
	}
	for step := m.shutdown.Expire(m.now); step != drain.Nothing; step = m.shutdown.Expire(m.now) {
		m.shutdownStep(step)
	}
	if m.state != Sweeping && m.state != Exited {
		m.expireServing()
	}
	for step := m.sweep.Expire(m.now); step != drain.Nothing && m.state == Sweeping; step = m.sweep.Expire(m.now) {
		m.sweepStep(step)
	}
	m.expireStrays()
}

// expireServing acts on the deadlines of a life that has not begun to end for good.
func (m *Machine) expireServing() {
	if m.up != nil {
		m.upgradeExpire()
	}
	m.expireRestart()
	m.expireProbation()
	m.expireReadiness()
	m.expireWatchdog()
	if m.held && !m.busy() && !m.now.Before(m.triggeredAt.Add(debounce)) {
		m.held = false
		m.askForUpgrade()
	}
}

// signalled decides about a signal that the init received.
func (m *Machine) signalled(s signals.Signal) {
	sent := m.rewritten(s)
	switch {
	case m.cfg.Dropped[s] || sent == 0:
		m.log(Debug, fmt.Sprintf("%s dropped", s))
	case m.cfg.Upgrades && s == m.cfg.UpgradeSignal:
		m.trigger()
	case m.cfg.ShutdownSignals[s] && !m.cfg.Passive:
		m.beginShutdown(sent)
	default:
		m.forward(sent)
		if m.cfg.Suspend && (s == sigTSTP || s == sigTTIN || s == sigTTOU) {
			m.do(Suspend{})
		}
	}
}

// rewritten returns what is sent in place of a signal, zero for nothing.
func (m *Machine) rewritten(s signals.Signal) signals.Signal {
	if r, ok := m.cfg.Rewrite[s]; ok {
		return r
	}
	return s
}

// forward passes a signal on to the main process, or to the successor once the predecessor drains.
func (m *Machine) forward(s signals.Signal) {
	target := m.main
	if u := m.up; u != nil && u.draining && !u.gone && u.successor != (procfs.ID{}) {
		target = u.successor
	}
	if target == (procfs.ID{}) {
		m.log(Debug, fmt.Sprintf("%s dropped: no main process", s))
		return
	}
	if m.cfg.ShutdownSignals[s] && m.mayHaveSuccessor(reaper.Status{}) {
		m.passedStop = s
	}
	m.counters.Forwarded++
	m.log(Debug, fmt.Sprintf("%s forwarded", s), Field{"to", target.PID})
	m.do(Kill{Target: target, Signal: s, Group: m.group()})
}

// group reports whether signals go to the main process's whole group. Not while two generations share it.
func (m *Machine) group() bool { return m.cfg.Group && m.up == nil }

func (m *Machine) killFailed(e KillFailed) {
	level := Warn
	if isGone(e.Err) {
		level = Debug // its exit is on the way
	}
	m.log(level, fmt.Sprintf("cannot send %s to pid %d: %v", e.Signal, e.Target.PID, e.Err))
}

// exited handles the end of a child.
func (m *Machine) exited(pid int, status reaper.Status) {
	m.forgetStray(pid)
	defer delete(m.said, pid)
	if m.main.PID == 0 || pid != m.main.PID {
		m.otherExited(pid, status)
		return
	}
	m.log(Debug, "main process "+status.String())
	m.exitText = fmt.Sprintf("main process (generation %d, pid %d) %s", m.generation, pid, m.words(pid, status))
	m.lastMain, m.main, m.guard = m.main, procfs.ID{}, 0
	m.watchdog, m.readyAt = watchdog{}, time.Time{}
	switch u := m.up; {
	case m.state == Killing && !m.retiringLives():
		m.mainGone(status)
	case m.ending() && m.retiringLives():
		m.pending = &status // it is handed out when the predecessor has gone too
	case u != nil && u.stopFirst() && !m.ending():
		m.startInPlace(status)
	case u != nil && u.late && !m.ending():
		m.rollBack(status) // whatever it has left behind was not ready either
	case !m.mayHaveSuccessor(status) && m.probation == nil:
		m.mainGone(status)
	default:
		m.pending = &status
		m.do(m.lookFor(ForExit))
	}
}

// otherExited handles the end of a child that is not the main process: a predecessor, a successor, a helper, or an
// orphan that nobody knows.
func (m *Machine) otherExited(pid int, status reaper.Status) {
	if m.helperExited(pid, status) {
		return
	}
	if m.past != nil && m.past.successor.PID == pid {
		m.past.successor = procfs.ID{}
	}
	u := m.up
	switch {
	case u == nil:
	case u.retiring.PID == pid:
		m.retiringGone()
	case u.successor.PID == pid && !u.gone:
		m.successorDied(m.words(pid, status))
	default:
		u.rest = slices.DeleteFunc(u.rest, func(id procfs.ID) bool { return id.PID == pid })
		if u.gone {
			m.lookSoon()
		}
	}
}

// Awaited lists the children whose end means something. It is false where that may be any child's: in an upgrade, and
// while the life begins or ends.
func (m *Machine) Awaited() (pids []int, ok bool) {
	if m.state != Running || m.up != nil || m.pending != nil || m.awaitsPIDFile() {
		return nil, false
	}
	pids = append(pids, m.main.PID)
	if m.guard != 0 {
		pids = append(pids, m.guard)
	}
	if m.past != nil && m.past.successor.PID != 0 {
		pids = append(pids, m.past.successor.PID)
	}
	for _, h := range m.helpers {
		if h.pid != 0 {
			pids = append(pids, h.pid)
		}
	}
	for _, s := range m.strays {
		pids = append(pids, s.id.PID)
	}
	for pid := range m.said {
		if pid != m.main.PID {
			pids = append(pids, pid)
		}
	}
	return pids, true
}

// childless ends what can only wait for children.
func (m *Machine) childless() {
	switch {
	case m.state == Sweeping:
		m.finish()
	case m.awaitsPIDFile(), m.pending != nil && m.ending():
		m.mainGone(*m.pending)
		m.childless() // there is nothing to sweep
	case m.main != (procfs.ID{}):
		// Somebody else reaped the main process, which cannot happen, or it was adopted in error.
		m.exitText = fmt.Sprintf("main process (generation %d, pid %d) vanished", m.generation, m.main.PID)
		m.mainGone(reaper.Status{Code: 1})
		m.childless()
	}
}

// enter changes the state.
func (m *Machine) enter(to State) {
	if m.state == to {
		return
	}
	if !legal[m.state][to] {
		m.log(Error, fmt.Sprintf("BUG: illegal transition from %s to %s", m.state, to))
	}
	if m.observe != nil {
		m.observe(m.state, to)
	}
	m.state = to
}

func (m *Machine) do(a ...Action) { m.actions = append(m.actions, a...) }

// log writes a line with the generation and the pid of the main process.
func (m *Machine) log(level Level, text string, fields ...Field) {
	if m.main.PID != 0 {
		fields = append([]Field{{"generation", m.generation}, {"pid", m.main.PID}}, fields...)
	}
	m.do(Log{Level: level, Text: text, Fields: fields})
}
