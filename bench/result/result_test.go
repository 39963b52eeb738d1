package result

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func figure() Figure {
	f := Figure{Group: "start", Name: "start-up", Unit: "ms", Better: Lower}
	f.Add("graceinit", twice(2.000049, 4, 3)...)
	f.Add("tini", twice(1, 2, 1.5)...)
	f.Skip("s6", "it starts later")
	f.Compare("tini")
	f.RatioAtMost("start-up at most 2 × tini", "graceinit", 2)
	return f
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	many := Figure{Group: "latency", Name: "signal", Unit: "µs", Better: Lower}
	samples := make([]float64, 1001)
	for i := range samples {
		samples[i] = float64(i)
	}
	many.AddMany("graceinit", samples)
	r := Result{Machine: Machine{Time: time.Unix(1e9, 0).UTC(), CPU: "x", Cores: 4, Versions: map[string]string{"tini": "1"}},
		Figures: []Figure{figure(), many}, Series: []Series{{Name: "s", Lines: []Line{{Name: "l", X: Samples{1}, Y: Samples{2}}}}}}
	file := filepath.Join(t.TempDir(), "r.json")
	if err := r.Write(file); err != nil {
		t.Fatal(err)
	}
	back, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := back.Figures[0].Subjects[0].Samples; !slices.Equal([]float64(got), twice(2, 4, 3)) {
		t.Errorf("the samples are %v", got)
	}
	again := filepath.Join(t.TempDir(), "again.json")
	if err := back.Write(again); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(file)
	second, aerr := os.ReadFile(again)
	if err != nil || aerr != nil || !bytes.Equal(first, second) || bytes.Count(first, []byte("\n")) != 8 {
		t.Errorf("want a figure per line, and nothing lost: %v %v\n%s\n%s", err, aerr, first, second)
	}
	if q := back.Figures[1].Subjects[0].Quantiles; q["p50"] != 500 || q["p99"] != 990 || q["p99.9"] != 999 {
		t.Errorf("quantiles %v", q)
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("nothing was read")
	}
}

func TestCompareAndGoals(t *testing.T) {
	f := figure()
	r := f.Subject("graceinit").Ratio
	if r == nil || r.To != "tini" || r.Of != 2 || r.CI == nil || r.CI.Low > 2 || r.CI.High < 2 {
		t.Fatalf("ratio %+v", r)
	}
	if f.Subject("s6").Ratio != nil || f.Subject("s6").Measured() || f.Subject("nobody").Measured() {
		t.Error("what was not measured has no ratio")
	}
	f.AtMost("unmeasured", math.NaN(), "", 1)
	f.AtMost("missed", 3, "", 2)
	if len(f.Goals) != 2 || !f.Goals[0].Met || f.Goals[1].Met {
		t.Errorf("goals %+v", f.Goals)
	}
	all := Result{Figures: []Figure{f, f}}
	if len(all.Goals()) != 4 {
		t.Errorf("%d goals of two figures with two each", len(all.Goals()))
	}
	if _, ok := all.Figure("start", "start-up"); !ok {
		t.Error("the figure is not found")
	}
}

func TestOverTheControl(t *testing.T) {
	f := Figure{Group: "start", Name: "overhead", Unit: "ms"}
	control := []float64{1, 1.5, 2, 1, 1.5, 2}
	f.AddOver("graceinit", []float64{5, 5.5, 6, 5, 5.5, 6}, control)
	f.AddOver("tini", []float64{3, 3.5, 4, 3, 3.5, 4}, control)
	f.AddOver("nothing", control, control)
	f.Compare("tini")
	s := f.Subject("graceinit")
	if s.Median != 4 || s.CI == nil || s.CI.Low != 4 || s.CI.High != 4 || s.Ratio.Of != 2 || s.Ratio.CI == nil || s.Ratio.CI.High != 2 {
		t.Errorf("4 above the control in every round, and twice as much as tini: %+v %+v", s, s.Ratio)
	}
	f.Compare("nothing")
	if r := f.Subject("graceinit").Ratio; r != nil {
		t.Errorf("%+v of nothing", r)
	}
}

func TestTables(t *testing.T) {
	f := figure()
	many := Figure{Group: "start", Name: "signal", Unit: "µs"}
	many.AddMany("graceinit", []float64{1, 2, 3, 4})
	many.AddMany("tini", []float64{1, 1, 1, 2})
	many.Compare("tini")
	r := Result{Figures: []Figure{f, many}}
	var out bytes.Buffer
	r.Print(&out)
	for _, want := range []string{"START", "start-up, ms", "3 ×2", "signal, µs", "2.50 ×2.50", "... p99", "3.97 ×2.02", "–: it starts later", "met     start-up at most 2 × tini: 2 ×"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, out.String())
		}
	}
	text := r.Markdown("start")
	for _, want := range []string{"|  | graceinit | tini | s6 |\n|---|---:|---:|---:|\n", "3 (2.00–4) ×2", "\n–: it starts later.\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table does not say %q:\n%s", want, text)
		}
	}
	if r.Markdown("stop") != "" {
		t.Error("there is no stop")
	}
	if goals := r.MarkdownGoals(); !strings.Contains(goals, "| start-up at most 2 × tini | 2 × | met |") {
		t.Error(goals)
	}
}

// More subjects than columns: they are rows then, and the conditions are columns.
func TestWideTablesAreTurned(t *testing.T) {
	var r Result
	for _, condition := range []string{"few", "many"} {
		f := Figure{Group: "upgrades", Name: "answer, " + condition, Unit: "ms"}
		for i := range wide + 1 {
			f.Add(fmt.Sprintf("way %d", i), float64(i))
		}
		r.Figures = append(r.Figures, f)
	}
	text := r.Markdown("upgrades")
	if !strings.HasPrefix(text, "| answer, ms | few | many |\n") || !strings.Contains(text, "| way 3 | 3 | 3 |\n") {
		t.Error(text)
	}
}

func TestChanges(t *testing.T) {
	run := func(ours ...float64) *Result {
		f := Figure{Group: "start", Name: "x", Unit: "ms"}
		f.Add("graceinit", ours...)
		f.Add("tini", 7)
		return &Result{Figures: []Figure{f}}
	}
	for _, tc := range []struct {
		after  []float64
		beyond bool
	}{{twice(1, 2, 3), false}, {twice(3, 4, 5), false}, {twice(3.5, 4, 5), true}} {
		changes := Changes(run(twice(1, 2, 3)...), run(tc.after...))
		if len(changes) != 2 || changes[0].Beyond != tc.beyond || changes[1].Beyond {
			t.Errorf("%v after 1, 2, 3: %+v", tc.after, changes)
		}
		var out bytes.Buffer
		PrintChanges(&out, changes)
		if strings.Contains(out.String(), "+100 %") != tc.beyond {
			t.Error(out.String())
		}
	}
	if c := Changes(&Result{}, run(1)); len(c) != 0 {
		t.Errorf("nothing was measured before: %+v", c)
	}
}

func TestAnotherRunReplacesItsGroups(t *testing.T) {
	old := Result{Machine: Machine{Cores: 1, Versions: map[string]string{"us": "1"}}, Series: []Series{{Group: "a"}},
		Figures: []Figure{{Group: "a", Name: "1"}, {Group: "b", Name: "2"}}}
	got := old.With(Result{Machine: Machine{Cores: 2, Versions: map[string]string{"us": "2"}}, Figures: []Figure{{Group: "c", Name: "4"}, {Group: "a", Name: "3"}}}, "us")
	if got.Machine.Cores != 2 || got.Machine.Versions["us"] != "2 (b: 1)" || len(got.Series) != 0 || len(got.Figures) != 3 ||
		got.Figures[0].Name != "3" || got.Figures[1].Name != "2" || got.Figures[2].Name != "4" {
		t.Errorf("%+v", got)
	}
}

// twice has enough samples for an interval.
func twice(samples ...float64) []float64 { return append(samples, samples...) }

func TestFewSamplesHaveNoInterval(t *testing.T) {
	var f Figure
	f.Add("few", 1, 2, 3, 4, 5)
	f.Add("enough", 1, 2, 3, 4, 5, 6)
	f.AddPooled("of a few rounds", twice(1, 2, 3, 4, 5))
	for name, want := range map[string]bool{"few": false, "enough": true, "of a few rounds": false} {
		if s := f.Subject(name); (s.CI != nil) != want {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
