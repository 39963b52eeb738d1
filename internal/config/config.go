// Package config turns flags and environment variables into the settings of the init.
//
// Settings is the one place where a setting is defined: its field holds the value, its tags the flag, the
// environment variable's default and the line that --help and the man page print. The environment is read
// by envconfig; flags are parsed here, by the rules of getopt(3), because the three inits whose command
// lines are to keep working stop at the first non-option and group short options.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kelseyhightower/envconfig"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/listen"
	"github.com/graceinit/graceinit/internal/signals"
)

// Settings are what a user can say. The zero value of a field means what its tag "default" says.
type Settings struct {
	Upgrade           Mode           `envconfig:"GRACEINIT_UPGRADE" flag:"upgrade" arg:"MODE" default:"auto" help:"what the upgrade signal does: spawn (graceinit starts the successor), forward (the app upgrades itself), auto (spawn if graceinit holds a listener, else forward if the main process would survive the signal), off (a signal like any other)"`
	UpgradeSignal     signals.Signal `envconfig:"GRACEINIT_UPGRADE_SIGNAL" flag:"upgrade-signal" arg:"SIG" default:"USR2" help:"the signal that triggers an upgrade"`
	PredecessorSignal OptionalSignal `envconfig:"GRACEINIT_PREDECESSOR_SIGNAL" flag:"predecessor-signal" arg:"SIG" help:"in an upgrade, sent once to the predecessor when the successor is ready (nginx: QUIT, gunicorn: TERM), or none, for an app that stops by itself (default: in mode spawn the stop signal, else none)"`
	PIDFile           string         `envconfig:"GRACEINIT_PID_FILE" flag:"pid-file" arg:"PATH" help:"the app's pid file; it names the main process of an app that daemonises, and the successor"`
	Reparent          Bool           `envconfig:"GRACEINIT_REPARENT" flag:"reparent" help:"start the app through an intermediate process that exits (nginx in the foreground needs it to upgrade)"`

	Listen     listen.Specs    `envconfig:"GRACEINIT_LISTEN" flag:"listen" arg:"URL" help:"hold a listener and pass it to every generation (repeatable): tcp://:8080, tcp4, tcp6, udp, unix:///path, unix://@name, unixgram, unixpacket; options after commas: name=, backlog=, reuseport, v6only, mode=, owner="`
	Dialects   listen.Dialects `envconfig:"GRACEINIT_DIALECT" flag:"dialect" arg:"NAME" help:"also tell the app of the listeners in this dialect (repeatable): server-starter, einhorn, nginx"`
	User       string          `envconfig:"GRACEINIT_USER" flag:"user" arg:"USER" help:"run the app as USER[:GROUP], names or numbers; graceinit itself keeps its own user"`
	Check      Command         `envconfig:"GRACEINIT_CHECK" flag:"check" arg:"CMD" help:"run CMD before an upgrade and refuse the upgrade if it fails (nginx -t)"`
	Ready      Probe           `envconfig:"GRACEINIT_READY" flag:"ready" arg:"PROBE" help:"how to see that a generation is ready: tcp:PORT, tcp:HOST:PORT, unix:PATH (somebody accepts connections there), exec:CMD (it exits with 0); READY=1 counts all the same"`
	StopFirst  Bool            `envconfig:"GRACEINIT_STOP_FIRST" flag:"stop-first" help:"in mode spawn, start the successor when the predecessor has gone; connections wait meanwhile (for apps of which only one may run)"`
	Probation  Duration        `envconfig:"GRACEINIT_PROBATION" flag:"probation" arg:"TIME" default:"30s" help:"in mode spawn, how long after it was ready a successor's death brings the predecessor's executable back"`
	Watchdog   Duration        `envconfig:"GRACEINIT_WATCHDOG" flag:"watchdog" arg:"TIME" help:"once it is ready, abort (SIGABRT) a main process that does not say WATCHDOG=1 at least so often"`
	FDStoreMax Number          `envconfig:"GRACEINIT_FD_STORE_MAX" flag:"fd-store-max" arg:"N" default:"4096" help:"in mode spawn, how many fds the app may store for later generations (FDSTORE=1)"`
	Notify     string          `envconfig:"GRACEINIT_NOTIFY" flag:"notify" arg:"ADDRESS" help:"the notification socket: a path, @name, or off (default: below /dev/shm, else an abstract socket)"`
	Control    string          `envconfig:"GRACEINIT_CONTROL" flag:"control" arg:"ADDRESS" help:"the control socket: a path, @name, or off (default: an abstract socket named after the PID namespace)"`
	VerifyKey  string          `envconfig:"GRACEINIT_VERIFY_KEY" flag:"verify-key" arg:"KEY" help:"a minisign public key, or the path of a file with one: binaries delivered by graceinit upgrade --binary must be signed with it"`

	ShutdownSignals SignalList     `envconfig:"GRACEINIT_SHUTDOWN_SIGNAL" flag:"shutdown-signal" arg:"SIG" default:"TERM" help:"begins the shutdown (repeatable)"`
	StopSignal      signals.Signal `envconfig:"GRACEINIT_STOP_SIGNAL" flag:"stop-signal" arg:"SIG" help:"what the app is sent on shutdown (default: the signal received)"`
	DrainDelay      Duration       `envconfig:"GRACEINIT_DRAIN_DELAY" flag:"drain-delay" arg:"TIME" default:"0s" help:"on shutdown, wait before the stop signal, while load balancers forget the endpoint"`
	GracePeriod     Duration       `envconfig:"GRACEINIT_GRACE_PERIOD" flag:"grace-period" arg:"TIME" help:"how long after the shutdown signal we will be killed (Kubernetes: terminationGracePeriodSeconds less what a preStop hook takes); a warning tells when the shutdown does not fit"`
	StopTimeout     Duration       `envconfig:"GRACEINIT_STOP_TIMEOUT" flag:"stop-timeout" arg:"TIME" default:"25s" help:"on shutdown, from the stop signal to SIGKILL"`
	DrainTimeout    Duration       `envconfig:"GRACEINIT_DRAIN_TIMEOUT" flag:"drain-timeout" arg:"TIME" default:"60s" help:"in an upgrade, from the start of the predecessor's drain to SIGKILL"`
	KillTimeout     Duration       `envconfig:"GRACEINIT_KILL_TIMEOUT" flag:"kill-timeout" arg:"TIME" default:"3s" help:"from SIGKILL to giving up"`
	ReadyTimeout    Duration       `envconfig:"GRACEINIT_READY_TIMEOUT" flag:"ready-timeout" arg:"TIME" default:"60s" help:"the successor's time to be ready"`
	Settle          Duration       `envconfig:"GRACEINIT_SETTLE" flag:"settle" arg:"TIME" default:"2s" help:"a successor that cannot say that it is ready counts as ready after so long"`

	Rewrite           Rewrites       `envconfig:"GRACEINIT_REWRITE" flag:"rewrite" short:"r" arg:"S:R" help:"pass signal S on as R; 0 drops it (repeatable)"`
	Group             Bool           `envconfig:"GRACEINIT_GROUP" flag:"group" short:"g" help:"signal the main process's whole group"`
	SingleChild       Bool           `envconfig:"GRACEINIT_SINGLE_CHILD" flag:"single-child" short:"c" help:"signal the main process only (dumb-init's option; our default)"`
	RemapExit         ExitCodes      `envconfig:"GRACEINIT_REMAP_EXIT" flag:"remap-exit" short:"e" arg:"N" help:"exit with 0 where the app exits with N (repeatable)"`
	ParentDeathSignal signals.Signal `envconfig:"GRACEINIT_PARENT_DEATH_SIGNAL" flag:"parent-death-signal" short:"p" arg:"SIG" help:"have the kernel send us SIG when our parent dies"`
	Subreaper         Bool           `envconfig:"GRACEINIT_SUBREAPER" flag:"subreaper" short:"s" help:"adopt orphans where we are not PID 1 (graceinit does so by itself)"`
	Pause             Bool           `envconfig:"GRACEINIT_PAUSE" flag:"pause" short:"P" help:"run no command; reap until SIGINT or SIGTERM"`

	LogFormat      Format `envconfig:"GRACEINIT_LOG_FORMAT" flag:"log-format" arg:"FORMAT" default:"text" help:"text or json"`
	LogLevel       Level  `envconfig:"GRACEINIT_LOG_LEVEL" flag:"log-level" arg:"LEVEL" help:"error, warn, info or debug (default: info; error on a terminal)"`
	Verbose        Count  `envconfig:"GRACEINIT_VERBOSE" flag:"verbose" short:"v" help:"log more (repeatable)"`
	WarnOnReap     Bool   `envconfig:"GRACEINIT_WARN_ON_REAP" flag:"warn-on-reap" short:"w" help:"log every orphan that is reaped"`
	TerminationLog string `envconfig:"GRACEINIT_TERMINATION_LOG" flag:"termination-log" arg:"PATH" default:"/dev/termination-log" help:"file for the cause of death, if it exists and can be written"`
}

// Request is what the command line asks for.
type Request uint8

const (
	Run Request = iota
	ShowHelp
	ShowVersion
	ShowLicense
)

// Invocation is a parsed command line.
type Invocation struct {
	Request  Request
	Settings Settings
	Persona  Persona
	Command  []string // what to run, empty only with Pause
}

// ErrUsage wraps every error that the user's command line or environment caused.
var ErrUsage = errors.New("bad usage")

// EnvPrefix begins the name of every setting's environment variable.
const EnvPrefix = "GRACEINIT"

// Load reads the environment and then the arguments, which win. args[0] chooses the persona.
func Load(args []string) (Invocation, error) {
	if len(args) == 0 {
		args = []string{"graceinit"} // execve(2) allows an empty argv
	}
	inv := Invocation{Settings: defaults(), Persona: personaOf(filepath.Base(args[0]))}
	if inEnvironment() {
		inv.Settings = Settings{}
		if err := envconfig.Process("", &inv.Settings); err != nil {
			return inv, usage(fromEnvironment(err))
		}
	}
	inv.Persona.apply(&inv.Settings, os.LookupEnv)
	request, command, err := parseFlags(args[1:], &inv.Settings)
	if err != nil {
		return inv, usage(err)
	}
	inv.Request, inv.Command = request, command
	if request != Run {
		return inv, nil
	}
	if err := inv.validate(); err != nil {
		return inv, usage(err)
	}
	inv.Persona.finish(&inv.Settings)
	return inv, nil
}

// defaults are what the tags say. To read those takes envconfig as long as the rest of the start, so that it is asked only
// where a setting is in the environment. A test compares the two.
func defaults() Settings {
	return Settings{
		Upgrade:         ModeAuto,
		UpgradeSignal:   signals.Signal(syscall.SIGUSR2),
		Probation:       Duration(30 * time.Second),
		FDStoreMax:      4096,
		ShutdownSignals: SignalList{signals.Signal(syscall.SIGTERM)},
		StopTimeout:     Duration(25 * time.Second),
		DrainTimeout:    Duration(60 * time.Second),
		KillTimeout:     Duration(3 * time.Second),
		ReadyTimeout:    Duration(60 * time.Second),
		Settle:          Duration(2 * time.Second),
		LogFormat:       FormatText,
		TerminationLog:  "/dev/termination-log",
	}
}

// inEnvironment reports whether a variable may be a setting's.
func inEnvironment() bool {
	return slices.ContainsFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, EnvPrefix+"_") })
}

func (inv *Invocation) validate() error {
	s := &inv.Settings
	switch {
	case len(inv.Command) > 0 && bool(s.Pause):
		return fmt.Errorf("--pause runs no command, but %q was given", inv.Command[0])
	case len(inv.Command) > 0 && inv.Command[0] == "":
		return errors.New("the command is empty (an unset variable in the ENTRYPOINT or CMD?)")
	case len(inv.Command) == 0 && !bool(s.Pause):
		return errors.New("no command to run (use: graceinit [flags] -- command [args])")
	case bool(s.Group) && bool(s.SingleChild):
		return errors.New("--group and --single-child exclude each other")
	case s.Upgrade != ModeOff && s.UpgradeSignal == 0:
		return errors.New("--upgrade-signal: no signal given (to switch upgrades off: --upgrade=off)")
	case s.Upgrade != ModeOff && contains(s.ShutdownSignals, s.UpgradeSignal):
		return fmt.Errorf("%s is both --upgrade-signal and --shutdown-signal", s.UpgradeSignal)
	}
	if err := inv.validateSpawn(); err != nil {
		return err
	}
	for _, sig := range append(SignalList{s.UpgradeSignal}, s.ShutdownSignals...) {
		if sig != 0 && signals.FateOf(sig) == signals.Never {
			return fmt.Errorf("%s cannot be caught, so it triggers nothing", sig)
		}
	}
	return nil
}

// Spawns reports whether graceinit itself starts the successor, if the listeners are those that it holds.
func (s *Settings) Spawns(listeners int) bool {
	return s.Upgrade == ModeSpawn || listeners > 0 && s.Upgrade != ModeForward
}

// validateSpawn checks the settings that depend on who carries out an upgrade. Listeners that were passed to us may
// decide about that too, but not against a setting.
func (inv *Invocation) validateSpawn() error {
	s := &inv.Settings
	spawns := s.Spawns(len(s.Listen))
	switch {
	case len(s.Listen) > 0 && s.Upgrade == ModeForward:
		return errors.New("--listen and --upgrade=forward exclude each other: an app that upgrades itself opens its listeners itself")
	case spawns && bool(s.Reparent):
		return errors.New("--reparent is for an app that upgrades itself; not with --listen or --upgrade=spawn")
	case spawns && s.PIDFile != "":
		return errors.New("--pid-file is for an app that upgrades itself or daemonises; with --listen or --upgrade=spawn let it run in the foreground")
	case s.Upgrade == ModeForward && bool(s.StopFirst):
		return errors.New("--stop-first needs --listen or --upgrade=spawn")
	}
	for _, l := range s.Listen {
		if port := l.TCPPort(); l.URL == s.Ready.url || port != 0 && port == s.Ready.port {
			return fmt.Errorf("--ready %s: graceinit itself holds that listener (%s), so a connection proves nothing; use READY=1, exec:, or another port", s.Ready.Text, l.URL)
		}
	}
	return nil
}

// Misspelt says which variables of an environment are close to a setting's, and none. Others that begin as ours do may be
// anybody's: of a Kubernetes service called graceinit, for example.
func Misspelt(environ []string) (errs []error) {
	var names []string
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, EnvPrefix+"_") {
			continue
		}
		if names == nil {
			for _, o := range options(&Settings{}) {
				names = append(names, EnvName(o.long))
			}
		}
		if meant := commands.Similar(name, names); meant != "" && meant != name {
			errs = append(errs, fmt.Errorf("%s is no setting and was ignored: did you mean %s?", name, meant))
		}
	}
	return errs
}

// GraceError says where the shutdown may last longer than it will be given.
func (s *Settings) GraceError() error {
	const margin = Duration(2 * time.Second) // for the rest to end, and the engine to notice
	need := s.DrainDelay + s.StopTimeout + s.KillTimeout + margin
	if s.GracePeriod == 0 || s.GracePeriod >= need {
		return nil
	}
	d := func(d Duration) time.Duration { return time.Duration(d) }
	return fmt.Errorf("the grace period of %s is too short for drain delay %s + stop timeout %s + kill timeout %s + %s: the app may be killed before "+
		"it has drained (give terminationGracePeriodSeconds and --grace-period %s, or lower --stop-timeout)",
		d(s.GracePeriod), d(s.DrainDelay), d(s.StopTimeout), d(s.KillTimeout), d(margin), d(need))
}

func usage(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUsage, err)
}

// fromEnvironment puts envconfig's error into our words: the variable, its value, what is wrong with it.
func fromEnvironment(err error) error {
	var parse *envconfig.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("%s=%s: %w", parse.KeyName, parse.Value, parse.Err)
	}
	return err
}

func contains(list SignalList, s signals.Signal) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}

// EnvName is the environment variable of a flag.
func EnvName(flag string) string {
	return EnvPrefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
