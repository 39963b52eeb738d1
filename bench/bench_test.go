package main

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/bench/result"
	"github.com/graceinit/graceinit/bench/upgrades"
	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/pidns"
)

func TestMain(m *testing.M) {
	pidns.Main()
	churn.Main()
	upgrades.Main()
	os.Exit(m.Run())
}

// newBench measures little, of the peers that this machine has: graceinit's place is taken by the first of them, so that this
// needs no build.
func newBench(t *testing.T) *bench {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is missing")
	}
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{ctx: context.Background(), root: dir, random: rand.New(rand.NewPCG(1, 0)),
		o: options{amounts: amounts{idle: time.Millisecond, quiet: time.Millisecond, starts: 3, memories: 3, logged: 20, orphans: 20, backlog: 30, rounds: 3, signals: 5}}}
	if b.app, err = buildApp(b.ctx, dir, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	all, err := installed("/bin/true", b.app)
	if err != nil {
		t.Fatal(err)
	}
	if b.subjects = all[1:]; b.subjects[0].name == control {
		t.Skip("no init is installed")
	}
	return b
}

func TestEveryInitIsMeasured(t *testing.T) {
	b := newBench(t)
	for _, g := range groups {
		if g.name == upgrades.Group || g.name == "memory" { // the listener is graceinit's
			continue
		}
		if err := g.run(b); errors.Is(err, pidns.ErrForbidden) {
			t.Skip(err)
		} else if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
	}
	for _, step := range []func() error{b.logged, b.idle} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.complete(); err != nil {
		t.Error(err)
	}
	samples := map[string]int{"size": 1, "start": b.o.starts, "signals": b.o.signals, "reaping": b.o.rounds, "memory": 1}
	for _, f := range b.figures {
		for _, s := range f.Subjects {
			if s.Measured() && s.Count != samples[f.Group] {
				t.Errorf("%s of %s: %d samples, want %d", f.Name, s.Name, s.Count, samples[f.Group])
			}
			for _, v := range s.Samples {
				if v < 0 || v == 0 && f.Group != "memory" && f.Group != "size" {
					t.Errorf("%s of %s: %v", f.Name, s.Name, s.Samples)
				}
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(b.app), "life-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The orphans of an init that reaps nothing stay: so the measurements of reaping can fail.
func TestOrphansThatNobodyReapsAreNoticed(t *testing.T) {
	b := newBench(t)
	lazy := b.subjects[len(b.subjects)-1]
	b.patience = time.Nanosecond // there is nothing to wait for
	_, err := b.many(lazy, false)
	if errors.Is(err, pidns.ErrForbidden) {
		t.Skip(err)
	}
	if !errors.Is(err, errStuck) {
		t.Errorf("the app as PID 1 reaps no orphans, but got %v", err)
	}
}

func TestAnInitWithoutSamplesIsAnError(t *testing.T) {
	b := &bench{subjects: []subject{{name: ours}, {name: s6}, {name: control}}}
	f := b.figure("start", "x", "ms", result.Lower)
	f.Add(ours, 1)
	if err := b.complete(); err == nil || !strings.Contains(err.Error(), s6) {
		t.Errorf("s6 was not measured: %v", err)
	}
	f.Skip(s6, "")
	if err := b.complete(); err == nil {
		t.Error("s6 was left out without a reason")
	}
	f.Skip(s6, "it has none")
	if err := b.complete(); err != nil {
		t.Error(err)
	}
}

func TestTurns(t *testing.T) {
	b := &bench{ctx: context.Background(), random: rand.New(rand.NewPCG(1, 0))}
	subjects := []subject{{name: "a"}, {name: "b"}, {name: "c"}, {name: "d"}}
	orders := map[string]int{}
	counted, order := map[string]int{}, ""
	err := b.turns("x", 50, subjects, func(s subject, counts bool) error {
		if counts {
			counted[s.name]++
		}
		if order += s.name; len(order) == len(subjects) {
			orders[order]++
			order = ""
		}
		return nil
	})
	if err != nil || len(counted) != 4 || counted["a"] != 50 || counted["d"] != 50 {
		t.Errorf("counted %v, %v; want 50 of each, and one round that does not count", counted, err)
	}
	if len(orders) < 10 {
		t.Errorf("in 51 rounds there were the orders %v", slices.Sorted(maps.Keys(orders)))
	}
	failed := errors.New("x")
	if err := b.turns("x", 1, subjects, func(subject, bool) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}

func TestChoose(t *testing.T) {
	if all, err := choose(""); err != nil || len(all) != len(groups) {
		t.Errorf("%d groups, %v", len(all), err)
	}
	some, err := choose("memory,start")
	if err != nil || len(some) != 2 || some[0].name != "memory" || some[1].name != "start" {
		t.Errorf("%v, %v", some, err)
	}
	if _, err := choose("memory,speed"); err == nil {
		t.Error("there is no speed")
	}
}

func TestTheCommandLineOfAService(t *testing.T) {
	dir := t.TempDir()
	args, err := service("/s6", []string{"-x"}, []string{"/app", "sleepers", "5"}, dir)
	if err != nil || !slices.Equal(args, []string{"/s6", "-x", dir}) {
		t.Errorf("%q, %v", args, err)
	}
	if run, err := os.ReadFile(filepath.Join(dir, "app", "run")); err != nil || !strings.HasSuffix(string(run), "exec '/app' 'sleepers' '5'\n") {
		t.Errorf("%q, %v", run, err)
	}
}

func TestTablesAreFilledIn(t *testing.T) {
	f := result.Figure{Group: "start", Name: "x", Unit: "ms"}
	f.Add("tini", 1.5)
	r := &result.Result{Figures: []result.Figure{f}}
	text, err := fill([]byte("a\n<!-- bench: start -->\nold\n<!-- /bench -->\nb <!-- bench: goals --><!-- /bench -->"), r)
	if err != nil || strings.Contains(string(text), "old") || !strings.Contains(string(text), "| x, ms | 1.50 |") || !strings.HasPrefix(string(text), "a\n") {
		t.Errorf("%s, %v", text, err)
	}
	again, err := fill(text, r)
	if err != nil || string(again) != string(text) {
		t.Errorf("filled in again: %s, %v", again, err)
	}
	for _, bad := range []string{"<!-- bench: start -->", "<!-- bench: stop --><!-- /bench -->"} {
		if _, err := fill([]byte(bad), r); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// What stands in docs/performance.md is what docs/performance/bench.json says.
func TestTheDocument(t *testing.T) {
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	if err := render(dir, options{check: true}); err != nil {
		t.Error(err)
	}
}

func TestRenderAndCheck(t *testing.T) {
	dir := t.TempDir()
	docs := filepath.Join(dir, "docs")
	if err := os.MkdirAll(filepath.Join(docs, "performance"), 0o755); err != nil {
		t.Fatal(err)
	}
	document := docs + "/performance.md"
	if err := os.WriteFile(document, []byte("<!-- bench: start -->\n<!-- /bench -->\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := result.Figure{Group: "start", Name: "x", Unit: "ms"}
	f.Add("graceinit", 1000)
	f.Add("tini", 1.5)
	r := result.Result{Figures: []result.Figure{f}}
	o := options{json: filepath.Join(dir, "new.json")}
	if err := r.Write(o.json); err != nil {
		t.Fatal(err)
	}
	if err := render(dir, o); err != nil {
		t.Fatal(err)
	}
	if err := render(dir, options{check: true}); err != nil {
		t.Errorf("what was rendered is not what it should be: %v", err)
	}
	for _, file := range []string{document, docs + "/performance/start.svg"} {
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(good), "1.50", "1.40", 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := render(dir, options{check: true}); err == nil || !strings.Contains(err.Error(), filepath.Base(file)) {
			t.Errorf("%s was changed: %v", file, err)
		}
		if err := os.WriteFile(file, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADiagramOfMagnitudesIsLogarithmic(t *testing.T) {
	f := result.Figure{Name: "x", Unit: "ms"}
	f.Add("a", 1, 2, 3, 1, 2, 3)
	f.Skip("b", "none")
	f.Add("c", 99)
	if b := bars(f); b.Log || len(b.Bars) != 3 || b.Bars[0].Low != 1 || b.Bars[0].High != 3 || b.Bars[1].Note != "none" {
		t.Errorf("%+v", b)
	}
	f.Add("c", 101)
	if !bars(f).Log {
		t.Error("2 and 101 are more than 50 times apart")
	}
	f.Add("c", 0)
	if bars(f).Log {
		t.Error("0 has no logarithm")
	}
}
