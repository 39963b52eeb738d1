package lifecycle

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/graceinit/graceinit/drain"
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
)

const (
	sigKILL = signals.Signal(syscall.SIGKILL)
	sigTERM = signals.Signal(syscall.SIGTERM)
	sigTSTP = signals.Signal(syscall.SIGTSTP)
	sigTTIN = signals.Signal(syscall.SIGTTIN)
	sigTTOU = signals.Signal(syscall.SIGTTOU)
)

// ending reports whether a shutdown has begun or the main process has gone.
func (m *Machine) ending() bool {
	return m.shutdown.Phase() != drain.Idle || m.state == Sweeping || m.state == Exited
}

// beginShutdown handles a shutdown signal. A second one cuts the drain delay short and is otherwise not
// passed on: it would kill an app that drains after the first, as facebookgo/grace does.
func (m *Machine) beginShutdown(sent signals.Signal) {
	if m.state == Sweeping {
		m.log(Debug, "shutdown signal ignored: already ending")
		return
	}
	if m.shutdown.Phase() != drain.Idle {
		if m.shutdown.Phase() != drain.Delaying {
			m.log(Info, "already stopping; the second shutdown signal is not passed on")
		}
		m.shutdownStep(m.shutdown.SkipDelay(m.now))
		return
	}
	if m.awaitsPIDFile() || m.state == Restarting || m.state == Starting {
		if m.exitText == "" {
			m.exitText = "shut down before the command was started"
		}
		m.mainGone(reaper.Status{Signal: syscall.Signal(sent)})
		return
	}
	m.stopSignal = sent
	if m.cfg.StopSignal != 0 {
		m.stopSignal = m.cfg.StopSignal
	}
	m.endRequests()
	if u := m.up; u != nil {
		m.report(Info, control.StepShutdown, "")
		if u.spawned && u.successor == (procfs.ID{}) && !u.draining || u.gone && u.retiring == (procfs.ID{}) {
			m.up = nil // what is left of the predecessor's generation is swept with the rest
		}
	}
	m.log(Info, "shutdown", Field{"drain_delay", m.cfg.DrainDelay}, Field{"stop_signal", m.stopSignal}, Field{"stop_timeout", m.cfg.StopTimeout})
	step := m.shutdown.Begin(m.now, drain.Limits{
		Delay: m.cfg.DrainDelay, Timeout: m.cfg.StopTimeout, KillTimeout: m.cfg.KillTimeout})
	if step == drain.Nothing {
		m.enter(Delaying)
	}
	m.shutdownStep(step)
}

// endRequests tells everybody who waits for an upgrade that is over, or will not begin.
func (m *Machine) endRequests() {
	m.held = false
	m.endProbation()
	if o := m.rollback.outcome; o.Upgrade != 0 {
		m.rollback.outcome = control.Progress{}
		o.Step, o.Reason, o.ExitCode = control.StepFailed, m.rollback.reason+", and there was no rollback", control.CodeFailed
		m.finishProgress(o)
	}
	if m.pendingNo != 0 {
		m.finishProgress(control.Progress{Upgrade: m.pendingNo, Step: control.StepShutdown, ExitCode: control.CodeFailed})
		m.pendingNo = 0
	}
	m.dropWanted()
}

func (m *Machine) shutdownStep(step drain.Step) {
	if m.state == Sweeping || m.state == Exited {
		return
	}
	switch step {
	case drain.Stop:
		m.enter(Stopping)
		m.stopAll()
	case drain.Kill:
		m.enter(Killing)
		m.log(Warn, "stop timeout: sending SIGKILL", Field{"stop_timeout", m.cfg.StopTimeout})
		m.countDrain(drain.Kill, len(m.alive()))
		for _, id := range m.alive() {
			m.do(Kill{Target: id, Signal: sigKILL, Group: m.group()})
		}
	case drain.GiveUp:
		m.countDrain(drain.GiveUp, 1)
		if m.pending != nil { // only the predecessor is left
			m.mainGone(*m.pending)
			return
		}
		m.exitText = fmt.Sprintf("main process (generation %d, pid %d) did not end within %s of SIGKILL", m.generation, m.main.PID, m.cfg.KillTimeout)
		m.mainGone(reaper.Status{Signal: syscall.SIGKILL})
	}
}

// alive lists the live generations: the main process and, in an upgrade, the successor or the predecessor.
func (m *Machine) alive() []procfs.ID {
	var list []procfs.ID
	if m.main != (procfs.ID{}) {
		list = append(list, m.main)
	}
	if m.up != nil && m.up.successor != (procfs.ID{}) && !m.up.gone {
		list = append(list, m.up.successor)
	}
	if m.retiringLives() {
		list = append(list, m.up.retiring)
	}
	return list
}

// stopAll sends the stop signal to every live generation that is not draining already.
func (m *Machine) stopAll() {
	for _, id := range m.alive() {
		draining := m.up != nil && m.up.draining && (!m.up.gone && id == m.main || id == m.up.retiring)
		if !draining {
			m.stop(id)
		}
	}
}

// stop sends the stop signal, once.
func (m *Machine) stop(id procfs.ID) {
	if m.stopped[id] {
		return
	}
	m.stopped[id] = true
	m.counters.Stops++
	m.do(Kill{Target: id, Signal: m.stopSignal, Group: m.group()})
}

// mainGone decides the exit code, and ends what else there is.
func (m *Machine) mainGone(status reaper.Status) {
	if m.up != nil {
		m.report(Warn, control.StepFailed, m.exitText)
		m.up = nil
	}
	m.endRequests()
	m.exit, m.pending, m.main = &status, nil, procfs.ID{}
	m.shutdown = drain.Drain{}
	m.enter(Sweeping)
	if m.cfg.Passive {
		if m.cfg.SweepGroup {
			m.do(KillRest{Signal: sigTERM, Group: m.leader})
		}
		m.finish()
		return
	}
	m.sweepStep(m.sweep.Begin(m.now, drain.Limits{Timeout: m.cfg.KillTimeout, KillTimeout: m.cfg.KillTimeout}))
}

// sweepStep ends the leftovers: orphans that outlived the main process.
func (m *Machine) sweepStep(step drain.Step) {
	switch step {
	case drain.Stop:
		m.do(KillRest{Signal: sigTERM})
	case drain.Kill:
		m.log(Warn, "processes are left over: sending SIGKILL", Field{"kill_timeout", m.cfg.KillTimeout})
		m.do(KillRest{Signal: sigKILL})
	case drain.GiveUp:
		m.log(Warn, "processes are left over that even SIGKILL did not end")
		m.finish()
	}
}

// finish hands out the exit code.
func (m *Machine) finish() {
	m.enter(Exited)
	code, cause := m.exit.ExitCode(), ""
	if code != 0 {
		cause = m.exitText
		m.log(Info, cause)
	}
	if l := m.last; l != nil && (l.ExitCode == control.CodeRefused || l.ExitCode == control.CodeFailed) && l.Reason != "" {
		cause = fmt.Sprintf("%s; before that, upgrade %d %s: %s", m.exitText, l.Upgrade, l.Step, l.Reason)
	}
	m.do(Exit{Code: code, Cause: cause})
}

func isGone(err error) bool { return errors.Is(err, syscall.ESRCH) }
