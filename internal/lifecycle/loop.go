package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// Loop is the one goroutine that owns the state, and the only one that forks, signals and reaps.
type Loop struct {
	Config  Config
	Program *upgrade.Program
	PIDFile string

	Signals       <-chan signals.Signal
	Notifications <-chan Notified // nil without a notification socket
	Log           *logrus.Logger
	WarnOnReap    bool
	OnQuiet       func() // called, beside the loop, when it has rested a moment after some work; or nil

	machine *Machine
	effects effects
	watcher *reaper.Watcher
	exit    *Exit

	work     atomic.Uint64 // how often the loop went round
	restless atomic.Bool   // a timer waits for the loop to rest
}

// Run starts the app and returns when the init is to exit: with what code, and what the cause was.
func (l *Loop) Run() (code int, cause string) {
	self := os.Getpid()
	l.Config.Self = self
	l.machine = New(l.Config)
	l.effects = effects{program: l.Program, pidFile: l.PIDFile, self: self, initPID: self == 1}
	l.watcher = reaper.Watch()
	timer := time.NewTimer(time.Hour)
	timer.Stop()

	l.carryOut(l.machine.Begin())
	l.watcher.Resume()
	for l.exit == nil {
		l.watchForQuiet()
		if at, ok := l.machine.Deadline(); ok {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
		select {
		case s := <-l.Signals:
			l.step(Signalled{s})
		case <-l.watcher.C:
			l.reap()
		case n := <-l.Notifications:
			l.step(n)
		case <-timer.C:
			l.step(Tick{})
		}
	}
	return l.exit.Code, l.exit.Cause
}

// watchForQuiet arranges for OnQuiet. One timer runs at most, and none in an init that has settled: an idle
// init does not wake up.
func (l *Loop) watchForQuiet() {
	const moment = time.Second
	if l.OnQuiet == nil {
		return
	}
	if l.work.Add(1); l.restless.CompareAndSwap(false, true) {
		var check func()
		before := l.work.Load()
		check = func() {
			if now := l.work.Load(); now != before {
				before = now
				time.AfterFunc(moment, check)
				return
			}
			l.OnQuiet()
			l.restless.Store(false)
			if l.work.Load() != before && l.restless.CompareAndSwap(false, true) {
				time.AfterFunc(moment, check) // it did not rest meanwhile
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
	l.carryOut(l.machine.Step(time.Now(), e))
}

func (l *Loop) carryOut(actions []Action) {
	for _, a := range actions {
		var answer Event
		switch a := a.(type) {
		case Start:
			answer = l.effects.start()
		case Look:
			answer = l.effects.look(a)
		case Kill:
			main, _ := l.machine.Main()
			answer = l.effects.kill(a, main)
		case KillRest:
			l.effects.killRest(a)
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

// reapAtOnce is how many children are reaped before others get their turn, the log's writer among them: it
// holds more lines than that.
const reapAtOnce = 128

func (l *Loop) reap() {
	for range reapAtOnce {
		pid, status, err := reaper.Reap()
		switch {
		case errors.Is(err, reaper.ErrNoChild):
			// Nothing to watch any more, and nothing that could be started.
			l.step(Childless{})
			return
		case err != nil:
			l.Log.Error(err)
			l.watcher.Resume()
			return
		case pid == 0:
			l.watcher.Resume()
			return
		}
		if main, _ := l.machine.Main(); l.WarnOnReap && pid != main.PID {
			l.Log.Warnf("reaped orphan pid %d: %s", pid, status)
		}
		l.step(ChildExited{PID: pid, Status: status})
		if l.exit != nil {
			return
		}
	}
	l.watcher.Resume()
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
