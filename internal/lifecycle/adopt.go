package lifecycle

import (
	"fmt"
	"time"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/reaper"
)

// mayHaveSuccessor reports whether it is worth looking for a successor of the main process that just exited.
func (m *Machine) mayHaveSuccessor(status reaper.Status) bool {
	return m.up != nil || m.past != nil || m.mainPIDHint != 0 ||
		m.cfg.HasPIDFile && status == (reaper.Status{})
}

// succeed decides, after the main process was reaped, who is the main process now: a live successor, the
// daemon that the first process left behind, or nobody.
func (m *Machine) succeed(l Looked) {
	if m.pending == nil {
		return
	}
	heir := m.successorIn(l)
	switch {
	case heir != (procfs.ID{}) && m.up != nil && (!m.up.spawned || heir == m.up.successor):
		table := l.Table
		if l.Err != nil {
			table = nil
		}
		m.takeOver(heir, table)
	case heir != (procfs.ID{}):
		m.becomeMain(heir)
	case m.mayDaemonise():
		if m.state != Starting {
			m.enter(Starting)
			m.pidFileBy = m.now.Add(m.cfg.ReadyTimeout)
			m.nextPIDFileLook = m.now.Add(pidFileLook)
			m.log(Debug, "the first process exited; waiting for the pid file")
		}
	case m.probation != nil && !m.ending():
		m.rollBack(*m.pending)
	default:
		m.mainGone(*m.pending)
	}
}

// successorIn finds who is to follow the main process.
func (m *Machine) successorIn(l Looked) procfs.ID {
	for _, u := range []*attempt{m.up, m.past} {
		// Where nothing can be seen, a successor that was seen before is taken at its word; if it is dead
		// too, its exit or the lack of children will tell.
		if u != nil && u.successor != (procfs.ID{}) && u.successor != m.lastMain && (l.Table.Alive(u.successor) || l.Err != nil) {
			return u.successor
		}
	}
	if named := m.namedSuccessor(l); named != (procfs.ID{}) {
		return named
	}
	for _, u := range []*attempt{m.up, m.past} {
		if u == nil || u.spawned {
			continue
		}
		// An upgrade that ended early may have been judged wrongly: the app may have taken longer, or its
		// successor could not be seen as long as the predecessor drained.
		find := u.record.Heir
		if u == m.up || m.now.Before(u.readyBy.Add(m.cfg.DrainTimeout)) {
			find = func(s *procfs.Snapshot, self int) procfs.ID { return u.record.Successor(s, self, true) }
		}
		if found := find(l.Table, m.cfg.Self); found != (procfs.ID{}) {
			return found
		}
	}
	return procfs.ID{}
}

// takeOver makes the successor the main process in an upgrade and discards the predecessor's status. The
// table is nil where it could not be read.
func (m *Machine) takeOver(heir procfs.ID, table *procfs.Snapshot) {
	u := m.up
	u.successor, u.gone = heir, true
	if u.readyAt.IsZero() {
		u.readyAt = m.now // the predecessor has made place
	}
	m.pending = nil
	if u.spawned {
		m.takePlace()
	} else {
		m.main, m.since, m.readyAt = heir, m.now, m.now
		m.generation++
		m.saysReady = u.saidReady
		m.armWatchdog()
	}
	m.log(Debug, "successor adopted")
	m.passStopOn()
	if m.ending() {
		m.up = nil
		if m.state == Stopping {
			m.stop(heir)
		}
		return
	}
	if !u.draining {
		m.beginDrain()
	}
	if table == nil {
		return // nothing can be seen; looks will tell what is left
	}
	if u.rest = u.record.Remaining(table, heir); len(u.rest) == 0 {
		m.endUpgrade()
	}
}

// becomeMain makes a process the main process outside an upgrade: the daemon that the first process left,
// or a successor that had stayed beside its predecessor.
func (m *Machine) becomeMain(id procfs.ID) {
	if m.state == Starting || m.mayDaemonise() {
		m.daemonised = true
	} else if !m.cfg.Spawn { // there it is a process of the same generation, named by MAINPID=
		m.generation++
	}
	m.pending, m.main, m.past, m.mainPIDHint = nil, id, nil, 0
	if m.up != nil && m.up.gone {
		m.up.successor = id
	}
	m.since, m.readyAt = m.now, m.now
	if m.state == Starting {
		m.enter(Running)
	}
	m.log(Info, "main process adopted")
	m.passStopOn()
	if m.state == Stopping {
		m.stop(id)
	}
}

// passStopOn hands a shutdown signal on that the predecessor got shortly before it made place, where the init
// itself does not see to the shutdown.
func (m *Machine) passStopOn() {
	if m.passedStop != 0 && m.cfg.Passive {
		m.do(Kill{Target: m.main, Signal: m.passedStop})
	}
}

// mayDaemonise reports whether the exit of the main process can be that of an app that daemonises.
func (m *Machine) mayDaemonise() bool {
	isLauncher := m.state == Starting || m.now.Sub(m.since) < m.cfg.ReadyTimeout // no server: it ended soon
	return m.cfg.HasPIDFile && !m.daemonised && m.generation == 1 && !m.ending() && isLauncher &&
		m.up == nil && m.pending != nil && *m.pending == (reaper.Status{})
}

// awaitsPIDFile reports whether the first process has exited and the daemon is not known yet.
func (m *Machine) awaitsPIDFile() bool { return m.state == Starting && m.pending != nil }

// pidFileLook is the time between two readings of the pid file of an app that daemonises.
const pidFileLook = 20 * time.Millisecond

func (m *Machine) lookForDaemon() {
	if !m.now.Before(m.pidFileBy) {
		m.exitText = fmt.Sprintf("the app daemonised, but its pid file named no process of ours within %s", m.cfg.ReadyTimeout)
		m.mainGone(reaper.Status{Code: 1})
		return
	}
	m.nextPIDFileLook = m.now.Add(pidFileLook)
	m.do(m.lookFor(ForExit))
}

// countConnections counts what the predecessor's generation has still open.
func (m *Machine) countConnections(s *procfs.Snapshot) {
	u := m.up
	if s.Established == nil || u.forced || !u.draining && !u.gone { // what SIGKILL cut is not to read as none
		return
	}
	total := 0
	for _, id := range m.predecessorIDs() {
		p := s.Get(id.PID)
		if p == nil || p.ID != id {
			continue
		}
		n, known := s.Connections(p)
		if !known {
			total = unknown
			break
		}
		total += n
	}
	u.connections, u.connectionsAt = total, m.now
}

// predecessorIDs lists the predecessor and what else is left of its generation.
func (m *Machine) predecessorIDs() []procfs.ID {
	first := m.up.retiring
	if !m.up.gone {
		first = m.main
	}
	return append([]procfs.ID{first}, m.up.rest...)
}

func (m *Machine) connectionsLeft() Field {
	if m.up.connections == unknown {
		return Field{"connections_left", "unknown"}
	}
	return Field{"connections_left", m.up.connections}
}

// endUpgrade ends an upgrade whose predecessor has gone with its whole generation.
func (m *Machine) endUpgrade() {
	if m.up.forced {
		m.report(Warn, control.StepForced, "the drain timeout ended the predecessor")
	} else {
		m.report(Info, control.StepDone, "")
	}
	m.up = nil
	m.past, m.mainPIDHint = nil, 0
	m.enter(Running)
}

func (m *Machine) endInPlace(reason string) {
	level := Info
	if reason != "" {
		level = Warn
	}
	m.report(level, control.StepInPlace, reason)
	m.since = m.now
	m.giveUp()
}

func (m *Machine) failUpgrade(reason string) {
	m.report(Warn, control.StepFailed, reason)
	m.giveUp()
}

// giveUp ends an upgrade with the main process in place. A successor that lives beside it is remembered, be it
// that of an earlier attempt.
func (m *Machine) giveUp() {
	if m.up.spawned {
		m.abandon()
		m.up = nil
		m.enter(Running)
		return
	}
	if m.past == nil || m.past.successor == (procfs.ID{}) || m.up.successor != (procfs.ID{}) {
		m.past = m.up
	}
	m.up = nil
	m.enter(Running)
}
