package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestQuantile(t *testing.T) {
	values := []float64{40, 10, 30, 20, 50}
	given := slices.Clone(values)
	for q, want := range map[float64]float64{0: 10, 0.25: 20, 0.5: 30, 0.6: 34, 0.99: 49.6, 1: 50, -1: 10, 2: 50} {
		if got := Quantile(values, q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if !slices.Equal(values, given) {
		t.Errorf("the caller's values were sorted: %v", values)
	}
	for _, tc := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := Median(tc.in); got != tc.want {
			t.Errorf("median of %v is %v, want %v", tc.in, got, tc.want)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("nothing has a median")
	}
}

// lognormal is skewed as times are; its median is e^mu.
func lognormal(random *rand.Rand, n int, mu float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.Exp(mu + 0.3*random.NormFloat64())
	}
	return out
}

// Of 60 intervals of 95 % about three may miss what is true. Far more would be a wrong method.
func TestIntervalsHoldWhatTheySay(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const trials, n = 60, 25
	median, ratio, difference := 0, 0, 0
	for range trials {
		a, b := lognormal(random, n, 1), lognormal(random, n, 0)
		holds := func(i Interval, v float64) int {
			if i.Low <= v && v <= i.High {
				return 1
			}
			return 0
		}
		median += holds(MedianInterval(a), math.E)
		ratio += holds(RatioInterval(a, b), math.E)
		difference += holds(DifferenceInterval(a, b), math.E-1)
	}
	for what, held := range map[string]int{"median": median, "ratio": ratio, "difference": difference} {
		if held < trials*85/100 {
			t.Errorf("%s: %d of %d intervals hold the value, want about 95 %%", what, held, trials)
		}
	}
}

// What meets both in the same round is no doubt about their ratio.
func TestRoundsStayTogether(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	noise := lognormal(random, 50, 0)
	double := make([]float64, len(noise))
	for i, v := range noise {
		double[i] = 2 * v
	}
	if i := RatioInterval(double, noise); i.Low != 2 || i.High != 2 {
		t.Errorf("every round says 2, the interval is %+v", i)
	}
	if i := RatioInterval(double[:49], noise); i.Low >= 2 || i.High <= 2 {
		t.Errorf("series of other lengths are not in turns: %+v", i)
	}
}

func TestTheSameSamplesGiveTheSameInterval(t *testing.T) {
	values := lognormal(rand.New(rand.NewPCG(7, 8)), 30, 0)
	if a, b := MedianInterval(values), MedianInterval(values); a != b {
		t.Errorf("%+v and %+v", a, b)
	}
	if i := MedianInterval([]float64{7}); i.Low != 7 || i.High != 7 {
		t.Errorf("of one sample: %+v", i)
	}
	if i := MedianInterval(nil); !math.IsNaN(i.Low) || !math.IsNaN(i.High) {
		t.Errorf("of none: %+v", i)
	}
	if i := RatioInterval([]float64{1, 1}, []float64{0, 0}); !math.IsNaN(i.Low) {
		t.Errorf("of divisions by 0: %+v", i)
	}
}

func TestOverlaps(t *testing.T) {
	i := Interval{1, 2}
	for _, tc := range []struct {
		j    Interval
		want bool
	}{{Interval{0, 0.9}, false}, {Interval{0, 1}, true}, {Interval{1.2, 1.3}, true}, {Interval{2, 3}, true}, {Interval{2.1, 3}, false}} {
		if i.Overlaps(tc.j) != tc.want || tc.j.Overlaps(i) != tc.want {
			t.Errorf("%+v and %+v overlap: want %v", i, tc.j, tc.want)
		}
	}
}

func TestTheOrderOfManyValuesSaysWhatDrawsSay(t *testing.T) {
	values := lognormal(rand.New(rand.NewPCG(9, 10)), many+1, 0)
	got := MedianInterval(values)
	want := Bootstrap(func(s ...[]float64) float64 { return Median(s[0]) }, values)
	if width := want.High - want.Low; math.Abs(got.Low-want.Low) > width/5 || math.Abs(got.High-want.High) > width/5 {
		t.Errorf("%+v by order, %+v by draws", got, want)
	}
}
