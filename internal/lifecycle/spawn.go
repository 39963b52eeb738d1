package lifecycle

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/drain"
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// In mode spawn the init upgrades the app: it finds the executable, has it checked, starts the successor with the
// listeners, believes it when it is ready, and only then tells the predecessor to stop. From that moment on the
// successor is the main process.

// beginSpawn begins an upgrade. Where the process table cannot be read it knows less of what the predecessor leaves
// behind, and works all the same.
func (m *Machine) beginSpawn(l Looked) {
	u := m.newAttempt(l)
	u.spawned, u.image, u.goingBack = true, m.wanted, m.goingBack
	u.mainAccepts = l.Accepts[m.main.PID] == procfs.AcceptingYes
	m.wanted, m.goingBack = nil, false
	m.enter(Preparing)
	if u.goingBack {
		m.log(Info, "upgrade triggered", Field{"rollback", true})
	} else {
		m.log(Info, "upgrade triggered")
	}
	m.tell(control.StepTriggered)
	switch {
	case u.goingBack && m.previous == nil:
		m.refuseUpgrade("there is no executable to go back to any more")
	case u.goingBack:
		u.image = m.previous
		m.launch()
	case u.image != nil:
		m.checkImage()
	default:
		m.do(Find{})
	}
}

// found is what the command names now.
func (m *Machine) found(image *upgrade.Image) {
	if m.state == Starting {
		m.image = image
		m.do(Start{Image: image, Generation: 1})
		return
	}
	if m.state != Preparing || m.up == nil || m.up.image != nil {
		m.do(Release{image})
		return
	}
	m.up.image = image
	m.checkImage()
}

func (m *Machine) notFound(err error) {
	switch {
	case m.state == Starting:
		m.startFailed(StartFailed{Code: upgrade.CodeOf(err), Err: err})
	case m.state == Preparing && m.up != nil:
		m.refuseUpgrade(err.Error())
	}
}

func (m *Machine) checkImage() {
	if m.cfg.HasCheck {
		m.run(CheckHelper, m.up.image)
		return
	}
	m.launch()
}

// launch starts the successor, or makes place for it first.
func (m *Machine) launch() {
	u := m.up
	if m.cfg.StopFirst {
		m.tellPredecessor(m.main)
		m.beginDrain()
		return
	}
	m.do(Start{Image: u.image, Generation: m.generation + 1, Epoch: m.epoch + 1})
}

// tellPredecessor sends the signal that ends a predecessor's service, once.
func (m *Machine) tellPredecessor(id procfs.ID) {
	m.up.told = true
	if sig := m.predecessorSignal(); sig != 0 {
		m.log(Debug, "predecessor told to stop", Field{"signal", sig})
		m.counters.Stops++
		m.do(Kill{Target: id, Signal: sig})
	}
}

// predecessorSignal is what the init tells a predecessor to stop by, zero where it stops by itself (Envoy).
func (m *Machine) predecessorSignal() signals.Signal {
	if m.cfg.PredecessorSignal != 0 || m.cfg.KeepsPredecessor {
		return m.cfg.PredecessorSignal
	}
	return m.spawnedStopSignal()
}

// spawnedStopSignal is what a generation is told to stop by where the init decides that by itself.
func (m *Machine) spawnedStopSignal() signals.Signal {
	if m.cfg.StopSignal != 0 {
		return m.cfg.StopSignal
	}
	return sigTERM
}

// started is the answer to Start: a generation runs.
func (m *Machine) started(e Started) {
	switch m.state {
	case Starting:
		m.rollback = rollback{}
		m.main, m.leader, m.guard, m.since = e.Main, e.Main.PID, e.Guard, m.now
		m.enter(Running)
		m.log(Debug, "started")
		m.awaitReadiness()
	case Preparing:
		u := m.up
		u.successor, u.guard, u.seen = e.Main, e.Guard, m.now
		m.enter(Settling)
		m.log(Debug, "successor started", Field{"successor", e.Main.PID})
		m.tell(control.StepStarted)
		m.awaitReadiness()
		m.lookSoon()
	case Restarting:
		m.restarted(e)
	}
}

func (m *Machine) startFailed(e StartFailed) {
	switch m.state {
	case Starting:
		if r := &m.rollback; errors.Is(e.Err, syscall.ETXTBSY) && (r.until.IsZero() || m.now.Before(r.until)) {
			if r.until.IsZero() {
				r.until = m.now.Add(m.cfg.ReadyTimeout)
				m.log(Warn, e.Err.Error()+"; trying again")
			}
			r.retryAt = m.now.Add(startRetry)
			return
		}
		m.log(Error, e.Err.Error())
		m.endRequests()
		m.enter(Exited)
		m.do(Exit{Code: e.Code, Cause: e.Err.Error()})
	case Preparing:
		if errors.Is(e.Err, syscall.ETXTBSY) { // somebody is still writing it
			m.up.retryAt, m.up.delayed = m.now.Add(startRetry), e.Err
			return
		}
		m.failUpgrade(e.Err.Error())
	case Restarting:
		m.restartFailed(e.Err)
	}
}

// startRetry is the time between two attempts to start a generation that cannot be started yet.
const startRetry = 100 * time.Millisecond

// retire makes the successor, which is ready, the main process, and lets the predecessor drain.
func (m *Machine) retire() {
	u := m.up
	predecessor := m.main
	m.log(Debug, "successor ready", Field{"successor", u.successor.PID})
	m.takePlace()
	u.retiring, u.gone = predecessor, true
	m.tellPredecessor(predecessor)
	m.beginDrain()
}

// takePlace makes the successor of a spawned upgrade the main process, and its executable the current one.
func (m *Machine) takePlace() {
	u := m.up
	m.do(PassTerminal{From: m.main.PID, To: u.successor.PID})
	m.setPrevious(m.image)
	m.image, m.main, m.guard, m.since = u.image, u.successor, u.guard, u.seen
	m.generation++
	m.epoch++
	m.saysReady, m.readyAt, m.watchdog, m.mainPIDHint = u.saidReady, m.now, watchdog{}, 0
	m.armWatchdog()
	m.beginProbation()
}

// setPrevious remembers what a rollback would start.
func (m *Machine) setPrevious(image *upgrade.Image) {
	if m.previous != nil && m.previous != image && m.previous != m.up.image {
		m.do(Release{m.previous})
	}
	m.previous = image
}

func (m *Machine) retiringLives() bool { return m.up != nil && m.up.retiring != (procfs.ID{}) }

// retiringGone handles the exit of a predecessor that was no longer the main process.
func (m *Machine) retiringGone() {
	m.up.retiring = procfs.ID{}
	switch {
	case m.ending() && m.pending != nil:
		m.mainGone(*m.pending)
	case m.ending():
		m.up = nil
	default:
		m.lookSoon()
	}
}

// abandon ends what a failed spawned upgrade has begun: the successor is told to stop and killed if it does not,
// and its executable is let go.
func (m *Machine) abandon() {
	u := m.up
	m.stopHelper(CheckHelper)
	if u.successor != (procfs.ID{}) {
		m.addStray(u.successor)
	}
	m.letGo(u.image)
}

// letGo closes the executable of a successor that failed, unless it is one that still counts.
func (m *Machine) letGo(image *upgrade.Image) {
	if image != nil && image != m.previous && image != m.image {
		m.do(Release{image})
	}
}

// stray is a process that is to end soon, and be killed if it does not.
type stray struct {
	id    procfs.ID
	drain drain.Drain
}

// watchStray sees to it that a process that was told to end does.
func (m *Machine) watchStray(id procfs.ID) {
	s := stray{id: id}
	s.drain.Begin(m.now, drain.Limits{Timeout: m.cfg.KillTimeout, KillTimeout: m.cfg.KillTimeout})
	m.strays = append(m.strays, s)
}

func (m *Machine) addStray(id procfs.ID) {
	m.watchStray(id)
	m.do(Kill{Target: id, Signal: m.spawnedStopSignal()})
}

func (m *Machine) expireStrays() {
	for i := range m.strays {
		s := &m.strays[i]
		for step := s.drain.Expire(m.now); step != drain.Nothing; step = s.drain.Expire(m.now) {
			if step == drain.Kill {
				m.counters.Kills++
				m.do(Kill{Target: s.id, Signal: sigKILL})
				m.killGroup(s.id.PID)
			}
		}
	}
}

// forgetStray takes one that has ended from the list, and what it leaves behind with it: of a failed gunicorn, the
// workers would go on accepting connections.
func (m *Machine) forgetStray(pid int) {
	for i, s := range m.strays {
		if s.id.PID == pid {
			m.strays = append(m.strays[:i:i], m.strays[i+1:]...)
			m.killGroup(pid)
			return
		}
	}
}

// killGroup ends what a generation leaves behind. Only those that we start have a group of their own: a successor that
// the app forked is in its predecessor's.
func (m *Machine) killGroup(pid int) {
	if m.cfg.Spawn {
		m.do(KillRest{Signal: sigKILL, Group: pid})
	}
}

// words is how a generation ended, with what it had said of itself.
func (m *Machine) words(pid int, status reaper.Status) string {
	text := status.String()
	if s := m.said[pid]; s.errno != 0 {
		text += fmt.Sprintf(" (it said: %v)", syscall.Errno(s.errno))
	} else if s.status != "" {
		text += fmt.Sprintf(" (it said: %s)", s.status)
	}
	return text
}
