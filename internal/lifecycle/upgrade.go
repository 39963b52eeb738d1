package lifecycle

import (
	"fmt"
	"time"

	"github.com/graceinit/graceinit/drain"
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/upgrade"
)

// attempt is one upgrade, from its trigger to the end of the predecessor's generation.
type attempt struct {
	record     *upgrade.Record
	serial     int
	generation int       // the predecessor's
	began      time.Time // when the upgrade signal was first forwarded
	readyBy    time.Time

	successor procfs.ID
	seen      time.Time // when the successor was first seen
	readyAt   time.Time
	saidReady bool         // by READY=1
	renewed   bool         // the main process itself has said READY=1 since the trigger
	heard     map[int]bool // pids below the main process that said READY=1 before a successor was known

	draining bool // the predecessor makes place: it dropped its listeners, or was told to stop
	told     bool // it was sent the predecessor signal
	gone     bool // it has exited, and the successor is the main process
	drain    drain.Drain
	rest     []procfs.ID // what is left of its generation
	forced   bool        // SIGKILL was needed

	// The rest only where the init starts the successor.
	spawned     bool
	goingBack   bool           // a rollback on request: to the executable that ran before
	image       *upgrade.Image // the successor's executable, nil as long as it is not known
	guard       int            // the shim that stays as the successor's parent, or zero
	retiring    procfs.ID      // the predecessor, once the successor is the main process, as long as it lives
	mustSay     bool           // the predecessor has said READY=1, so the successor has to
	probed      bool           // the probe has succeeded
	mainAccepts bool           // the predecessor was seen to accept connections
	idle        bool           // the successor was seen not to
	late        bool           // with --stop-first: it was killed because it was not ready in time
	retryAt     time.Time      // when it is tried again to start the successor
	delayed     error          // why it has to be

	connections   int // of the predecessor's generation at the last look
	connectionsAt time.Time

	nextLook time.Time
	reported bool // a shutdown ends an upgrade, but its successor must still be known
}

// stopFirst reports whether the predecessor has been told to make place for a successor that is not started yet.
func (u *attempt) stopFirst() bool { return u.spawned && u.told && !u.gone }

// awaitsReadiness reports whether the ready timeout runs.
func (u *attempt) awaitsReadiness() bool {
	if u.spawned {
		return u.readyAt.IsZero() && !u.stopFirst() && !u.late // that is: Preparing or Settling
	}
	return !u.draining && !u.gone
}

// unknown stands for a number of connections that could not be seen; it must not read as none.
const unknown = -1

// firstLook is how soon after a trigger, or after something has happened, the process table is read.
const firstLook = 20 * time.Millisecond

func (m *Machine) lookSoon() {
	if soon := m.now.Add(firstLook); m.up.nextLook.IsZero() || soon.Before(m.up.nextLook) || !m.up.nextLook.After(m.now) {
		m.up.nextLook = soon
	}
}

// lookFor returns the action that reads the process table, with the details of the given pids.
func (m *Machine) lookFor(p Purpose, pids ...int) Look {
	look := Look{For: p, Detail: pids}
	if p == ForTrigger {
		if m.cfg.Spawn {
			look.Detail = nil
		}
		if m.cfg.HoldsListeners && !m.saysReady && !m.cfg.HasProbe { // or it is of no consequence
			look.Accepts = pids
		}
		return look
	}
	if u := m.up; u != nil {
		if u.draining || u.gone {
			for _, id := range m.predecessorIDs() {
				look.Count = append(look.Count, id.PID)
			}
		}
		if u.spawned { // there is no successor to be found out
			look.Detail = nil
			if m.cfg.HoldsListeners && m.judgesSuccessor() {
				look.Accepts = []int{u.successor.PID}
			}
			return look
		}
		look.Known = u.record.Knows
		for _, id := range append(m.alive(), u.rest...) {
			look.Detail = append(look.Detail, id.PID)
		}
	} else if m.past != nil {
		look.Known = m.past.record.Knows
	}
	return look
}

// looked handles a reading of the process table.
func (m *Machine) looked(l Looked) {
	if l.Table == nil {
		l.Table = &procfs.Snapshot{}
	}
	switch l.For {
	case ForTrigger:
		m.beginUpgrade(l)
	case ForProgress:
		if m.up != nil && !m.ending() && m.pending == nil {
			m.progress(l)
		}
	case ForExit:
		m.succeed(l)
	case ForKill:
		m.killPredecessor(l)
	}
}

// progress compares the process table with the record and moves the upgrade on.
func (m *Machine) progress(l Looked) {
	u := m.up
	// Rarely when little changes: at every tenth of the time that has passed.
	since := u.began
	if u.draining || u.gone {
		since = u.drain.Began()
	}
	u.nextLook = m.now.Add(min(max(m.now.Sub(since)/10, firstLook), time.Second))
	if settled := u.seen.Add(m.cfg.Settle); m.judgesSuccessor() && m.now.Before(settled) && settled.Before(u.nextLook) {
		u.nextLook = settled
	}
	if l.Err != nil {
		m.log(Debug, l.Err.Error())
	} else {
		u.rest = u.record.Remaining(l.Table, u.successor)
		m.countConnections(l.Table)
	}
	if u.spawned {
		m.progressSpawned(l)
		return
	}
	if l.Err != nil {
		return
	}
	if u.draining || u.gone {
		m.tell(control.StepDraining)
	}
	if u.gone {
		if len(u.rest) == 0 {
			m.endUpgrade()
		}
		return
	}
	m.watchSuccessor(l)
	if m.up == nil {
		return
	}
	m.watchDrain(l.Table)
	m.judgeReady(l.Table)
	if m.up != nil {
		m.judgeInPlace(l.Table)
	}
}

// progressSpawned moves an upgrade on in which the init starts the successor.
func (m *Machine) progressSpawned(l Looked) {
	u := m.up
	switch {
	case m.judgesSuccessor():
		m.judgeSpawned(l.Accepts[u.successor.PID])
	case u.gone && u.retiring == (procfs.ID{}) && len(u.rest) == 0 && m.state != Restarting:
		m.endUpgrade()
	case u.gone || u.draining:
		m.tell(control.StepDraining)
	}
}

// watchSuccessor notices the successor's arrival and its death.
func (m *Machine) watchSuccessor(l Looked) {
	u := m.up
	if u.successor != (procfs.ID{}) && !l.Table.Alive(u.successor) {
		m.successorDied("died")
	}
	if m.up == nil || u.successor != (procfs.ID{}) {
		return
	}
	found := m.namedSuccessor(l)
	if found == (procfs.ID{}) {
		found = u.record.Successor(l.Table, m.cfg.Self, false)
	}
	if found == (procfs.ID{}) {
		return
	}
	u.successor, u.seen = found, m.now
	u.saidReady = u.heard[found.PID]
	m.log(Debug, "successor seen", Field{"successor", found.PID})
	if !u.draining {
		u.readyBy = later(u.readyBy, m.now.Add(m.cfg.ReadyTimeout)) // it may have taken its time to appear
		m.enter(Settling)
	}
	m.tell(control.StepStarted)
	m.awaitReadiness()
}

// successorDied forgets a successor that has ended, so that it is never signalled again.
func (m *Machine) successorDied(how string) {
	u := m.up
	dead := u.successor.PID
	if u.spawned {
		m.killGroup(dead) // what it leaves behind would go on accepting connections
	}
	u.successor, u.seen, u.readyAt, u.saidReady = procfs.ID{}, time.Time{}, time.Time{}, false
	switch {
	case m.ending():
	case u.draining:
		m.log(Error, "the successor died while the predecessor drains", Field{"successor", dead})
	default:
		m.failUpgrade(fmt.Sprintf("the successor (pid %d) %s; the predecessor serves on", dead, how))
	}
}

// namedSuccessor returns the process that MAINPID= or the pid file names, if it is a live one other than
// the main process that has come since the trigger.
func (m *Machine) namedSuccessor(l Looked) procfs.ID {
	for _, pid := range []int{m.mainPIDHint, l.PIDFile} {
		p := l.Table.Get(pid)
		if p == nil || p.Dead() || pid == m.cfg.Self || p.ID == m.main || !l.Table.Descends(pid, m.cfg.Self) {
			continue
		}
		if m.up == nil || !m.up.record.Knows(p) {
			return p.ID
		}
	}
	return procfs.ID{}
}

// watchDrain notices that the predecessor has dropped its listeners, by which the app itself says that the
// successor serves, and that it holds some again, by which it says that it only changed them.
func (m *Machine) watchDrain(s *procfs.Snapshot) {
	u := m.up
	main := s.Get(m.main.PID)
	if main == nil || !u.record.Listened {
		return
	}
	n, known := s.Listeners(main)
	switch {
	case !known:
	case n == 0 && !u.draining:
		m.beginDrain()
		if u.readyAt.IsZero() && u.successor != (procfs.ID{}) {
			u.readyAt = m.now
		}
	case n > 0 && u.draining && !u.told:
		u.draining, u.drain = false, drain.Drain{}
		m.armWatchdog()
		if u.successor == (procfs.ID{}) {
			m.enter(Awaiting)
		} else {
			m.enter(Retiring)
		}
	}
}

// beginDrain starts the predecessor's drain deadline.
func (m *Machine) beginDrain() {
	u := m.up
	u.draining = true
	u.drain.Begin(m.now, drain.Limits{Timeout: m.cfg.DrainTimeout, KillTimeout: m.cfg.KillTimeout})
	m.lookSoon()
	if m.ending() {
		return
	}
	m.enter(Draining)
	m.tell(control.StepDraining)
	if u.gone && !u.spawned {
		return
	}
	m.log(Debug, "predecessor drains", Field{"drain_timeout", m.cfg.DrainTimeout})
}

// judgeReady decides whether the successor is ready, and if so tells the predecessor what it waits for.
func (m *Machine) judgeReady(s *procfs.Snapshot) {
	u := m.up
	if u.successor == (procfs.ID{}) {
		return
	}
	if u.readyAt.IsZero() {
		settled := !m.saysReady && !m.cfg.HasProbe && m.now.Sub(u.seen) >= m.cfg.Settle
		if !u.saidReady && !u.probed && !settled && !u.draining {
			return
		}
		u.readyAt = m.now
		m.tell(control.StepReady)
	}
	if u.draining {
		return
	}
	m.enter(Retiring)
	if m.cfg.PredecessorSignal == 0 || u.told {
		return
	}
	if main := s.Get(m.main.PID); main != nil {
		if n, known := s.Listeners(main); known && n == 0 && u.record.Listened {
			return
		}
		m.tellPredecessor(m.main)
		m.beginDrain()
	}
}

// judgeInPlace ends an upgrade of an app whose main process stays: one that executes itself anew, or
// replaces what it supervises.
func (m *Machine) judgeInPlace(s *procfs.Snapshot) {
	u := m.up
	if u.draining || !u.renewed && m.now.Sub(m.triggeredAt) < m.cfg.Settle || u.successor != (procfs.ID{}) && u.readyAt.IsZero() {
		return
	}
	if u.record.Changed(s) {
		m.endInPlace("")
	}
}

// upgradeExpire acts on the deadlines of the upgrade in progress.
func (m *Machine) upgradeExpire() {
	u := m.up
	switch u.drain.Expire(m.now) { // one phase at a time: the answer to the look comes before giving up
	case drain.Kill:
		m.do(m.lookFor(ForKill, m.main.PID))
	case drain.GiveUp:
		u.forced = true
		m.countDrain(drain.GiveUp, 1)
		m.log(Warn, "the predecessor's generation has not ended within the kill timeout")
		if u.retiring != (procfs.ID{}) {
			m.retiringGone()
		}
		if !u.spawned && !u.gone && u.successor != (procfs.ID{}) && !m.ending() {
			m.takeOver(u.successor, nil)
		}
		if u.gone && !m.ending() && !u.readyAt.IsZero() && m.state != Restarting {
			m.endUpgrade()
			return
		}
	}
	if m.ending() || m.pending != nil || m.up == nil {
		return
	}
	if u.spawned {
		m.spawnedExpire()
		return
	}
	if !u.draining && !u.gone && !m.now.Before(u.readyBy) {
		switch {
		case u.successor == (procfs.ID{}) && !u.record.ListenersKnown:
			m.failUpgrade(fmt.Sprintf("no successor can be seen before the main process has gone, which it has not within %s", m.cfg.ReadyTimeout))
		case u.successor == (procfs.ID{}):
			m.failUpgrade(fmt.Sprintf("no successor appeared within %s (does the app upgrade itself on %s?)", m.cfg.ReadyTimeout, m.cfg.UpgradeSignal))
		case u.readyAt.IsZero():
			m.failUpgrade(fmt.Sprintf("the successor (pid %d) was not ready within %s; both run on", u.successor.PID, m.cfg.ReadyTimeout))
		default:
			m.endInPlace("the predecessor serves on beside the successor (does it wait for --predecessor-signal?)")
		}
		return
	}
	if !m.now.Before(u.nextLook) {
		u.nextLook = m.now.Add(time.Second) // until the answer says better
		m.do(m.lookFor(ForProgress))
	}
}

// spawnedExpire acts on the deadlines of an upgrade in which the init starts the successor.
func (m *Machine) spawnedExpire() {
	u := m.up
	switch {
	case u.awaitsReadiness() && m.state != Restarting && !m.now.Before(u.readyBy):
		reason := fmt.Sprintf("not ready within %s, waiting for %s", m.cfg.ReadyTimeout, m.waiting(u))
		switch {
		case m.state == Preparing:
			m.refuseUpgrade(reason)
		case !u.gone:
			m.failUpgrade(fmt.Sprintf("the successor (pid %d) was %s; it is stopped and the predecessor serves on", u.successor.PID, reason))
		default: // its death will roll back
			u.late = true
			m.log(Error, "the successor was "+reason)
			m.do(Kill{Target: m.main, Signal: sigKILL})
		}
	case m.state == Preparing && !u.retryAt.IsZero() && !m.now.Before(u.retryAt):
		u.retryAt = time.Time{}
		m.launch()
	}
	if m.up != nil && m.state != Preparing && !m.now.Before(u.nextLook) {
		u.nextLook = m.now.Add(time.Second) // until the answer says better
		m.do(m.lookFor(ForProgress))
	}
}

// killPredecessor ends, at the drain deadline, the predecessor and all that is left of its generation: of
// nginx killed alone, the workers would go on serving.
func (m *Machine) killPredecessor(l Looked) {
	u := m.up
	if u == nil {
		return
	}
	if !u.gone && !u.told && u.successor == (procfs.ID{}) && !m.ending() {
		m.failUpgrade("the main process has dropped its listeners, and no successor was seen; it is left alone")
		return
	}
	if main := l.Table.Get(m.main.PID); l.Err == nil && main != nil && u.record.Listened && u.draining && !u.gone && !u.told && !m.ending() {
		if n, known := l.Table.Listeners(main); known && n > 0 { // it listens again, which no look has seen yet
			m.watchDrain(l.Table)
			return
		}
	}
	if l.Err == nil {
		m.countConnections(l.Table)
		u.rest = u.record.Remaining(l.Table, u.successor)
	}
	targets := u.rest
	if !u.gone && m.main == u.record.Main {
		targets = append([]procfs.ID{m.main}, u.rest...)
	} else if u.retiring != (procfs.ID{}) {
		targets = append([]procfs.ID{u.retiring}, u.rest...)
	}
	if len(targets) == 0 {
		return
	}
	u.forced = true
	m.countDrain(drain.Kill, len(targets))
	m.log(Warn, "drain timeout: sending SIGKILL to the predecessor's generation", Field{"processes", len(targets)}, m.connectionsLeft())
	for _, id := range targets {
		m.do(Kill{Target: id, Signal: sigKILL})
	}
	m.lookSoon()
}
