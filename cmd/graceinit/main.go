// Command graceinit is an init for containers. It reaps orphans, forwards signals, hands out the app's exit
// code, and lets a server be replaced by a new binary without losing a request.
//
// A signal's way: main subscribes (internal/signals), Loop.Run receives it (internal/lifecycle/loop.go),
// Machine.Step decides (machine.go), effects carry it out (effects.go), and run returns the exit code.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/config"
	"github.com/graceinit/graceinit/internal/lifecycle"
	"github.com/graceinit/graceinit/internal/logging"
	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// version is set by the build.
var version = "devel"

func main() {
	if upgrade.ShimRequested() {
		upgrade.RunShim()
	}
	inherited := signals.ReadInherited()
	received, err := signals.Subscribe() // before anything that could take time: see there
	os.Exit(run(inherited, received, err))
}

func run(inherited signals.Inherited, received <-chan signals.Signal, err error) int {
	stderr := logging.NewWriter(2)
	defer stderr.Flush(time.Second)

	var inv config.Invocation
	if err == nil {
		inv, err = config.Load(os.Args)
	}
	if err != nil {
		fmt.Fprintf(stderr, "graceinit: %v\n", err)
		return upgrade.CodeNotStarted
	}
	switch inv.Request {
	case config.ShowHelp:
		config.WriteHelp(os.Stdout)
		return 0
	case config.ShowVersion:
		fmt.Printf("graceinit version %s\n", version)
		return 0
	case config.ShowLicense:
		_, _ = io.WriteString(os.Stdout, license)
		return 0
	}
	log := newLogger(&inv.Settings, stderr)
	if err := becomeInit(&inv, log); err != nil {
		log.Error(err)
		return upgrade.CodeNotStarted
	}
	if inv.Settings.Pause {
		return pause(received)
	}
	time.AfterFunc(shortLife, tuneRuntime)
	loop := newLoop(&inv, inherited, received, log)
	code, cause := loop.Run()
	if cause != "" {
		leaveTerminationMessage(inv.Settings.TerminationLog, cause, log)
	}
	if inv.Settings.RemapExit[code] {
		code = 0
	}
	return code
}

// becomeInit asks the kernel for what an init needs. Only what was asked for explicitly is fatal.
func becomeInit(inv *config.Invocation, log *logrus.Logger) error {
	if sig := inv.Settings.ParentDeathSignal; sig != 0 {
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(sig), 0, 0, 0); err != nil {
			return fmt.Errorf("cannot set the parent death signal: %w", err)
		}
	}
	if os.Getpid() == 1 || inv.Persona.NoSubreaper && !bool(inv.Settings.Subreaper) {
		return nil
	}
	if err := reaper.Subreap(); err != nil {
		if inv.Settings.Subreaper {
			return err
		}
		log.Warnf("orphans are not reaped here: %v", err)
		return nil
	}
	log.Debugf("not PID 1 but %d: running as a child subreaper", os.Getpid())
	return nil
}

func newLoop(inv *config.Invocation, inherited signals.Inherited, received <-chan signals.Signal, log *logrus.Logger) *lifecycle.Loop {
	s := &inv.Settings
	env := os.Environ()
	loop := &lifecycle.Loop{
		Config:     machineConfig(inv),
		PIDFile:    s.PIDFile,
		Signals:    received,
		Log:        log,
		WarnOnReap: bool(s.WarnOnReap),
		OnQuiet:    settle,
	}
	// A NOTIFY_SOCKET from outside (podman --sdnotify) is the app's to talk to.
	if _, set := os.LookupEnv("NOTIFY_SOCKET"); s.Upgrade != config.ModeOff && !set {
		socket, err := notify.Listen()
		if err != nil {
			log.Warnf("%v; the app cannot say that it is ready", err)
		} else {
			env = append(env, "NOTIFY_SOCKET="+socket.Path)
			loop.Notifications = receive(socket, log)
		}
	}
	loop.Program = &upgrade.Program{
		Args:          inv.Command,
		Env:           env,
		Inherited:     inherited,
		Setsid:        inv.Persona.Setsid,
		Reparent:      bool(s.Reparent),
		ReparentUntil: s.UpgradeSignal,
	}
	return loop
}

// receive hands on what apps say of themselves.
func receive(socket *notify.Socket, log *logrus.Logger) <-chan lifecycle.Notified {
	c := make(chan lifecycle.Notified)
	go func() {
		for {
			var lineage []int
			m, err := socket.Receive(func(sender int) { lineage = procfs.Lineage(sender) })
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				log.Debug(err)
				continue
			}
			if m.Status != "" {
				log.WithField("sender", m.Sender).Debugf("status: %q", m.Status)
			}
			c <- lifecycle.Notified{Lineage: lineage, Ready: m.Ready, MainPID: m.MainPID}
		}
	}()
	return c
}

func machineConfig(inv *config.Invocation) lifecycle.Config {
	s, p := &inv.Settings, &inv.Persona
	c := lifecycle.Config{
		Upgrades:          s.Upgrade != config.ModeOff,
		Insist:            s.Upgrade == config.ModeForward,
		UpgradeSignal:     s.UpgradeSignal,
		PredecessorSignal: s.PredecessorSignal,
		HasPIDFile:        s.PIDFile != "",
		ShutdownSignals:   map[signals.Signal]bool{},
		StopSignal:        s.StopSignal,
		Rewrite:           s.Rewrite,
		Dropped:           map[signals.Signal]bool{},
		Group:             bool(s.Group),
		Passive:           p.Passive,
		SweepGroup:        p.Setsid,
		Suspend:           p.Suspend,
		DrainDelay:        time.Duration(s.DrainDelay),
		StopTimeout:       time.Duration(s.StopTimeout),
		DrainTimeout:      time.Duration(s.DrainTimeout),
		KillTimeout:       time.Duration(s.KillTimeout),
		ReadyTimeout:      time.Duration(s.ReadyTimeout),
		Settle:            time.Duration(s.Settle),
	}
	for _, sig := range s.ShutdownSignals {
		c.ShutdownSignals[sig] = true
	}
	for _, sig := range p.Dropped {
		c.Dropped[sig] = true
	}
	return c
}

// pause keeps namespaces alive for others and reaps for them: ignoring SIGCHLD, the kernel discards the
// zombies by itself (wait(2), NOTES).
func pause(received <-chan signals.Signal) int {
	_ = signals.Ignore(signals.Signal(syscall.SIGCHLD))
	_ = os.Chdir("/") // keep no file system busy
	for s := range received {
		if s := syscall.Signal(s); s == syscall.SIGINT || s == syscall.SIGTERM {
			return 0
		}
	}
	return 0
}
