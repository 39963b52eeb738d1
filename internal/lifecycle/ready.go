package lifecycle

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// judgeSpawned decides whether a successor that the init started is ready: it said so, it answered the probe, or,
// where neither can be had, it has lived for the settle time and accepts connections if its predecessor was seen
// to do that.
func (m *Machine) judgeSpawned(accepts procfs.Accepting) {
	u := m.up
	u.idle = u.mainAccepts && accepts == procfs.AcceptingNo
	settled := !u.mustSay && !m.cfg.HasProbe && m.now.Sub(u.seen) >= m.cfg.Settle && !u.idle
	if u.saidReady || u.probed || settled {
		m.spawnedReady()
	}
}

func (m *Machine) spawnedReady() {
	u := m.up
	u.readyAt = m.now
	m.tell(control.StepReady)
	if !u.gone {
		m.retire()
		return
	}
	// With --stop-first it is the main process already.
	m.beginProbation()
	m.mainReady()
	m.saysReady = u.saidReady
	m.enter(Draining)
	m.lookSoon()
}

// waiting says what an upgrade waits for.
func (m *Machine) waiting(u *attempt) string {
	switch {
	case m.state == Restarting:
		return "the executable to be started"
	case u.spawned && m.helpers[CheckHelper].pid != 0:
		return "the check to end"
	case u.spawned && !u.retryAt.IsZero():
		return u.delayed.Error()
	case u.spawned && m.state == Preparing:
		return "the successor to be started"
	case u.stopFirst(), u.gone && !u.readyAt.IsZero():
		return "the predecessor to finish its work"
	case u.successor == (procfs.ID{}):
		return "a successor to appear"
	case !u.readyAt.IsZero():
		return "the predecessor to make place"
	case u.mustSay || m.saysReady && !u.spawned:
		return "READY=1 from the successor, which its predecessor had said"
	case m.cfg.HasProbe && m.probe.err != nil:
		return "the probe to succeed: " + m.probe.err.Error()
	case m.cfg.HasProbe:
		return "the probe to succeed"
	case u.idle:
		return "the successor to accept connections, as its predecessor does"
	}
	return "READY=1 from the successor, or the settle time"
}

// mainReady notes that the main process serves.
func (m *Machine) mainReady() {
	m.readyAt = m.now
	m.log(Debug, "ready")
	m.armWatchdog()
}

// judgesMain reports whether the main process's own readiness is open and nobody else's.
func (m *Machine) judgesMain() bool {
	return m.readyAt.IsZero() && m.main != (procfs.ID{}) && !m.ending() && (m.up == nil || m.up.gone && !m.up.readyAt.IsZero())
}

// judgesSuccessor reports whether a successor is waited for. While Restarting there is none: it has died.
func (m *Machine) judgesSuccessor() bool {
	u := m.up
	return u != nil && u.successor != (procfs.ID{}) && u.readyAt.IsZero() && m.state != Restarting && !m.ending()
}

// probe is the way to find out from outside whether a generation is ready.
type probe struct {
	running bool
	stale   bool // it is about a generation that is not waited for any more
	next    time.Time
	err     error // why the last one failed
}

// probeInterval is the time between two probes.
const probeInterval = 200 * time.Millisecond

// helperLimit bounds a probe that is a command.
const helperLimit = 10 * time.Second

// awaitReadiness begins to wait for a generation that has just been started.
func (m *Machine) awaitReadiness() {
	m.probe = probe{running: m.probe.running, stale: m.probe.running, next: m.now}
}

func (m *Machine) readinessDeadline() (time.Time, bool) {
	switch {
	case m.cfg.HasProbe && m.probe.running:
		h := m.helpers[ProbeHelper]
		return h.by, h.pid != 0 && !h.killed
	case m.cfg.HasProbe:
		return m.probe.next, m.judgesMain() || m.judgesSuccessor()
	}
	return m.since.Add(m.cfg.Settle), m.judgesMain()
}

func (m *Machine) expireReadiness() {
	at, due := m.readinessDeadline()
	switch {
	case !due || m.now.Before(at):
	case m.cfg.HasProbe && m.probe.running:
		m.stopHelper(ProbeHelper)
	case m.cfg.HasProbe:
		m.probe.running = true
		if m.cfg.ProbeRuns {
			m.run(ProbeHelper, nil)
		} else {
			m.do(Probe{})
		}
	default:
		m.mainReady()
	}
}

func (m *Machine) probed(err error) {
	if m.probe.stale {
		m.probe = probe{next: m.now}
		return
	}
	m.probe = probe{next: m.now.Add(probeInterval), err: err}
	switch {
	case err != nil:
	case m.judgesSuccessor() && m.up.spawned:
		m.up.probed = true
		m.spawnedReady()
	case m.judgesSuccessor():
		m.up.probed = true
		m.lookSoon()
	case m.judgesMain():
		m.mainReady()
	}
}

// helper is a command of the user's that runs.
type helper struct {
	pid    int
	by     time.Time
	killed bool
}

func (m *Machine) run(h Helper, image *upgrade.Image) {
	target, generation := m.main.PID, m.generation
	if m.up != nil && !m.up.gone {
		target, generation = m.up.successor.PID, m.generation+1
	}
	m.do(Run{Helper: h, Image: image, Generation: generation, PID: target})
}

func (m *Machine) helperStarted(e HelperStarted) {
	m.helpers[e.Helper] = helper{pid: e.PID, by: m.now.Add(helperLimit)}
}

// stopHelper kills a helper that has had its time. It ends when it is reaped.
func (m *Machine) stopHelper(h Helper) {
	if p := &m.helpers[h]; p.pid != 0 && !p.killed {
		p.killed = true
		m.do(KillRest{Signal: sigKILL, Group: p.pid})
	}
}

// helperExited handles the end of a child if it is a helper.
func (m *Machine) helperExited(pid int, status reaper.Status) bool {
	for h := range m.helpers {
		if p := m.helpers[h]; p.pid == pid && pid != 0 {
			m.helpers[h] = helper{}
			var err error
			if p.killed {
				err = errors.New("it did not end in time")
			} else if status != (reaper.Status{}) {
				err = fmt.Errorf("it %s", status)
			}
			m.helperEnded(Helper(h), err)
			return true
		}
	}
	return false
}

func (m *Machine) helperEnded(h Helper, err error) {
	switch {
	case h == ProbeHelper:
		m.probed(err)
	case m.ending(), m.cfg.Spawn && m.state != Preparing: // nobody waits for it any more
	case m.cfg.Spawn && err != nil:
		m.refuseUpgrade("the check failed: " + err.Error())
	case m.cfg.Spawn:
		m.launch()
	case err != nil:
		m.refuse("the check failed: " + err.Error())
	case m.main != (procfs.ID{}):
		m.do(m.lookFor(ForTrigger, m.main.PID))
	}
}

// said is what a generation's main process has said of itself.
type said struct {
	status string
	errno  int
}

// watchdog is the agreement that the main process says WATCHDOG=1 now and then (sd_watchdog_enabled(3)).
type watchdog struct {
	interval time.Duration // zero: none
	by       time.Time
	fired    bool
}

// armWatchdog begins to expect signs of life, once the main process is ready.
func (m *Machine) armWatchdog() {
	if m.watchdog.interval == 0 {
		m.watchdog.interval = m.cfg.Watchdog
	}
	m.watchdog.by, m.watchdog.fired = m.now.Add(m.watchdog.interval), false
}

func (m *Machine) watchdogDeadline() (time.Time, bool) {
	w := &m.watchdog
	makesPlace := m.up != nil && m.up.draining && !m.up.gone // and may have ended whatever said WATCHDOG=1
	return w.by, w.interval > 0 && !w.fired && m.main != (procfs.ID{}) && !m.readyAt.IsZero() && !m.ending() && !makesPlace
}

func (m *Machine) expireWatchdog() {
	if by, due := m.watchdogDeadline(); !due || m.now.Before(by) {
		return
	}
	m.watchdog.fired = true
	m.log(Error, "watchdog: the main process was silent for too long, sending SIGABRT", Field{"interval", m.watchdog.interval})
	m.do(Kill{Target: m.main, Signal: signals.Signal(syscall.SIGABRT)})
	m.watchStray(m.main)
}

// notified handles sd_notify(3) messages. Only processes below a generation speak for it.
func (m *Machine) notified(n Notified) {
	m.counters.Notifications++
	u := m.up
	speaks := func(id procfs.ID, guard int) bool {
		return id.PID != 0 && (slices.Contains(n.Lineage, id.PID) || guard != 0 && slices.Contains(n.Lineage, guard))
	}
	var generation procfs.ID
	switch {
	case u != nil && u.spawned && !u.gone && speaks(u.successor, u.guard):
		generation = u.successor
		if n.ExtendTimeout > 0 {
			u.readyBy = later(u.readyBy, m.now.Add(n.ExtendTimeout))
		}
		u.saidReady = u.saidReady || n.Ready
	case speaks(m.main, m.guard):
		generation = m.main
		m.mainSaid(n)
	case u != nil && speaks(u.retiring, 0):
		generation = u.retiring
		u.drain.Extend(m.now.Add(n.ExtendTimeout))
	default:
		m.log(Debug, "notification ignored: its sender does not belong to the app", Field{"lineage", n.Lineage})
		return
	}
	m.remember(generation.PID, n.Message)
	m.store(n.Message)
	if u == m.up && u != nil && u.spawned && u.saidReady && m.judgesSuccessor() {
		m.spawnedReady()
	}
}

// mainSaid handles what the main process, or in forward mode a successor below it, says.
func (m *Machine) mainSaid(n Notified) {
	u := m.up
	if n.MainPID != 0 {
		m.mainPIDHint = n.MainPID
	}
	m.shutdown.Extend(m.now.Add(n.ExtendTimeout))
	if u != nil && u.draining && !u.gone {
		u.drain.Extend(m.now.Add(n.ExtendTimeout))
	}
	if n.WatchdogInterval > 0 {
		m.watchdog.interval = n.WatchdogInterval
	}
	switch {
	case n.Watchdog == notify.WatchdogAlive || n.WatchdogInterval > 0:
		m.watchdog.by = m.now.Add(m.watchdog.interval)
	case n.Watchdog == notify.WatchdogTrigger && m.watchdog.interval > 0:
		m.watchdog.by = m.now
	}
	if text := relayed(n.Message); text != "" {
		m.do(Relay{text})
	}
	if !n.Ready {
		return
	}
	switch at := slices.Index(n.Lineage, m.main.PID); {
	case u != nil && u.gone && u.readyAt.IsZero(): // --stop-first
		u.saidReady = true
	case u == nil || u.gone || u.spawned:
		m.saysReady = true
		if u != nil && !u.gone {
			u.mustSay = true
		}
		if m.readyAt.IsZero() {
			m.mainReady()
		}
	default:
		for _, pid := range n.Lineage[:max(at, 0)] {
			u.heard[pid] = true
		}
		u.renewed = u.renewed || at == 0
		u.saidReady = u.saidReady || u.heard[u.successor.PID]
		if u.renewed || u.saidReady {
			m.lookSoon()
		}
	}
}

// remember keeps what is told to people.
func (m *Machine) remember(pid int, n notify.Message) {
	s := m.said[pid]
	if n.Status != "" {
		s.status = n.Status
	}
	if n.Errno != 0 {
		s.errno = n.Errno
	}
	if s != m.said[pid] {
		m.said[pid] = s
		m.log(Debug, "status", Field{"sender", pid}, Field{"status", s.status})
	}
}

// store keeps and forgets fds, whichever generation they come from.
func (m *Machine) store(n notify.Message) {
	if n.FDStoreRemove {
		m.do(Unstore{n.FDName})
	}
	if n.FDStore && len(n.FDs) > 0 {
		m.do(Store{Name: n.FDName, FDs: n.FDs})
	}
}

// relayed is the part of a message that concerns a service manager outside. It keeps the init as the main process.
func relayed(n notify.Message) string {
	text := ""
	for _, line := range []struct {
		on   bool
		text string
	}{
		{n.Ready, "READY=1\n"},
		{n.Reloading, "RELOADING=1\n"},
		{n.Stopping, "STOPPING=1\n"},
		{n.Status != "", "STATUS=" + n.Status + "\n"},
		{n.Errno != 0, fmt.Sprintf("ERRNO=%d\n", n.Errno)},
		{n.Watchdog == notify.WatchdogAlive, "WATCHDOG=1\n"},
		{n.Watchdog == notify.WatchdogTrigger, "WATCHDOG=trigger\n"},
		{n.ExtendTimeout > 0, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d\n", n.ExtendTimeout.Microseconds())},
	} {
		if line.on {
			text += line.text
		}
	}
	return text
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
