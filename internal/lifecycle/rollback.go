package lifecycle

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// probation is the time after a spawned successor was ready, in which its death brings its predecessor's executable
// back.
type probation struct {
	until   time.Time
	outcome control.Progress // how the upgrade ends if all goes well, known once the predecessor has gone
}

// rollback is the start of a main process where none runs: in a rollback, or with --stop-first.
type rollback struct {
	image   *upgrade.Image
	back    bool          // to the executable before
	status  reaper.Status // how the main process ended that it follows
	reason  string
	outcome control.Progress // of the upgrade that is taken back, if its predecessor had gone already
	retryAt time.Time
	until   time.Time
}

func (m *Machine) beginProbation() {
	m.endProbation()
	if m.cfg.Probation > 0 {
		m.probation = &probation{until: m.now.Add(m.cfg.Probation)}
	}
}

// endProbation tells whoever waits for it that the upgrade has stood the test.
func (m *Machine) endProbation() {
	p := m.probation
	m.probation = nil
	if p != nil && p.outcome.Upgrade != 0 {
		m.finishProgress(p.outcome)
	}
}

// probationMayEnd reports whether only time keeps the probation from ending: it lasts at least until the
// predecessor has gone.
func (m *Machine) probationMayEnd() bool { return !m.ending() && (m.up == nil || !m.up.gone) }

func (m *Machine) expireProbation() {
	if m.probation != nil && m.probationMayEnd() && !m.now.Before(m.probation.until) {
		m.log(Debug, "probation passed")
		m.endProbation()
	}
}

// rollBack starts the predecessor's executable, since the main process has died in its probation.
func (m *Machine) rollBack(status reaper.Status) {
	reason := m.exitText
	m.pending = nil
	if u := m.up; u != nil && !u.gone { // the next upgrade had begun
		m.failUpgrade("the " + reason + ", in its probation")
	}
	m.log(Error, "rolling back", Field{"reason", reason})
	m.killGroup(m.lastMain.PID) // what it leaves behind would go on accepting
	m.rollback = rollback{image: m.previous, back: true, status: status, reason: reason, until: m.now.Add(m.cfg.ReadyTimeout)}
	if m.probation != nil {
		m.rollback.outcome = m.probation.outcome
		m.probation = nil
	}
	m.enter(Restarting)
	m.restart()
}

// startInPlace starts the successor after its predecessor has gone (--stop-first).
func (m *Machine) startInPlace(status reaper.Status) {
	m.rollback = rollback{image: m.up.image, status: status, until: m.now.Add(m.cfg.ReadyTimeout)}
	m.enter(Restarting)
	m.restart()
}

func (m *Machine) restart() {
	m.rollback.retryAt = time.Time{}
	epoch := 0 // with nobody alive before it
	if m.retiringLives() {
		epoch = m.epoch // in the place of the one that died
	}
	m.do(Start{Image: m.rollback.image, Generation: m.generation + 1, Epoch: epoch})
}

func (m *Machine) restarted(e Started) {
	r, u := m.rollback, m.up
	if !m.retiringLives() {
		m.epoch = 0
	}
	m.do(PassTerminal{From: m.lastMain.PID, To: e.Main.PID})
	m.generation++
	m.main, m.guard, m.since = e.Main, e.Guard, m.now
	m.saysReady, m.mainPIDHint = false, 0
	m.rollback = rollback{}
	if !r.back {
		m.setPrevious(m.image)
		m.image = u.image
		u.successor, u.guard, u.seen, u.gone = e.Main, e.Guard, m.now, true
		u.readyBy = m.now.Add(m.cfg.ReadyTimeout)
		m.endProbation()
		m.probation = &probation{} // at least until it is ready, whatever the setting
		m.enter(Settling)
		m.log(Debug, "successor started")
		m.tell(control.StepStarted)
		m.awaitReadiness()
		m.lookSoon()
		return
	}
	if m.image != r.image {
		m.do(Release{m.image})
		m.image, m.previous = r.image, nil
	}
	m.reportRollback(r)
	if m.retiringLives() {
		u.successor = e.Main
		m.enter(Draining)
		m.lookSoon()
	} else {
		m.up = nil
		m.enter(Running)
	}
	m.awaitReadiness()
}

func (m *Machine) restartFailed(err error) {
	r := &m.rollback
	for _, temporary := range []error{syscall.ETXTBSY, syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, temporary) && m.now.Before(r.until) {
			r.retryAt = m.now.Add(startRetry)
			return
		}
	}
	if !r.back {
		reason := err.Error()
		m.log(Error, "rolling back", Field{"reason", reason})
		m.letGo(m.up.image)
		m.endProbation() // of the upgrade before, if it was still in it
		*r = rollback{image: m.image, back: true, status: r.status, reason: reason, until: m.now.Add(m.cfg.ReadyTimeout)}
		m.restart()
		return
	}
	m.log(Error, "cannot roll back: "+err.Error())
	m.exitText = fmt.Sprintf("%s, and the rollback failed: %v", r.reason, err)
	m.mainGone(r.status)
}

// restartDeadline is when it is tried again to start a main process that could not be started yet.
func (m *Machine) restartDeadline() (time.Time, bool) {
	return m.rollback.retryAt, (m.state == Starting || m.state == Restarting) && !m.rollback.retryAt.IsZero()
}

func (m *Machine) expireRestart() {
	switch at, due := m.restartDeadline(); {
	case !due || m.now.Before(at):
	case m.state == Starting:
		m.rollback.retryAt = time.Time{}
		m.do(Start{Image: m.image, Generation: 1})
	default:
		m.restart()
	}
}

// reportRollback ends the upgrade whose successor has died in its probation, or could not be started.
func (m *Machine) reportRollback(r rollback) {
	progress := r.outcome
	if u := m.up; u != nil && !u.reported {
		u.reported = true
		progress = m.progressOf(u)
	}
	progress.Step, progress.Reason, progress.ExitCode, progress.Waiting = control.StepRolledBack, r.reason, control.CodeFailed, ""
	m.log(Warn, "upgrade rolled back", Field{"reason", r.reason})
	m.finishProgress(progress)
}

// asked handles a request over the control socket.
func (m *Machine) asked(a Asked) {
	if a.Refused != "" {
		m.do(Log{Level: Warn, Text: "binary refused", Fields: []Field{{"reason", a.Refused}}})
		m.serial++
		m.finishProgress(control.Progress{Upgrade: m.serial, Step: control.StepRefused, FromGeneration: m.generation,
			FromPID: m.main.PID, Reason: a.Refused, ExitCode: control.CodeRefused})
		m.do(Refused{a.Refused})
		return
	}
	if reason := m.refusal(a); reason != "" {
		if a.Image != nil {
			m.do(Release{a.Image})
		}
		m.do(Refused{reason})
		return
	}
	switch {
	case a.Op == control.OpStop:
		m.do(Accepted{})
		m.beginShutdown(sigTERM)
	case a.Op == control.OpRollback && m.up != nil && !m.up.gone:
		m.do(Accepted{m.up.serial})
		m.abandonOnRequest()
	default:
		if !m.held {
			m.wanted, m.goingBack = a.Image, a.Op == control.OpRollback
		}
		m.do(Accepted{m.nextSerial()})
		m.trigger()
	}
}

// refusal says why a request cannot be fulfilled, or nothing.
func (m *Machine) refusal(a Asked) string {
	spawns := "graceinit starts a generation itself only with --listen or --upgrade=spawn; here the app upgrades itself"
	inProgress := m.up != nil || m.held || m.pendingNo != 0
	switch {
	case m.ending():
		return "the container is shutting down"
	case a.Op == control.OpStop:
		return ""
	case !m.cfg.Upgrades:
		return "upgrades are off (--upgrade=off)"
	case a.Image != nil && !m.cfg.Spawn:
		return "a binary was delivered, but " + spawns
	case a.Op == control.OpRollback && !m.cfg.Spawn:
		return "there is nothing to go back to: " + spawns
	case a.Image != nil && inProgress:
		return "another upgrade is in progress; try again when it has ended"
	case a.Op == control.OpRollback && m.up != nil && !m.up.gone:
		return ""
	case a.Op == control.OpRollback && m.previous == nil:
		return "there is no executable to go back to: nothing has been upgraded, or it was taken back already"
	case a.Op == control.OpRollback && m.held:
		return "another upgrade waits to begin; try again when it has ended"
	}
	return ""
}

// abandonOnRequest takes back an upgrade whose successor is not ready yet.
func (m *Machine) abandonOnRequest() {
	u := m.up
	switch {
	case m.state == Restarting && m.rollback.back: // that is under way already
	case u.told: // --stop-first: too late to keep the predecessor, but its executable will be started anew
		m.letGo(u.image)
		u.image, m.rollback.image = m.image, m.image
	default:
		m.abandon()
		m.report(Warn, control.StepRolledBack, "on request, before the successor was ready; the predecessor serves on")
		m.up = nil
		m.enter(Running)
	}
}
