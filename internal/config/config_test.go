package config

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kelseyhightower/envconfig"

	"github.com/graceinit/graceinit/internal/signals"
)

func load(t *testing.T, args ...string) Invocation {
	t.Helper()
	inv, err := Load(args)
	if err != nil {
		t.Fatalf("Load(%q): %v", args, err)
	}
	return inv
}

func TestDefaults(t *testing.T) {
	s := load(t, "graceinit", "app").Settings
	want := Settings{
		Upgrade: ModeAuto, UpgradeSignal: 12, ShutdownSignals: SignalList{15},
		StopTimeout: Duration(25 * time.Second), DrainTimeout: Duration(time.Minute), KillTimeout: Duration(3 * time.Second),
		ReadyTimeout: Duration(time.Minute), Settle: Duration(2 * time.Second),
		Probation: Duration(30 * time.Second), FDStoreMax: 4096, LogFormat: FormatText, TerminationLog: "/dev/termination-log",
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	var tagged Settings
	if err := envconfig.Process("", &tagged); err != nil || !reflect.DeepEqual(tagged, s) {
		t.Errorf("the tags say %+v, %v\nwant          %+v", tagged, err, s)
	}
}

// The app's own variables may be called anything.
func TestVariablesOfOthers(t *testing.T) {
	for _, o := range options(&Settings{}) {
		t.Setenv(strings.TrimPrefix(EnvName(o.long), "GRACEINIT_"), "not ours")
	}
	t.Setenv("GRACEINIT_SETTLE", "2s") // so that the environment is read
	if s := load(t, "graceinit", "app").Settings; !reflect.DeepEqual(s, defaults()) {
		t.Errorf("%+v", s)
	}
}

func TestCommandBeginsAtTheFirstNonOption(t *testing.T) {
	for _, args := range [][]string{
		{"graceinit", "app", "-v", "--help"},
		{"graceinit", "--", "app", "-v", "--help"},
		{"graceinit", "-s", "--", "app", "-v", "--help"},
		{"graceinit", "-sg", "app", "-v", "--help"},
		{"graceinit", "--settle", "1s", "app", "-v", "--help"},
	} {
		if got := strings.Join(load(t, args...).Command, " "); got != "app -v --help" {
			t.Errorf("%q: command %q", args, got)
		}
	}
	if got := load(t, "graceinit", "--", "--app").Command[0]; got != "--app" {
		t.Errorf("command %q", got)
	}
}

func TestShortOptions(t *testing.T) {
	s := load(t, "tini", "-vvwg", "-e143", "-e", "2", "-pTERM", "app").Settings
	if s.Verbose != 2 || !bool(s.WarnOnReap) || !bool(s.Group) || !s.RemapExit[143] || !s.RemapExit[2] || s.ParentDeathSignal != 15 {
		t.Errorf("%+v", s)
	}
	s = load(t, "dumb-init", "-r", "15:3", "--rewrite=USR1:0", "-c", "app").Settings
	if s.Rewrite[15] != 3 || s.Rewrite[10] != 0 || len(s.Rewrite) != 2 || bool(s.Group) {
		t.Errorf("%+v", s)
	}
}

func TestAFlagWinsOverTheEnvironment(t *testing.T) {
	t.Setenv("GRACEINIT_STOP_TIMEOUT", "7s")
	t.Setenv("GRACEINIT_SHUTDOWN_SIGNAL", "TERM,PWR")
	if s := load(t, "graceinit", "app").Settings; s.StopTimeout != Duration(7*time.Second) || len(s.ShutdownSignals) != 2 {
		t.Errorf("environment: %+v", s)
	}
	s := load(t, "graceinit", "--stop-timeout=8s", "--shutdown-signal=HUP", "--shutdown-signal=INT", "app").Settings
	if s.StopTimeout != Duration(8*time.Second) || !reflect.DeepEqual(s.ShutdownSignals, SignalList{1, 2}) {
		t.Errorf("flags: %+v", s)
	}
}

// A setting that had no environment variable, or whose two names differ, would be a trap.
func TestEveryFlagIsAnEnvironmentVariable(t *testing.T) {
	sample := map[string]string{"TIME": "5s", "SIG": "HUP", "MODE": "off", "PATH": "/x", "S:R": "1:2", "N": "3", "FORMAT": "json", "LEVEL": "warn", "": "true",
		"URL": "tcp://:8080,name=http", "NAME": "nginx", "USER": "1:2", "CMD": "nginx -t", "PROBE": "exec:true", "ADDRESS": "@x", "KEY": "RW"}
	for _, o := range options(&Settings{}) {
		if o.request != Run {
			continue
		}
		t.Run(o.long, func(t *testing.T) {
			t.Setenv(EnvName(o.long), sample[o.arg])
			fromEnv, err := Load([]string{"graceinit", "--help"})
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"graceinit", "--" + o.long}
			if o.arg != "" {
				args = append(args, sample[o.arg])
			}
			_ = os.Unsetenv(EnvName(o.long)) // t.Setenv restores it
			fromFlag, err := Load(append(args, "--help"))
			if err != nil {
				t.Fatal(err)
			}
			if o.long != "verbose" && !reflect.DeepEqual(fromEnv.Settings, fromFlag.Settings) {
				t.Errorf("environment %+v\nflag        %+v", fromEnv.Settings, fromFlag.Settings)
			}
		})
	}
}

func TestPersonas(t *testing.T) {
	for _, name := range []string{"tini", "/sbin/tini", "tini-static", "dumb-init", "/usr/bin/catatonit"} {
		inv := load(t, name, "app")
		if inv.Settings.Upgrade != ModeOff || !inv.Persona.Passive {
			t.Errorf("%s: %+v", name, inv)
		}
		if inv := load(t, name, "--upgrade=auto", "app"); inv.Settings.Upgrade != ModeAuto {
			t.Errorf("%s: a flag cannot switch upgrades on", name)
		}
	}
	for _, name := range []string{"graceinit", "/sbin/docker-init", "anything"} {
		if inv := load(t, name, "app"); inv.Settings.Upgrade != ModeAuto || inv.Persona.Passive {
			t.Errorf("%s: %+v", name, inv)
		}
	}
	dumb := load(t, "dumb-init", "app")
	if !bool(dumb.Settings.Group) || !dumb.Persona.Setsid || dumb.Settings.Rewrite[20] != 19 {
		t.Errorf("dumb-init: %+v", dumb)
	}
	t.Setenv("DUMB_INIT_SETSID", "0")
	if dumb := load(t, "dumb-init", "app"); bool(dumb.Settings.Group) || dumb.Persona.Setsid {
		t.Errorf("dumb-init without a session: %+v", dumb)
	}
	t.Setenv("TINI_SUBREAPER", "")
	t.Setenv("TINI_KILL_PROCESS_GROUP", "")
	t.Setenv("TINI_VERBOSITY", "3")
	if s := load(t, "tini", "app").Settings; !bool(s.Subreaper) || !bool(s.Group) || s.Verbose != 2 {
		t.Errorf("tini by environment: %+v", s)
	}
}

func TestUsageErrorsNameWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"graceinit"}, "no command to run"},
		{[]string{"graceinit", ""}, "the command is empty"},
		{[]string{"graceinit", "-P", "app"}, "--pause runs no command"},
		{[]string{"graceinit", "--settle"}, "option --settle needs an argument"},
		{[]string{"graceinit", "--group=perhaps", "app"}, `option --group: "perhaps" is neither true nor false`},
		{[]string{"graceinit", "-gc", "app"}, "exclude each other"},
		{[]string{"graceinit", "--upgrade-signal=TERM", "app"}, "both --upgrade-signal and --shutdown-signal"},
		{[]string{"graceinit", "--upgrade-signal=KILL", "app"}, "SIGKILL cannot be caught"},
		{[]string{"graceinit", "--rewrite", "15", "app"}, "not of the form S:R"},
	} {
		_, err := Load(c.args)
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestHelpListsEverySetting(t *testing.T) {
	var help bytes.Buffer
	WriteHelp(&help)
	for _, o := range options(&Settings{}) {
		if !strings.Contains(help.String(), "--"+o.long) {
			t.Errorf("--%s is missing", o.long)
		}
	}
	for line := range strings.Lines(help.String()) {
		if len(line) > 110 {
			t.Errorf("long line: %q", line)
		}
	}
}

func FuzzFlags(f *testing.F) {
	f.Add("-v\n-e\n3\napp")
	f.Add("--rewrite=15:3\n--\napp")
	f.Add("-pTERM\n--settle\n1s\nx")
	f.Fuzz(func(t *testing.T, joined string) {
		inv, err := Load(append([]string{"graceinit"}, strings.Split(joined, "\n")...))
		if err != nil {
			if !errors.Is(err, ErrUsage) {
				t.Errorf("%q: %v is not a usage error", joined, err)
			}
			return
		}
		if inv.Request == Run && !bool(inv.Settings.Pause) && len(inv.Command) == 0 {
			t.Errorf("%q: no command and no error", joined)
		}
		for from, to := range inv.Settings.Rewrite {
			if from < 1 || from > signals.Last || to < 0 || to > signals.Last {
				t.Errorf("%q: rewrite %d:%d", joined, from, to)
			}
		}
	})
}

func TestSpawnSettings(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen", ":8080", "--upgrade=forward"}, "exclude each other"},
		{[]string{"--listen", ":8080", "--reparent"}, "--reparent is for an app that upgrades itself"},
		{[]string{"--upgrade=spawn", "--pid-file=/x"}, "--pid-file is for an app that upgrades itself"},
		{[]string{"--upgrade=forward", "--stop-first"}, "--stop-first needs"},
		{[]string{"--listen", ":8080", "--ready", "tcp:8080"}, "a connection proves nothing"},
		{[]string{"--listen", "/run/x.sock", "--ready", "unix:/run/x.sock"}, "a connection proves nothing"},
		{[]string{"--ready", "tcp:x"}, "port"},
		{[]string{"--ready", "http:x"}, "is none of"},
		{[]string{"--check", " "}, "the command is empty"},
		{[]string{"--fd-store-max", "-1"}, "not a number"},
	} {
		if _, err := Load(append(append([]string{"graceinit"}, c.args...), "app")); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		}
	}
	s := load(t, "graceinit", "--check=nginx -t", "--ready=exec:curl -f 'http://x'", "--predecessor-signal=none", "app").Settings
	if !reflect.DeepEqual(s.Check, Command{"nginx", "-t"}) || len(s.Ready.Command) != 3 || s.Ready.Command[0] != "/bin/sh" ||
		!s.PredecessorSignal.Given || s.PredecessorSignal.Signal != 0 {
		t.Errorf("%+v", s)
	}
}

func TestMisspelt(t *testing.T) {
	errs := Misspelt([]string{"GRACEINIT_PROBATOIN=3s", "GRACEINIT_PROBATION=3s", "GRACEINIT_PORT=tcp://10.0.0.1:80", "GRACEINIT_SERVICE_HOST=10.0.0.1",
		"GRACEINIT_GENERATION=1", "GRACEINIT_LISTN=tcp://:80", "PROBATOIN=1", "GRACEINIT_"})
	if len(errs) != 2 || !strings.Contains(errs[0].Error(), "GRACEINIT_PROBATOIN is no setting and was ignored: did you mean GRACEINIT_PROBATION?") ||
		!strings.Contains(errs[1].Error(), "GRACEINIT_LISTEN?") {
		t.Error(errs)
	}
}
