package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/listen"
	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// Loop is the one goroutine that owns the state, and the only one that forks, signals and reaps.
type Loop struct {
	Config  Config
	Program *upgrade.Program
	PIDFile string
	Version string

	Listeners    []listen.Listener // held for the app, in mode spawn
	Dialects     listen.Dialects
	Check        []string      // the command that decides whether an upgrade may begin, or nil
	ProbeCommand []string      // the command that finds out whether a generation is ready, or nil
	ProbeAddress unix.Sockaddr // likewise where to connect, or nil
	StoreMax     int           // how many fds the app may store
	RelayTo      string        // the NOTIFY_SOCKET of a service manager outside, or empty

	Signals       <-chan signals.Signal
	Notifications <-chan Notified         // nil without a notification socket
	Requests      <-chan *control.Request // nil without a control socket
	Deliver       []func()                // each brings in one of the three, in a goroutine of its own, once the app was started
	AtExit        []func()                // closes the last two, the latter once everybody has read the last lines
	Log           *logrus.Logger
	WarnOnReap    bool
	OnQuiet       func() // called, beside the loop, when it has rested a moment after some work; or nil

	machine   *Machine
	effects   effects
	watcher   *reaper.Watcher
	exit      *Exit
	began     time.Time
	reaped    uint64
	childless bool // the watcher rests
	audience  audience

	asked    time.Time     // for the status, the last time
	work     atomic.Uint64 // how often the loop went round
	restless atomic.Bool   // a timer waits for the loop to rest
}

// Run starts the app and returns when the init is to exit: with what code, and what the cause was.
func (l *Loop) Run() (code int, cause string) {
	self := os.Getpid()
	l.began = time.Now()
	l.Config.Self = self
	l.machine = New(l.Config)
	l.effects = effects{
		program: l.Program, listeners: l.Listeners, dialects: l.Dialects, store: store{max: storable(l.StoreMax)},
		check: l.Check, probeRun: l.ProbeCommand, probeAddr: l.ProbeAddress, probes: make(chan Event, 1),
		counted: l.counted, spawn: l.Config.Spawn, pidFile: l.PIDFile, self: self, initPID: self == 1,
	}
	l.watcher = reaper.Watch()
	timer := time.NewTimer(time.Hour)
	timer.Stop()

	l.carryOut(l.machine.Begin())
	for _, deliver := range l.Deliver {
		go deliver()
	}
	l.watcher.Resume()
	for l.exit == nil {
		l.watchForQuiet()
		l.leaveOrphans()
		if at, ok := l.machine.Deadline(); ok {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
		work := l.await(timer)
		l.watcher.Take()
		work()
	}
	l.audience.dismiss()
	for _, end := range l.AtExit {
		end()
	}
	return l.exit.Code, l.exit.Cause
}

// await returns what there is to do next.
func (l *Loop) await(timer *time.Timer) (work func()) {
	select {
	case s := <-l.Signals:
		return func() { l.step(Signalled{s}) }
	case <-l.watcher.C:
		return l.reap
	case n := <-l.Notifications:
		return func() {
			l.step(n)
			notify.Discard(n.FDs) // what is to be kept has been copied
		}
	case r := <-l.Requests:
		return func() { l.serve(r) }
	case e := <-l.effects.probes:
		return func() { l.step(e) }
	case <-timer.C:
		return func() {
			l.reapDead() // first: the look that may be due would read a line for each of them
			if l.exit == nil {
				l.step(Tick{})
			}
		}
	}
}

// leaveOrphans leaves those children to the watcher that mean nothing to the machine, while the loop rests.
func (l *Loop) leaveOrphans() {
	if l.WarnOnReap {
		return
	}
	if keep, ok := l.machine.Awaited(); ok {
		l.watcher.Leave(keep)
	}
}

// watchForQuiet arranges for OnQuiet: when the loop has rested for a moment, or when after a burst of work only
// little is left, as where the app sends a WATCHDOG=1 twice a second. One timer runs at most, and none in an init that
// has settled: an idle init does not wake up.
func (l *Loop) watchForQuiet() {
	const (
		moment = time.Second
		little = 8 // rounds of the loop
	)
	if l.OnQuiet == nil {
		return
	}
	if l.work.Add(1); l.restless.CompareAndSwap(false, true) {
		var check func()
		before, burst := l.work.Load(), true
		check = func() {
			rounds := l.work.Load() - before
			before += rounds
			if rounds > little {
				burst = true
			} else if rounds == 0 || burst {
				l.OnQuiet()
				burst = false
			}
			l.restless.Store(rounds > 0)
			if rounds > 0 || l.work.Load() != before && l.restless.CompareAndSwap(false, true) {
				time.AfterFunc(moment, check) // it does not rest
			}
		}
		time.AfterFunc(moment, check)
	}
}

// step takes an event, and then the answers to the actions that it led to.
func (l *Loop) step(e Event) {
	defer func() {
		// PID 1 must not end by accident: the event is lost, the container lives.
		if r := recover(); r != nil {
			l.Log.Errorf("BUG: %v on %T; going on\n%s", r, e, debug.Stack())
		}
	}()
	before := l.machine.State()
	l.carryOut(l.machine.Step(time.Now(), e))
	if l.machine.State() != before {
		l.audience.show(l.status)
	}
}

func (l *Loop) carryOut(actions []Action) {
	for _, a := range actions {
		if l.exit != nil {
			return // decided by the answer to an action before
		}
		var answer Event
		switch a := a.(type) {
		case Start:
			answer = l.effects.start(a)
			l.watch()
		case Find:
			answer = l.effects.find()
		case Release:
			a.Image.Close()
		case Run:
			answer = l.effects.run(a)
			l.watch()
		case PassTerminal:
			passTerminal(a)
		case Probe:
			l.effects.probe()
		case Look:
			answer = l.effects.look(a)
		case Kill:
			main, _ := l.machine.Main()
			answer = l.effects.kill(a, main)
		case KillRest:
			l.effects.killRest(a)
		case Store:
			if err := l.effects.store.add(a.Name, a.FDs); err != nil {
				l.Log.Warn(err)
			}
		case Unstore:
			l.effects.store.remove(a.Name)
		case Relay:
			if err := notify.Send(l.RelayTo, a.Text); err != nil {
				l.Log.Debug(err)
			}
		case Accepted:
			l.audience.accept(a.Upgrade)
		case Refused:
			l.audience.refuse(a.Reason)
		case Tell:
			l.audience.tell(a.Progress)
		case Suspend:
			l.effects.suspend()
		case Log:
			l.write(a)
		case Exit:
			l.exit = &a
			return
		}
		if answer != nil {
			l.carryOut(l.machine.Step(time.Now(), answer))
		}
	}
}

// watch has the watcher go on after there was nothing to watch.
func (l *Loop) watch() {
	if l.childless {
		l.childless = false
		l.watcher.Resume()
	}
}

// How many children are reaped before others get their turn: with a line for each, fewer than the log's writer holds;
// else as many as there may be, since each that is left makes the process table longer, which is about to be read.
const (
	reapAtOnce = 1 << 16
	logAtOnce  = 128
)

// reap is what follows the watcher's report.
func (l *Loop) reap() {
	switch none := l.reapDead(); {
	case none:
		l.childless = true // nothing to watch until something is started
		l.step(Childless{})
	case l.exit == nil:
		l.watcher.Resume()
	}
}

// reapDead reaps what is dead, and reports whether there is no child left at all.
func (l *Loop) reapDead() (none bool) {
	most := reapAtOnce
	if l.WarnOnReap {
		most = logAtOnce
	}
	for range most {
		pid, status, err := reaper.Reap()
		switch {
		case errors.Is(err, reaper.ErrNoChild):
			return true
		case err != nil:
			l.Log.Error(err)
			return false
		case pid == 0:
			return false
		}
		l.reaped++
		if main, _ := l.machine.Main(); l.WarnOnReap && pid != main.PID {
			l.Log.Warnf("reaped orphan pid %d: %s", pid, status)
		}
		l.step(ChildExited{PID: pid, Status: status})
		if l.exit != nil {
			return false
		}
	}
	return false
}

func (l *Loop) write(a Log) {
	levels := [...]logrus.Level{Error: logrus.ErrorLevel, Warn: logrus.WarnLevel, Info: logrus.InfoLevel, Debug: logrus.DebugLevel}
	level := levels[a.Level]
	if !l.Log.IsLevelEnabled(level) {
		return
	}
	fields := logrus.Fields{}
	for _, f := range a.Fields {
		if s, ok := f.Value.(fmt.Stringer); ok {
			f.Value = s.String() // a duration as 2.5s in JSON too
		}
		fields[f.Name] = f.Value
	}
	l.Log.WithFields(fields).Log(level, a.Text)
}
