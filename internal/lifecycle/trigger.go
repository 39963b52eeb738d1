package lifecycle

import (
	"fmt"
	"time"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/upgrade"
)

// trigger handles the upgrade signal. Triggers that cannot be acted upon now collapse into one that can.
func (m *Machine) trigger() {
	switch {
	case m.ending():
		m.log(Info, "upgrade signal ignored: shutting down")
	case m.busy() || m.main.PID == 0 || m.now.Before(m.triggeredAt.Add(debounce)):
		m.held = true
		m.log(Debug, "upgrade signal held")
		held := m.heldProgress(m.nextSerial())
		m.do(Tell{&held})
	default:
		m.askForUpgrade()
	}
}

// busy reports whether a trigger has to wait for the upgrade in progress. It need not as long as no
// successor was seen, for the signal may have come too early for the app, nor when the main process
// serves on beside a ready successor, as a supervisor does that upgrades in place.
func (m *Machine) busy() bool {
	u := m.up
	return m.state == Starting || m.state == Restarting || m.helpers[CheckHelper].pid != 0 ||
		u != nil && (u.spawned || u.draining || u.gone || u.successor != procfs.ID{} && u.readyAt.IsZero())
}

// askForUpgrade finds out whether the main process can be asked.
func (m *Machine) askForUpgrade() {
	m.triggeredAt = m.now
	m.nextSerial()
	if m.cfg.HasCheck && !m.cfg.Spawn && m.up == nil {
		m.run(CheckHelper, nil)
		return
	}
	m.do(m.lookFor(ForTrigger, m.main.PID))
}

// beginUpgrade forwards the upgrade signal, if the main process would survive it.
func (m *Machine) beginUpgrade(l Looked) {
	if m.ending() {
		return
	}
	if m.cfg.Spawn && (m.busy() || m.main == (procfs.ID{})) { // something has come in between
		m.held = true
		return
	}
	if m.cfg.Spawn {
		m.beginSpawn(l)
		return
	}
	sent := m.rewritten(m.cfg.UpgradeSignal)
	main := l.Table.Get(m.main.PID)
	if !l.Table.Alive(m.main) {
		main = nil
	}
	if main != nil && main.SignalsErr == nil && !upgrade.Survives(main, sent) && m.now.Sub(m.since) < fresh {
		m.held = true // and tried again
		m.log(Debug, "upgrade signal held: the main process does not catch it yet")
		return
	}
	if reason := m.objection(main, sent, l.Err); reason != "" {
		m.refuse(reason)
		return
	}
	if main.FDsErr != nil && !m.saidNoAccess {
		m.saidNoAccess = true
		m.log(Warn, fmt.Sprintf("the main process's sockets cannot be seen (%v; CAP_SYS_PTRACE would allow it): "+
			"a successor is recognised once the main process has gone, by its pid file or by MAINPID=, and no drain is seen", main.FDsErr))
	}
	if m.up != nil && m.up.successor != (procfs.ID{}) {
		m.endInPlace("asked again while the main process and the successor serve")
	}
	if m.up == nil {
		m.newAttempt(l)
		m.log(Info, "upgrade triggered", Field{"signal", sent})
		m.enter(Awaiting)
		m.tell(control.StepTriggered)
	} else {
		m.log(Info, "upgrade signal repeated", Field{"signal", sent})
	}
	// The check, or the look, may have taken long. This upgrade is that of all who have asked meanwhile: for some apps
	// (facebookgo/grace) a second signal means a second successor.
	m.held, m.triggeredAt = false, m.now
	m.do(Kill{Target: m.main, Signal: sent})
	m.lookSoon()
}

// newAttempt begins to keep track of an upgrade.
func (m *Machine) newAttempt(l Looked) *attempt {
	m.up = &attempt{
		serial:      m.takeSerial(),
		record:      upgrade.NewRecord(l.Table, m.main),
		generation:  m.generation,
		began:       m.now,
		readyBy:     m.now.Add(m.cfg.ReadyTimeout),
		heard:       map[int]bool{},
		mustSay:     m.saysReady,
		connections: unknown,
	}
	return m.up
}

// objection says why the main process, nil if it is not alive, must not be sent the upgrade signal, or nothing.
func (m *Machine) objection(main *procfs.Process, sent signals.Signal, lookErr error) string {
	switch {
	case lookErr != nil:
		return fmt.Sprintf("the process table cannot be read, so no successor could be recognised: %v", lookErr)
	case main == nil:
		return "the main process cannot be found alive in /proc"
	case main.SignalsErr != nil && !m.cfg.Insist:
		return fmt.Sprintf("it cannot be seen whether the main process would survive %s: %v (--upgrade=forward sends it all the same)", sent, main.SignalsErr)
	case main.SignalsErr == nil && !upgrade.Survives(main, sent):
		return fmt.Sprintf("the main process (%s) neither catches nor ignores %s and would die of it; only an app that upgrades itself on %s can be upgraded so", main.Comm, sent, sent)
	}
	return ""
}

// fresh is how long a main process may take to catch the upgrade signal. A program just executed catches
// nothing: haproxy's master for 50 ms, gunicorn for 170 ms, an interpreter on a busy machine for longer.
const fresh = 3 * time.Second
