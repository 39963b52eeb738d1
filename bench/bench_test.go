package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/pidns"
)

func TestMain(m *testing.M) {
	pidns.Main()
	churn.Main()
	os.Exit(m.Run())
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(tc.in); got != tc.want {
			t.Errorf("median of %v is %v, want %v", tc.in, got, tc.want)
		}
	}
}

func TestGoals(t *testing.T) {
	good := figures{Size: 3 * megabyte, RSS: 4 * megabyte, LoggedRSS: 4 * megabyte}
	quick, slow := delay{Exec: []float64{500}, Upgrade: []float64{550}}, delay{Exec: []float64{50}, Upgrade: []float64{70.1}}
	for name, tc := range map[string]struct {
		f      figures
		d      delay
		missed int
	}{
		"all met":       {good, quick, -1},
		"too big":       {figures{Size: 4 * megabyte}, quick, 0},
		"too fat":       {figures{RSS: 5 * megabyte}, quick, 1},
		"grows":         {figures{LoggedRSS: 5 * megabyte}, quick, 2},
		"wakes up once": {figures{Wakeups: 1}, quick, 3},
		"slow upgrade":  {good, slow, 4},
	} {
		for i, g := range goals(tc.f, []delay{tc.d}, options{}) {
			if g.Met == (i == tc.missed) {
				t.Errorf("%s: goal %q met: %v", name, g.What, g.Met)
			}
		}
	}
}

func TestTheTableComparesWithTini(t *testing.T) {
	r := report{Idle: 60, Inits: []figures{{Name: "graceinit", PerOrphan: []float64{3}}, {Name: "tini", PerOrphan: []float64{2}}},
		Delays: []delay{{"Go", []float64{5}, []float64{8}}}, Goals: []goal{{"this", true}, {"that", false}}}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{"3.0 (×1.50)", "2.0 (×1.00)", "met     this", "MISSED  that", "wake-ups in 60 s idle", "Go   5.0                 8.0    3.0     20.0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, out.String())
		}
	}
	file := filepath.Join(t.TempDir(), "x.json")
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	var back report
	if err != nil || json.Unmarshal(b, &back) != nil || len(back.Inits) != 2 {
		t.Errorf("%s: %v", b, err)
	}
}

// With small numbers every measurement runs, of whichever init this machine has.
func TestMeasurements(t *testing.T) {
	var subjects []subject
	for _, s := range peers {
		if path, err := exec.LookPath(s.name); err == nil {
			s.path = path
			subjects = append(subjects, s)
		}
	}
	if len(subjects) == 0 {
		t.Skip("no init is installed")
	}
	m := measurement{ctx: context.Background(), o: options{idle: time.Millisecond, logged: 20, churn: 20, rounds: 1, starts: 1},
		figures: make([]figures, len(subjects))}
	for _, step := range []func([]subject) error{m.sizes, m.idle, m.logged, m.reaping, m.starts} {
		if err := step(subjects); errors.Is(err, pidns.ErrForbidden) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for i, f := range m.figures {
		if f.Size == 0 || f.RSS == 0 || f.LoggedRSS == 0 || f.Threads == 0 || len(f.PerOrphan) != 1 || f.PerOrphan[0] <= 0 ||
			len(f.StartAndEnd) != 1 || f.StartAndEnd[0] <= 0 {
			t.Errorf("%s: %+v", subjects[i].name, f)
		}
		if subjects[i].verbose != nil && f.LogLines < 20 {
			t.Errorf("%s logged %d lines of 20 orphans", subjects[i].name, f.LogLines)
		}
	}
}
