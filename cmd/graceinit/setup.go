package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/graceinit/graceinit/internal/account"
	"github.com/graceinit/graceinit/internal/config"
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/lifecycle"
	"github.com/graceinit/graceinit/internal/listen"
	"github.com/graceinit/graceinit/internal/minisign"
	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/upgrade"
)

// newLoop opens everything that the life needs, before anything is started. Its errors are for the user to mend.
func newLoop(inv *config.Invocation, inherited signals.Inherited, received *signals.Subscription, log *logrus.Logger) (*lifecycle.Loop, error) {
	s := &inv.Settings
	listeners, err := openListeners(s)
	if err != nil {
		return nil, err
	}
	user, err := lookupUser(s.User)
	if err != nil {
		return nil, err
	}
	loop := &lifecycle.Loop{
		Config:       machineConfig(inv, len(listeners)),
		PIDFile:      s.PIDFile,
		Version:      version,
		Listeners:    listeners,
		Dialects:     s.Dialects,
		Check:        s.Check,
		ProbeCommand: s.Ready.Command,
		ProbeAddress: s.Ready.Address,
		Signals:      received.C,
		Deliver:      []func(){received.Deliver},
		Log:          log,
		WarnOnReap:   bool(s.WarnOnReap),
		OnQuiet:      settle,
	}
	if bool(s.StopFirst) && !loop.Config.Spawn {
		log.Warn("--stop-first has no effect: without --listen or --upgrade=spawn the app upgrades itself")
	}
	if loop.Config.Spawn { // elsewhere there is no generation to give them to
		loop.StoreMax = int(s.FDStoreMax)
	}
	server, err := listenForRequests(s, log)
	if err != nil {
		return nil, err
	}
	if server != nil {
		loop.Requests = server.Requests()
		loop.Deliver = append(loop.Deliver, server.Serve)
		loop.AtExit = append(loop.AtExit, server.Close)
	}
	env := os.Environ()
	if (s.Upgrade != config.ModeOff || loop.Config.Spawn) && s.Notify != "off" {
		switch socket, err := notify.Listen(s.Notify); {
		case err != nil && s.Notify != "":
			return nil, err
		case err != nil:
			log.Warnf("%v; the app cannot say that it is ready", err)
		default:
			loop.AtExit = append(loop.AtExit, func() { _ = socket.Close() })
			// The service manager outside, of podman --sdnotify for example, is told what the main process says.
			loop.RelayTo = os.Getenv("NOTIFY_SOCKET")
			notifications := make(chan lifecycle.Notified)
			loop.Notifications = notifications
			loop.Deliver = append(loop.Deliver, func() { receive(socket, notifications, log) })
			env = upgrade.Setenv(env, "NOTIFY_SOCKET", socket.Path)
		}
	}
	if s.Watchdog > 0 {
		env = upgrade.Setenv(upgrade.Setenv(env, "WATCHDOG_PID", ""), "WATCHDOG_USEC", fmt.Sprint(time.Duration(s.Watchdog).Microseconds()))
	}
	if user != nil && user.Home != "" {
		env = upgrade.Setenv(env, "HOME", user.Home)
	}
	loop.Program = &upgrade.Program{
		Args:          inv.Command,
		Env:           env,
		Dir:           upgrade.Dir(),
		Inherited:     inherited,
		User:          user,
		Setsid:        inv.Persona.Setsid,
		Reparent:      bool(s.Reparent),
		ReparentUntil: s.UpgradeSignal,
		Guard:         loop.Config.Spawn && os.Getpid() != 1,
	}
	return loop, nil
}

// openListeners opens what the settings ask for, and takes what was passed to us by systemd's protocol, unless the
// app is to upgrade itself.
func openListeners(s *config.Settings) ([]listen.Listener, error) {
	var listeners []listen.Listener
	if s.Upgrade == config.ModeAuto || s.Upgrade == config.ModeSpawn {
		var err error
		listeners, err = listen.Inherited(os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDNAMES"))
		if err != nil {
			return nil, err
		}
	}
	opened, err := listen.OpenAll(s.Listen)
	return append(listeners, opened...), err
}

// lookupUser finds whom the app is to run as, nil for our own user.
func lookupUser(setting string) (*upgrade.User, error) {
	if setting == "" {
		return nil, nil
	}
	name, group, hasGroup := strings.Cut(setting, ":")
	u, err := account.LookupUser(name)
	if err != nil {
		return nil, fmt.Errorf("--user %s: %w", setting, err)
	}
	user := &upgrade.User{UID: u.UID, GID: u.GID, Home: u.Home}
	if hasGroup { // as Docker's USER has it: then there are no supplementary groups
		if user.GID, err = account.LookupGroup(group); err == nil {
			user.Groups = []int{user.GID}
		}
	} else {
		user.Groups, err = account.Groups(u)
	}
	if err != nil {
		return nil, fmt.Errorf("--user %s: %w", setting, err)
	}
	return user, nil
}

// listenForRequests opens the control socket. That is fatal only where it was asked for; a second init in a
// namespace goes without.
func listenForRequests(s *config.Settings, log *logrus.Logger) (*control.Server, error) {
	key, err := verifyKey(s.VerifyKey)
	if err != nil || s.Control == "off" {
		return nil, err
	}
	server, err := control.Listen(s.Control, key)
	if err != nil && s.Control != "" {
		return nil, err
	}
	if err != nil {
		log.Warnf("%v; going without a control socket", err)
		return nil, nil
	}
	return server, nil
}

// verifyKey reads the public key, which is the setting itself or the file that it names.
func verifyKey(setting string) (*minisign.PublicKey, error) {
	if setting == "" {
		return nil, nil
	}
	text := setting
	if strings.ContainsAny(setting, "/.") && !strings.HasPrefix(setting, "RW") {
		file, err := os.ReadFile(setting)
		if err != nil {
			return nil, fmt.Errorf("--verify-key: %w", err)
		}
		text = string(file)
	}
	key, err := minisign.ParsePublicKey(text)
	if err != nil {
		return nil, fmt.Errorf("--verify-key %s: %w", setting, err)
	}
	return key, nil
}

// receive hands on what apps say of themselves. A sender that waits for its fds to be closed (BARRIER=1) is still
// there to be looked at.
func receive(socket *notify.Socket, to chan<- lifecycle.Notified, log *logrus.Logger) {
	for {
		m, err := socket.Receive()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			log.Debug(err)
			time.Sleep(100 * time.Millisecond) // what it is may last
			continue
		}
		to <- lifecycle.Notified{Lineage: procfs.Lineage(m.Sender), Message: m}
	}
}

func machineConfig(inv *config.Invocation, listeners int) lifecycle.Config {
	s, p := &inv.Settings, &inv.Persona
	c := lifecycle.Config{
		Upgrades:          s.Upgrade != config.ModeOff,
		Insist:            s.Upgrade == config.ModeForward,
		Spawn:             s.Spawns(listeners),
		StopFirst:         bool(s.StopFirst),
		HasCheck:          len(s.Check) > 0,
		HasProbe:          s.Ready.Given(),
		ProbeRuns:         len(s.Ready.Command) > 0,
		HoldsListeners:    listeners > 0,
		UpgradeSignal:     s.UpgradeSignal,
		PredecessorSignal: s.PredecessorSignal.Signal,
		KeepsPredecessor:  s.PredecessorSignal.Given,
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
		Probation:         time.Duration(s.Probation),
		Watchdog:          time.Duration(s.Watchdog),
	}
	for _, sig := range s.ShutdownSignals {
		c.ShutdownSignals[sig] = true
	}
	for _, sig := range p.Dropped {
		c.Dropped[sig] = true
	}
	return c
}
