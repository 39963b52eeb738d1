// Command graceinit is an init for containers. It reaps orphans, forwards signals, hands out the app's exit
// code, and lets a server be replaced by a new binary without losing a request.
//
// A signal's way: main subscribes (internal/signals), Loop.Run receives it (internal/lifecycle/loop.go),
// Machine.Step decides (machine.go), effects carry it out (effects.go), and run returns the exit code.
package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/config"
	"github.com/graceinit/graceinit/internal/logging"
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
	if code, ok := runCommand(os.Args); ok {
		os.Exit(code)
	}
	inherited := signals.ReadInherited()
	received, err := signals.Subscribe() // before anything that could take time: see there
	os.Exit(run(inherited, received, err))
}

func run(inherited signals.Inherited, received *signals.Subscription, err error) int {
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
		fmt.Print("\nCommands, for a running init (see graceinit COMMAND --help):\n ")
		for _, c := range commands.Table {
			fmt.Print(" ", c.Name)
		}
		fmt.Println("\nTo run a program of such a name: graceinit -- NAME")
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
	for _, err := range config.Misspelt(os.Environ()) {
		log.Warn(err)
	}
	if err := inv.Settings.GraceError(); err != nil {
		log.Warn(err)
	}
	time.AfterFunc(shortLife, tuneRuntime)
	loop, err := newLoop(&inv, inherited, received, log)
	if err != nil {
		log.Error(err)
		leaveTerminationMessage(inv.Settings.TerminationLog, err.Error(), log)
		return upgrade.CodeNotStarted
	}
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

// pause keeps namespaces alive for others and reaps for them: ignoring SIGCHLD, the kernel discards the
// zombies by itself (wait(2), NOTES).
func pause(received *signals.Subscription) int {
	_ = signals.Ignore(signals.Signal(syscall.SIGCHLD))
	_ = os.Chdir("/") // keep no file system busy
	go received.Deliver()
	for s := range received.C {
		if s := syscall.Signal(s); s == syscall.SIGINT || s == syscall.SIGTERM {
			return 0
		}
	}
	return 0
}
