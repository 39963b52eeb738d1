package main

import (
	"gonum.org/v1/plot/plotter"

	"github.com/graceinit/graceinit/demo/record"
)

// failedLayer is the layer of the failed requests, on top of the generations.
const failedLayer = 0

// layer is one area of a stack: the sum of everything below it and itself.
type layer struct {
	generation int // or failedLayer
	top        plotter.XYs
}

// width is the time that a point of the rates stands for. Shorter, and the points would jump by whole requests.
const width = 0.2

// rates stacks the requests a second by generation. The highest layer is first, to be painted over by the others.
func rates(r *record.Run) []layer {
	var times []float64
	var sums []map[int]float64
	for _, p := range r.Rate {
		if p.At+p.Seconds > r.LoadEnd {
			break
		}
		i := int((p.At + p.Seconds/2) / width)
		for len(sums) <= i {
			times = append(times, (float64(len(sums))+0.5)*width)
			sums = append(sums, map[int]float64{})
		}
		for g, n := range p.OK {
			sums[i][g] += float64(n) / width
		}
		sums[i][failedLayer] += float64(p.Failed) / width
	}
	// The last one may not be complete.
	if n := len(sums); n > 0 {
		times, sums = times[:n-1], sums[:n-1]
	}
	return stack(r, times, sums)
}

// flights stacks the slow requests in flight by generation.
func flights(r *record.Run) []layer {
	var times []float64
	var sums []map[int]float64
	for _, f := range r.InFlight {
		if f.At > r.LoadEnd {
			break
		}
		m := map[int]float64{}
		for g, n := range f.Slow {
			m[g] = float64(n)
		}
		times, sums = append(times, f.At), append(sums, m)
	}
	return stack(r, times, sums)
}

func stack(r *record.Run, times []float64, values []map[int]float64) []layer {
	order := []int{}
	for _, g := range r.Generations {
		order = append(order, g.Number)
	}
	order = append(order, failedLayer)
	below := make([]float64, len(times))
	var out []layer
	for _, g := range order {
		l := layer{generation: g, top: make(plotter.XYs, len(times))}
		for i := range times {
			below[i] += values[i][g]
			l.top[i] = plotter.XY{X: times[i], Y: below[i]}
		}
		out = append([]layer{l}, out...)
	}
	return out
}

// triggers are the times of the upgrades.
func triggers(r *record.Run) []float64 {
	var out []float64
	for _, e := range r.Events {
		if e.Kind == record.Upgrade {
			out = append(out, e.At)
		}
	}
	return out
}
