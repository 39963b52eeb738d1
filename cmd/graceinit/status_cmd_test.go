package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/internal/control"
)

// full is a status with everything in it.
func full() *control.Status {
	started, connections := time.Now().Add(-90*time.Minute), 7
	return &control.Status{
		Version: "1.2.3", PID: 1, Started: started, Mode: "spawn", State: "upgrading", Generation: 2,
		Main:        &control.Process{PID: 41, Generation: 2, Since: started, Executable: "/app", Said: "warming up"},
		Successor:   &control.Process{PID: 43, Generation: 3, Since: started},
		Predecessor: &control.Process{PID: 7, Generation: 1, Since: started},
		Upgrade:     &control.Progress{Upgrade: 5, Step: control.StepDraining, Connections: &connections},
		LastUpgrade: &control.Progress{Upgrade: 4, Step: control.StepForced, Final: true, Ready: 0.25, Drain: 60, Reason: "too slow"},
		Probation:   12.5, CanRollBack: true,
		Listeners: []control.Listener{{Name: "http", URL: "tcp://:8080"}, {Name: "admin", URL: "unix:///run/admin"}},
		Store:     []control.Stored{{Name: "conns", FDs: 12}, {Name: "state", FDs: 1}},
		Counters:  control.Counters{Upgrades: map[control.Step]int{control.StepInPlace: 3}, Reaped: 100000, Kills: 2},
	}
}

func TestStatusCommand(t *testing.T) {
	serve(t, replies(control.Line{Status: full()}))
	stdout, stderr, code := command(t, "", "status")
	if code != 0 || stderr != "" {
		t.Errorf("%d, %s", code, stderr)
	}
	for _, want := range []string{
		"graceinit    1.2.3, pid 1, for 1h30m0s\n", "state        upgrading, not ready\n",
		"main         generation 2, pid 41, for 1h30m0s\n             runs /app\n", `says "warming up"`, "successor    generation 3, pid 43",
		"predecessor  generation 1, pid 7", "7 connections left", "upgrade 4 forced", "too slow", "probation    12.5s more",
		"rollback     possible", "listener     http tcp://:8080\n", "stored       12 fds named conns\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	stdout, _, code = command(t, "", "status", "--json")
	var line control.Line
	if err := json.Unmarshal([]byte(stdout), &line); err != nil || code != 0 || line.Status.Counters.Reaped != 100000 {
		t.Errorf("--json: %d, %v, %s", code, err, stdout)
	}
	if stdout, _, code := command(t, "", "status", "--ready"); code != 1 || stdout != "not ready: upgrading\n" {
		t.Errorf("--ready: %d, %s", code, stdout)
	}
	if stdout, _, code := command(t, "", "status", "--ready", "--json"); code != 1 || !strings.HasPrefix(stdout, "{") {
		t.Errorf("--ready --json: %d, %s", code, stdout)
	}
	ready := full()
	ready.Ready = true
	serve(t, replies(control.Line{Status: ready}))
	if stdout, _, code := command(t, "", "status", "--ready"); code != 0 || stdout != "ready\n" {
		t.Errorf("--ready: %d, %s", code, stdout)
	}
}

// The least that an init can say must not stop the command.
func TestAnEmptyStatus(t *testing.T) {
	serve(t, replies(control.Line{Status: &control.Status{}}))
	for _, args := range []string{"status", "metrics", "status --json"} {
		if _, stderr, code := command(t, "", strings.Fields(args)...); code != 0 {
			t.Errorf("%s: %d, %s", args, code, stderr)
		}
	}
}

func TestWatch(t *testing.T) {
	ready := full()
	ready.Ready = true
	serve(t, replies(control.Line{Status: full()}, control.Line{Status: full()}, control.Line{Status: ready},
		progress(control.Progress{Step: control.StepHeld})))
	stdout, stderr, code := command(t, "", "status", "--watch")
	want := "upgrading, generation 2, pid 41\nupgrading, generation 2, pid 41, ready\nupgrade 4, 0s: held\n"
	if code != control.CodeNoInit || stdout != want || !strings.Contains(stderr, "went away") {
		t.Errorf("%d, %s\n%s\nwant\n%s", code, stderr, stdout, want)
	}
	if stdout, _, _ := command(t, "", "status", "--watch", "--json"); strings.Count(stdout, "\n") != 4 {
		t.Errorf("--json:\n%s", stdout)
	}
}

func TestMetrics(t *testing.T) {
	st := full()
	st.Version = "1\\2\"3\n4"
	text := renderMetrics(st)
	samples, err := parseExposition(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for name, want := range map[string]float64{
		`graceinit_info{version="1\\2\"3\n4",mode="spawn"}`: 1,
		"graceinit_generation":                              2,
		"graceinit_ready":                                   0,
		"graceinit_upgrade_in_progress":                     1,
		`graceinit_upgrades_total{outcome="done_in_place"}`: 3,
		`graceinit_upgrades_total{outcome="rolled_back"}`:   0,
		"graceinit_last_upgrade_ready_seconds":              0.25,
		"graceinit_last_upgrade_drain_seconds":              60,
		"graceinit_probation_remaining_seconds":             12.5,
		"graceinit_predecessor_connections":                 7,
		"graceinit_reaped_orphans_total":                    100000,
		"graceinit_kills_total":                             2,
		"graceinit_listeners":                               2,
		"graceinit_stored_fds":                              13,
		"graceinit_start_time_seconds":                      float64(st.Started.UnixMilli()) / 1000,
	} {
		if got, ok := samples[name]; !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", name, got, ok, want)
		}
	}
	for _, bad := range []string{"x 1\n", "# TYPE x gauge\nx 1\n", "# HELP x h\n# TYPE x gauge\nx 1", "# HELP x h.\n# TYPE x counter\nx 1\n", text + text} {
		if _, err := parseExposition(bad); err == nil {
			t.Errorf("the parser of this test takes %q", bad)
		}
	}
}

var (
	sampleLine = regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="([^"\\\n]|\\[\\"n])*"(,[a-z]+="([^"\\\n]|\\[\\"n])*")*\})? ([0-9.]+)$`)
	familyLine = regexp.MustCompile(`^# (HELP|TYPE) ([a-z_]+) (.+)$`)
)

// parseExposition is strict: what it takes, promtool check metrics takes as well.
func parseExposition(text string) (map[string]float64, error) {
	samples, seen := map[string]float64{}, map[string]bool{}
	var family, kind string
	if !strings.HasSuffix(text, "\n") {
		return nil, errors.New("no newline at the end")
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if m := familyLine.FindStringSubmatch(line); m != nil {
			switch {
			case m[1] == "HELP" && seen[m[2]]:
				return nil, fmt.Errorf("family %s comes twice", m[2])
			case m[1] == "HELP":
				family, kind, seen[m[2]] = m[2], "", true
			case m[2] != family || m[3] != "gauge" && m[3] != "counter":
				return nil, fmt.Errorf("type without help, or unknown: %q", line)
			default:
				kind = m[3]
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || m[1] != family || kind == "" {
			return nil, fmt.Errorf("not a sample of family %s: %q", family, line)
		}
		if (kind == "counter") != strings.HasSuffix(family, "_total") {
			return nil, fmt.Errorf("a %s cannot be named %s", kind, family)
		}
		value, err := strconv.ParseFloat(m[6], 64)
		if _, twice := samples[m[1]+m[2]]; err != nil || twice {
			return nil, fmt.Errorf("bad value, or twice: %q", line)
		}
		samples[m[1]+m[2]] = value
	}
	return samples, nil
}
