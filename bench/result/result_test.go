package result

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func figure() Figure {
	f := Figure{Group: "start", Name: "start-up", Unit: "ms", Better: Lower}
	f.Add("graceinit", 2.000049, 4, 3)
	f.Add("tini", 1, 2, 1.5)
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
	if got := back.Figures[0].Subjects[0].Samples; !slices.Equal(got, Samples{2, 4, 3}) {
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
