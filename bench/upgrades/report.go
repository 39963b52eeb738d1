package upgrades

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/graceinit/graceinit/bench/result"
	"github.com/graceinit/graceinit/bench/stats"
)

// Group is the figures' group.
const Group = "upgrades"

// The goals.
const (
	mostAdded  = 5    // ms that an upgrade may add to the app's own start
	mostGrowth = 1.2  // of the 99th percentile of the latency, the app's own part aside
	mostCPU    = 1.5  // graceinit's CPU for an upgrade with many connections, of that with few
	mostLook   = 10.0 // ms for a look at the connections of a drain
)

// Figures are what was measured, with the goals.
func (r *Result) Figures() []result.Figure {
	var all []result.Figure
	for _, st := range r.steps() {
		all = append(all, r.answers(st), r.growth(st))
		all = append(all, r.latencies(st)...)
		all = append(all, r.losses(st)...)
	}
	return append(append(all, r.cpu()...), r.others()...)
}

// condition is what trials have in common that are compared.
type condition struct{ connections, listeners int }

func (c condition) String() string {
	if c.listeners > 1 {
		return thousands(c.listeners) + " listeners"
	}
	return thousands(c.connections) + " connections"
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func (r *Result) steps() (all []condition) {
	for _, t := range r.Still {
		if c := (condition{t.Connections, t.Listeners}); !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}

// figure collects one number of every trial, by way, in the order of the ways.
func (r *Result) figure(name, unit string, trials []Trial, c condition, value func(Trial) float64) result.Figure {
	f := result.Figure{Group: Group, Name: name, Unit: unit, Better: result.Lower}
	for _, w := range ways() {
		if slices.Contains(r.Missing, w.name) {
			f.Skip(w.name, "not installed")
			continue
		}
		if values, held := collect(trials, c, w.name, value); len(values) > 0 {
			f.Add(label(w.name, c, held), values...)
		}
	}
	return f
}

func collect(trials []Trial, c condition, way string, value func(Trial) float64) (values []float64, held int) {
	for _, t := range trials {
		if t.Way == way && t.Connections == c.connections && t.Listeners == c.listeners {
			values, held = append(values, value(t)), t.Held
		}
	}
	return values, held
}

// label names a way, and what it was measured with if that was less than was wanted.
func label(way string, c condition, held int) string {
	if held < c.connections {
		return fmt.Sprintf("%s (%s)", way, thousands(held))
	}
	return way
}

// pairs calls f for the ways of graceinit that were measured beside their control.
func pairs(trials []Trial, c condition, value func(Trial) float64, f func(way string, ours, control []float64)) {
	for _, w := range ways() {
		if !w.ours() {
			continue
		}
		ours, _ := collect(trials, c, w.name, value)
		control, _ := collect(trials, c, w.control, value)
		if len(ours) > 0 && len(control) > 0 {
			f(w.name, ours, control)
		}
	}
}

func (r *Result) answers(c condition) result.Figure {
	answer := func(t Trial) float64 { return t.Answer }
	f := r.figure("trigger → first answer of the successor, "+c.String(), "ms", r.Still, c, answer)
	pairs(r.Still, c, answer, func(way string, ours, control []float64) {
		f.AtMost(fmt.Sprintf("%s adds at most %d ms to the same without it, %s", way, mostAdded, c),
			stats.Median(ours)-stats.Median(control), "ms", mostAdded)
	})
	return f
}

// growth is what the 99th percentile of the latency does in an upgrade. What it does in the same upgrade without graceinit is
// the app's own: its start, its warm-up, its drain.
func (r *Result) growth(c condition) result.Figure {
	growth := func(t Trial) float64 { return stats.Quantile(t.During, 0.99) / stats.Quantile(t.Before, 0.99) }
	f := r.figure("p99 of the latency during an upgrade ÷ before it, "+c.String(), "×", r.Loaded, c, growth)
	pairs(r.Loaded, c, growth, func(way string, ours, control []float64) {
		f.AtMost(fmt.Sprintf("%s: p99 during at most %v × before, the app's own growth aside, %s", way, mostGrowth, c),
			stats.Median(ours)/max(1, stats.Median(control)), "×", mostGrowth)
	})
	return f
}

func (r *Result) latencies(c condition) []result.Figure {
	before := result.Figure{Group: Group, Name: "latency before an upgrade, " + c.String(), Unit: "ms", Better: result.Lower}
	during := result.Figure{Group: Group, Name: "latency during an upgrade, " + c.String(), Unit: "ms", Better: result.Lower}
	for _, w := range ways() {
		var a, b []float64
		held := 0
		for _, t := range r.Loaded {
			if t.Way == w.name && t.Connections == c.connections && t.Listeners == c.listeners {
				a, b, held = append(a, t.Before...), append(b, t.During...), t.Held
			}
		}
		if len(a) > 0 && len(b) > 0 {
			before.AddPooled(label(w.name, c, held), a)
			during.AddPooled(label(w.name, c, held), b)
		}
	}
	longest := r.figure("the longest latency in an upgrade, "+c.String(), "ms", r.Loaded, c, func(t Trial) float64 { return stats.Quantile(t.During, 1) })
	return []result.Figure{before, during, longest}
}

func (r *Result) losses(c condition) []result.Figure {
	failed := r.figure("failed requests in an upgrade, "+c.String(), "", r.Loaded, c, func(t Trial) float64 { return float64(t.Failed) })
	crossed := r.figure("requests that crossed the server's close of an idle connection, "+c.String(), "", r.Loaded, c,
		func(t Trial) float64 { return float64(t.Crossed) })
	lost := func(t Trial) float64 { return float64(t.Queued - t.Answered) }
	queued := r.figure(fmt.Sprintf("lost of %d connections in the accept queue, %s", queue, c), "", r.Still, c, lost)
	for _, w := range ways() {
		if !w.ours() {
			continue
		}
		if values, _ := collect(r.Loaded, c, w.name, func(t Trial) float64 { return float64(t.Failed) }); len(values) > 0 {
			failed.AtMost(fmt.Sprintf("%s: no request failed, %s", w.name, c), sum(values), "", 0)
		}
		if values, _ := collect(r.Still, c, w.name, lost); len(values) > 0 {
			queued.AtMost(fmt.Sprintf("%s: nothing of the accept queue is lost, %s", w.name, c), sum(values), "", 0)
		}
	}
	reset := r.figure("idle connections cut by a reset, "+c.String(), "", r.Loaded, c, func(t Trial) float64 { return float64(t.Idle.Reset) })
	return []result.Figure{failed, crossed, queued, reset}
}

// cpu is what an upgrade costs PID 1, beside the number of open connections.
func (r *Result) cpu() (all []result.Figure) {
	spent := func(t Trial) float64 { return t.CPU }
	steps := r.steps()
	ours := slices.DeleteFunc(slices.Clone(r.Still), func(t Trial) bool { return !named(t.Way).ours() }) // elsewhere PID 1 is the operator
	for _, c := range steps {
		f := r.figure("CPU of PID 1 over an upgrade, "+c.String(), "ms", ours, c, spent)
		if few := steps[0]; c.listeners == few.listeners && c != few {
			for _, w := range ways() {
				many, held := collect(r.Still, c, w.name, spent)
				less, _ := collect(r.Still, few, w.name, spent)
				if w.ours() && len(many) > 0 && len(less) > 0 {
					f.AtMost(fmt.Sprintf("%s: CPU at most %v × that with %s connections, %s", label(w.name, c, held), mostCPU, thousands(few.connections), c),
						stats.Median(many)/stats.Median(less), "×", mostCPU)
				}
			}
		}
		all = append(all, f)
	}
	return all
}

func (r *Result) others() []result.Figure {
	start := result.Figure{Group: Group, Name: "exec → first answer of a server", Unit: "ms", Better: result.Lower}
	upgrade := result.Figure{Group: Group, Name: "upgrade signal → first answer of its successor", Unit: "ms", Better: result.Lower}
	for _, s := range r.Servers {
		start.Add(s.Name, s.Start...)
		upgrade.Add(s.Name, s.Upgrade...)
		upgrade.AtMost(fmt.Sprintf("an upgrade of %s adds at most %d ms to its start", s.Name, mostAdded),
			stats.Median(s.Upgrade)-stats.Median(s.Start), "ms", mostAdded)
	}
	look := result.Figure{Group: Group, Name: fmt.Sprintf("a look at a drain, %s connections", thousands(r.Look.Connections)), Unit: "ms", Better: result.Lower}
	look.Add("graceinit, counting", r.Look.Counting...)
	look.Add("graceinit, in turn", r.Look.InTurn...)
	look.Add("graceinit, in turn, nobody follows it", r.Look.Unwatched...)
	look.AtMost(fmt.Sprintf("a look that counts %s connections takes at most %v ms", thousands(r.Look.Connections), mostLook), stats.Median(r.Look.Counting), "ms", mostLook)
	drain := result.Figure{Group: Group, Name: fmt.Sprintf("CPU of graceinit in a drain of %.0f s, %s connections", r.Drain.Seconds, thousands(r.Drain.Connections)),
		Unit: "ms", Better: result.Lower}
	drain.Add("graceinit", r.Drain.CPU)
	return []result.Figure{start, upgrade, look, drain}
}

// bucket is the width of a point of a time line, in milliseconds.
const bucket = 50

// TimeLines are the latencies over the time of an upgrade: of each moment the 99th percentile over all upgrades.
func (r *Result) TimeLines() (all []result.Series) {
	for _, group := range []struct {
		name string
		ways []string
	}{
		{"the same app", []string{spawn, byHand, starter, reusePort}},
		{"servers that upgrade themselves", []string{overFlip, flipOwn, overGrace, graceOwn, overNginx, nginxOwn}},
	} {
		for _, c := range r.steps() {
			s := result.Series{Group: Group, Name: fmt.Sprintf("%s, %s: p99 of the latency around an upgrade", group.name, c),
				XUnit: "ms since the trigger", YUnit: "ms", Marks: []result.Mark{{At: 0, Text: "trigger"}}}
			for _, name := range group.ways {
				if line := r.timeLine(c, name); len(line.X) > 0 {
					s.Lines = append(s.Lines, line)
				}
			}
			if len(s.Lines) > 0 {
				all = append(all, s)
			}
		}
	}
	return all
}

func (r *Result) timeLine(c condition, way string) result.Line {
	buckets := map[int][]float64{}
	held := 0
	for _, t := range r.Loaded {
		if t.Way != way || t.Connections != c.connections || t.Listeners != c.listeners {
			continue
		}
		held = t.Held
		for _, p := range t.Series {
			n := int(math.Floor(p.At / bucket))
			buckets[n] = append(buckets[n], p.Took)
		}
	}
	line := result.Line{Name: label(way, c, held)}
	for n := range buckets {
		line.X = append(line.X, float64(n*bucket))
	}
	slices.Sort(line.X)
	for _, x := range line.X {
		line.Y = append(line.Y, stats.Quantile(buckets[int(x)/bucket], 0.99))
	}
	return line
}

func sum(values []float64) (total float64) {
	for _, v := range values {
		total += v
	}
	return total
}
