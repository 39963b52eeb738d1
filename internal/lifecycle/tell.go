package lifecycle

import (
	"fmt"
	"time"

	"github.com/graceinit/graceinit/drain"
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/procfs"
)

// tell tells who follows the upgrade how far it is.
func (m *Machine) tell(step control.Step) {
	if u := m.up; !u.reported {
		p := m.progressOf(u)
		p.Step = step
		m.do(Tell{&p})
	}
}

// progressOf describes an upgrade.
func (m *Machine) progressOf(u *attempt) control.Progress {
	p := control.Progress{
		Upgrade: u.serial, Step: m.stepOf(u), FromGeneration: u.generation, FromPID: u.record.Main.PID,
		Elapsed: seconds(m.now.Sub(u.began)), Waiting: m.waiting(u), Rollback: u.goingBack,
	}
	if u.successor != (procfs.ID{}) {
		p.ToGeneration, p.ToPID = u.generation+1, u.successor.PID
	}
	if !u.readyAt.IsZero() {
		p.Ready = seconds(u.readyAt.Sub(u.began))
	} else if !u.stopFirst() {
		p.Left = seconds(u.readyBy.Sub(m.now))
	}
	if began := u.drain.Began(); !began.IsZero() {
		p.Drain = seconds(m.now.Sub(began))
		if u.connections != unknown {
			n := u.connections
			p.Connections = &n
		}
		if at, running := u.drain.Deadline(); running {
			p.Left = seconds(at.Sub(m.now))
		}
	}
	return p
}

// heldProgress describes an upgrade that waits to begin.
func (m *Machine) heldProgress(serial int) control.Progress {
	p := control.Progress{Upgrade: serial, Step: control.StepHeld}
	if m.up != nil || m.state != Running {
		p.Waiting = "the upgrade in progress to end"
	}
	return p
}

func (m *Machine) stepOf(u *attempt) control.Step {
	switch {
	case u.gone || u.draining:
		return control.StepDraining
	case !u.readyAt.IsZero():
		return control.StepReady
	case u.successor != (procfs.ID{}):
		return control.StepStarted
	}
	return control.StepTriggered
}

func seconds(d time.Duration) float64 { return max(d, 0).Round(time.Millisecond).Seconds() }

// exitCodes are those of the command that waits for the upgrade.
var exitCodes = map[control.Step]int{
	control.StepForced: control.CodeForced, control.StepFailed: control.CodeFailed, control.StepRolledBack: control.CodeFailed,
	control.StepRefused: control.CodeRefused, control.StepShutdown: control.CodeFailed,
}

// report writes the one line with which every upgrade ends, and tells who follows it, unless its successor's probation
// is still to come.
func (m *Machine) report(level Level, step control.Step, reason string) {
	u := m.up
	if u.reported {
		return
	}
	u.reported = true
	p := m.progressOf(u)
	p.Step, p.Reason, p.Waiting, p.Left, p.Final, p.ExitCode = step, reason, "", 0, true, exitCodes[step]

	fields := []Field{{"from_generation", p.FromGeneration}, {"from_pid", p.FromPID}}
	if p.ToPID != 0 {
		fields = append(fields, Field{"to_generation", p.ToGeneration}, Field{"to_pid", p.ToPID})
	}
	if !u.readyAt.IsZero() {
		fields = append(fields, Field{"ready", u.readyAt.Sub(u.began).Round(time.Millisecond)})
	}
	if began := u.drain.Began(); !began.IsZero() {
		fields = append(fields, Field{"drain", m.now.Sub(began).Round(time.Millisecond)}, m.connectionsLeft())
		if u.connections != unknown {
			fields = append(fields, Field{"connections_seen", fmt.Sprintf("%s before the end", m.now.Sub(u.connectionsAt).Round(time.Millisecond))})
		}
	}
	if reason != "" {
		fields = append(fields, Field{"reason", reason})
	}
	m.do(Log{Level: level, Text: "upgrade " + string(step), Fields: fields})

	if m.probation != nil && u.spawned && u.gone && (step == control.StepDone || step == control.StepForced) {
		m.probation.outcome = p
		p.Step, p.Final, p.Waiting = control.StepProbation, false, "the probation to pass"
		p.Left = seconds(m.probation.until.Sub(m.now))
		m.do(Tell{&p})
		return
	}
	m.finishProgress(p)
}

// finishProgress tells how an upgrade has ended.
func (m *Machine) finishProgress(p control.Progress) {
	p.Final = true
	m.counters.Upgrades[p.Step]++
	m.last = &p
	m.do(Tell{&p})
}

// refuse ends an upgrade that has not begun.
func (m *Machine) refuse(reason string) {
	m.do(Log{Level: Warn, Text: "upgrade refused", Fields: []Field{
		{"from_generation", m.generation}, {"from_pid", m.main.PID}, {"reason", reason}}})
	p := control.Progress{Upgrade: m.takeSerial(), Step: control.StepRefused, FromGeneration: m.generation,
		FromPID: m.main.PID, Reason: reason, ExitCode: control.CodeRefused}
	m.dropWanted()
	m.finishProgress(p)
}

// refuseUpgrade ends a spawned upgrade in which nothing has been started.
func (m *Machine) refuseUpgrade(reason string) {
	m.abandon()
	m.report(Warn, control.StepRefused, reason)
	m.up = nil
	m.enter(Running)
}

// nextSerial is the number of the upgrade that a trigger leads to.
func (m *Machine) nextSerial() int {
	if u := m.up; u != nil && !m.busy() {
		return u.serial // the signal is repeated
	}
	if m.pendingNo == 0 {
		m.serial++
		m.pendingNo = m.serial
	}
	return m.pendingNo
}

// takeSerial is the number of the upgrade that begins, or is refused, now.
func (m *Machine) takeSerial() int {
	n := m.nextSerial()
	m.pendingNo = 0
	return n
}

// dropWanted forgets which executable a trigger asked for, and a trigger that waits.
func (m *Machine) dropWanted() {
	if m.wanted != nil {
		m.do(Release{m.wanted})
	}
	m.wanted, m.goingBack = nil, false
}

// Status describes the life to whoever asks.
func (m *Machine) Status(now time.Time) control.Status {
	s := control.Status{
		Mode: "forward", State: m.state.String(), Generation: m.generation, Ready: !m.readyAt.IsZero(),
		CanRollBack: m.previous != nil, LastUpgrade: m.last, Counters: m.counters, PID: m.cfg.Self,
	}
	switch {
	case !m.cfg.Upgrades:
		s.Mode = "off"
	case m.cfg.Spawn:
		s.Mode = "spawn"
	}
	if m.main != (procfs.ID{}) {
		s.Main = m.describe(m.main, m.generation, m.since)
		if m.image != nil {
			s.Main.Executable = m.image.Path
		}
	}
	if m.probation != nil && m.probationMayEnd() {
		s.Probation = seconds(m.probation.until.Sub(now))
	}
	if m.up == nil && m.pendingNo != 0 {
		p := m.heldProgress(m.pendingNo)
		s.Upgrade = &p
	}
	if u := m.up; u != nil {
		m.now = now
		if !u.reported {
			p := m.progressOf(u)
			s.Upgrade = &p
		}
		if u.successor != (procfs.ID{}) && !u.gone {
			s.Successor = m.describe(u.successor, u.generation+1, u.seen)
		}
		if u.retiring != (procfs.ID{}) {
			s.Predecessor = m.describe(u.retiring, u.generation, time.Time{})
		}
	}
	upgrades := make(map[control.Step]int, len(m.counters.Upgrades))
	for step, n := range m.counters.Upgrades {
		upgrades[step] = n // the caller's own: it is read while the machine goes on
	}
	s.Counters.Upgrades = upgrades
	return s
}

func (m *Machine) describe(id procfs.ID, generation int, since time.Time) *control.Process {
	return &control.Process{PID: id.PID, Generation: generation, Since: since, Said: m.said[id.PID].status}
}

func (m *Machine) countDrain(step drain.Step, processes int) {
	switch step {
	case drain.Kill:
		m.counters.Kills += uint64(processes)
		if m.up != nil && m.up.connections > 0 {
			m.counters.ConnectionsAtKill += uint64(m.up.connections)
		}
	case drain.GiveUp:
		m.counters.KillTimeouts++
	}
}
