// Package stats says what samples tell, and how sure it is of that.
//
// Times of processes are skewed: most samples lie close above a floor, some are far off because something else ran. So the
// middle is the median, which a few such samples do not move, and no distribution is assumed: intervals are those of the
// bootstrap, percentile method. The samples are drawn anew, with replacement, as often as Resamples says; the statistic is
// taken of each draw; the interval holds the middle 95 % of what came out.
//
// Series that were measured in turns are drawn by rounds: sample i of one comes with sample i of the others. What the
// machine did in that round (another frequency, a neighbour) is then in both sides of a ratio, as it was when it was measured.
//
// Only of thousands of values the interval of the median is taken from their order, which says the same in less time.
//
// The draws are seeded: the same samples give the same interval.
package stats

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Resamples is how often the bootstrap draws.
const Resamples = 2000

// Confidence is the part of the draws that an interval holds.
const Confidence = 0.95

// Interval is where a statistic lies with that confidence.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Overlaps reports whether two intervals have a value in common.
func (i Interval) Overlaps(j Interval) bool { return i.Low <= j.High && j.Low <= i.High }

// Median is the middle of the values, and NaN of none.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile is the value below which the part q of the values lies, interpolated between neighbours (type 7 of Hyndman and
// Fan, as R and NumPy do by default), and NaN of no values.
func Quantile(values []float64, q float64) float64 {
	return Quantiles(values, q)[0]
}

// Quantiles is Quantile for several q; the values are sorted once.
func Quantiles(values []float64, qs ...float64) []float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	out := make([]float64, len(qs))
	for i, q := range qs {
		out[i] = quantile(sorted, q)
	}
	return out
}

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := min(max(q, 0), 1) * float64(len(sorted)-1)
	below := int(at)
	if below == len(sorted)-1 {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}

// many values take the bootstrap long, and it would say what their order says.
const many = 5000

// MedianInterval is the interval of the median. Of many values its ends are those whose ranks hold the median with that
// confidence, by the normal approximation of the binomial distribution.
func MedianInterval(values []float64) Interval {
	if n := float64(len(values)); n > many {
		const z = 1.959964 // of the confidence
		half := z * math.Sqrt(n) / 2
		ends := Quantiles(values, (n/2-half)/n, (n/2+half)/n)
		return Interval{Low: ends[0], High: ends[1]}
	}
	return Bootstrap(func(s ...[]float64) float64 { return Median(s[0]) }, values)
}

// RatioInterval is the interval of the median of one series divided by that of another.
func RatioInterval(of, to []float64) Interval {
	return Bootstrap(func(s ...[]float64) float64 { return Median(s[0]) / Median(s[1]) }, of, to)
}

// DifferenceInterval is the interval of the median of one series less that of another.
func DifferenceInterval(of, less []float64) Interval {
	return Bootstrap(func(s ...[]float64) float64 { return Median(s[0]) - Median(s[1]) }, of, less)
}

// Bootstrap is the interval of any statistic of some series. Series of the same length are drawn by rounds; if the lengths
// differ they were not measured in turns, and each is drawn by itself. Draws of which the statistic is not a number do not
// count.
func Bootstrap(statistic func(series ...[]float64) float64, series ...[]float64) Interval {
	paired := true
	drawn := make([][]float64, len(series))
	for i, s := range series {
		if len(s) == 0 {
			return Interval{Low: math.NaN(), High: math.NaN()}
		}
		drawn[i] = make([]float64, len(s))
		paired = paired && len(s) == len(series[0])
	}
	random := rand.New(rand.NewPCG(1, 2))
	values := make([]float64, 0, Resamples)
	for range Resamples {
		if paired {
			for k := range drawn[0] {
				from := random.IntN(len(series[0]))
				for i := range series {
					drawn[i][k] = series[i][from]
				}
			}
		} else {
			for i, s := range series {
				for k := range drawn[i] {
					drawn[i][k] = s[random.IntN(len(s))]
				}
			}
		}
		if v := statistic(drawn...); !math.IsNaN(v) && !math.IsInf(v, 0) {
			values = append(values, v)
		}
	}
	ends := Quantiles(values, (1-Confidence)/2, (1+Confidence)/2)
	return Interval{Low: ends[0], High: ends[1]}
}
