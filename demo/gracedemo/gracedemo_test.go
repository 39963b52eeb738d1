package gracedemo

import (
	"maps"
	"os"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

func TestInstallReplacesTheFileAndTheBuildIsKnown(t *testing.T) {
	a := &App{Dir: t.TempDir(), images: make([]os.FileInfo, 3)}
	for i, text := range []string{"", "one", "two"} {
		if err := os.WriteFile(a.build(i), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Install(1); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(a.path())
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := a.Install(2); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if n, _ := old.Read(b); string(b[:n]) != "one" {
		t.Errorf("the running program was changed to %q", b[:n])
	}
	if now, err := os.ReadFile(a.path()); err != nil || string(now) != "two" {
		t.Errorf("installed: %q, %v", now, err)
	}
	if os.SameFile(a.images[1], a.images[2]) {
		t.Error("the two builds are one file")
	}
	if err := a.Install(7); err == nil {
		t.Error("a build that does not exist was installed")
	}
}

func TestMergeShiftsTheClock(t *testing.T) {
	a := load.Result{Requests: 2, ByKind: map[load.Kind]int{load.Fresh: 2}, ByPID: map[string]int{"7": 2},
		Latency:  map[load.Kind]load.Latency{load.Fresh: {N: 2, Max: time.Millisecond}},
		Timeline: []load.Point{{OK: map[string]int{"7": 2}}}}
	b := load.Result{Requests: 3, ByKind: map[load.Kind]int{load.Slow: 3}, ByPID: map[string]int{"7": 1, "9": 1},
		Latency:  map[load.Kind]load.Latency{load.Slow: {N: 3, Max: time.Second}},
		Failures: []load.Failure{{Kind: load.Slow, At: 100 * time.Millisecond}},
		Timeline: []load.Point{{OK: map[string]int{"7": 1}}, {OK: map[string]int{"9": 1}, Failures: 1}}}
	merge(&a, b, 2*load.Bucket)
	if a.Requests != 5 || a.Failures[0].At != 300*time.Millisecond {
		t.Errorf("%+v", a)
	}
	if want := map[string]int{"7": 3, "9": 1}; !maps.Equal(a.ByPID, want) {
		t.Errorf("by pid %v, want %v", a.ByPID, want)
	}
	if n := len(a.Timeline); n != 4 || a.Timeline[2].OK["7"] != 1 || a.Timeline[3].OK["9"] != 1 || a.Timeline[3].Failures != 1 {
		t.Errorf("timeline %+v", a.Timeline)
	}
	if a.Latency[load.Slow].Max != time.Second || a.Latency[load.Fresh].N != 2 {
		t.Errorf("latency %+v", a.Latency)
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := freePorts(3)
	if err != nil || ports[0] == ports[1] || ports[1] == ports[2] || ports[0] == ports[2] {
		t.Errorf("%v, %v", ports, err)
	}
}

func TestRoot(t *testing.T) {
	if root, err := Root("."); err == nil {
		t.Errorf("a relative path leads to %s", root)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Root(dir); err != nil {
		t.Error(err)
	}
	if _, err := Root("/"); err == nil {
		t.Error("/ is no repository")
	}
}

func TestOnlyACrossingIsNoFailure(t *testing.T) {
	windows := []Window{{From: 1 * time.Second, To: 2 * time.Second}}
	crossed := load.Failure{Kind: load.KeepAlive, Reused: true, Crossed: true, Stage: "response",
		At: 1500 * time.Millisecond, Waited: 100 * time.Millisecond}
	slow := load.Failure{Kind: load.Slow, Stage: "response", At: 1600 * time.Millisecond, Waited: time.Second}
	change := func(f func(*load.Failure)) load.Failure {
		c := crossed
		f(&c)
		return c
	}
	for name, tc := range map[string]struct {
		failures []load.Failure
		want     int
	}{
		"crossing":                {[]load.Failure{crossed}, 1},
		"seen late":               {[]load.Failure{change(func(f *load.Failure) { f.At, f.Waited = 2100*time.Millisecond, 200*time.Millisecond })}, 1},
		"fresh":                   {[]load.Failure{change(func(f *load.Failure) { f.Kind = load.Fresh })}, 0},
		"slow":                    {[]load.Failure{change(func(f *load.Failure) { f.Kind = load.Slow })}, 0},
		"some of a response":      {[]load.Failure{change(func(f *load.Failure) { f.Crossed = false })}, 0},
		"before the upgrade":      {[]load.Failure{change(func(f *load.Failure) { f.At = 999 * time.Millisecond })}, 0},
		"begun after the upgrade": {[]load.Failure{change(func(f *load.Failure) { f.At = 2200 * time.Millisecond })}, 0},
		"with a slow one":         {[]load.Failure{crossed, slow}, 0},
	} {
		failed, both := Split(tc.failures, windows)
		if len(both) != tc.want || len(failed)+len(both) != len(tc.failures) {
			t.Errorf("%s: %d crossed, %d failed; want %d crossed", name, len(both), len(failed), tc.want)
		}
	}
}
