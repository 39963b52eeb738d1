// Package result is what the measurements share: the shape of the figures, their goals, how they are kept and compared.
package result

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/graceinit/graceinit/bench/stats"
)

// Result is what a run has measured.
type Result struct {
	Machine Machine  `json:"machine"`
	Figures []Figure `json:"figures"`
	Series  []Series `json:"series,omitempty"`
}

// Machine is what it was measured on.
type Machine struct {
	Time   time.Time `json:"time"`
	CPU    string    `json:"cpu"`
	Cores  int       `json:"cores"`
	Kernel string    `json:"kernel"`
	OS     string    `json:"os"`
	// Load is the load average of a minute, when the run began and when it ended.
	LoadBefore float64 `json:"load_before"`
	LoadAfter  float64 `json:"load_after"`
	// Versions are those of the subjects, by name.
	Versions map[string]string `json:"versions"`
	// Short says that little was measured, to see whether everything works: the figures are worth nothing.
	Short bool `json:"short,omitempty"`
}

// Figure is one thing that was measured of several subjects.
type Figure struct {
	Group    string    `json:"group"`
	Name     string    `json:"name"`
	Unit     string    `json:"unit"`
	Better   string    `json:"better"` // lower, higher, or equal: neither is
	Subjects []Subject `json:"subjects"`
	Goals    []Goal    `json:"goals,omitempty"`
}

// Lower and Higher say which values of a figure are the better ones; Equal that neither are.
const (
	Lower  = "lower"
	Higher = "higher"
	Equal  = "equal"
)

// Subject is what was measured of one of those that are compared. One that was left out has only a note.
type Subject struct {
	Name    string  `json:"name"`
	Samples Samples `json:"samples,omitempty"` // in the order of the rounds
	// Count is how many samples there were, kept or not.
	Count     int                `json:"count,omitempty"`
	Median    float64            `json:"median"`
	CI        *stats.Interval    `json:"ci,omitempty"` // of the median; none for fewer than three samples
	Quantiles map[string]float64 `json:"quantiles,omitempty"`
	Ratio     *Ratio             `json:"ratio,omitempty"`
	Note      string             `json:"note,omitempty"`

	// raw are all samples, and less those that are taken off, if any; for the ratios.
	raw, less []float64
}

// Measured reports whether there is a value.
func (s Subject) Measured() bool { return s.Count > 0 }

// Ratio compares the medians of two subjects.
type Ratio struct {
	To string          `json:"to"`
	Of float64         `json:"of"`
	CI *stats.Interval `json:"ci,omitempty"`
}

// Goal is a promise about graceinit.
type Goal struct {
	What  string  `json:"what"` // "start-up overhead at most 2 × tini"
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Limit float64 `json:"limit"`
	Met   bool    `json:"met"`
}

// Samples are kept to four digits: the fifth is noise.
type Samples []float64

// MarshalJSON is for encoding/json.
func (s Samples) MarshalJSON() ([]byte, error) {
	out := []byte{'['}
	for i, v := range s {
		if i > 0 {
			out = append(out, ',')
		}
		if math.Trunc(v) == v && math.Abs(v) < 1e12 { // a count is exact
			out = strconv.AppendFloat(out, v, 'f', -1, 64)
		} else {
			out = strconv.AppendFloat(out, round(v), 'g', -1, 64)
		}
	}
	return append(out, ']'), nil
}

func round(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		return v
	}
	return r
}

// enough samples for an interval: of fewer the bootstrap's holds the median far less often than it says (of three, in 77 % of
// draws from a normal distribution).
const enough = 6

// Add adds the samples of a subject, in the order of the rounds.
func (f *Figure) Add(name string, samples ...float64) {
	s := summary(name, samples)
	s.Samples = samples
	f.put(s)
}

// AddMany is Add for a subject of which there are thousands of samples: their quantiles are kept, and not they.
func (f *Figure) AddMany(name string, samples []float64) {
	s := summary(name, samples)
	if len(samples) > 0 {
		q := stats.Quantiles(samples, 0.5, 0.99, 0.999)
		s.Quantiles = map[string]float64{"p50": q[0], "p99": q[1], "p99.9": q[2]}
	}
	f.put(s)
}

// AddPooled is AddMany for samples of a few rounds: those of one round have much in common, so they say little about how
// far another round would be, and there is no interval.
func (f *Figure) AddPooled(name string, samples []float64) {
	f.AddMany(name, samples)
	f.Subjects[len(f.Subjects)-1].CI = nil
}

// AddOver adds how much the median of a subject is above that of a control, which was measured in the same rounds.
func (f *Figure) AddOver(name string, samples, control []float64) {
	s := Subject{Name: name, Count: min(len(samples), len(control)), raw: samples, less: control}
	if s.Count > 0 {
		s.Median = stats.Median(samples) - stats.Median(control)
	}
	if s.Count >= enough {
		i := stats.DifferenceInterval(samples, control)
		s.CI = &i
	}
	f.put(s)
}

// Skip leaves a subject out, and says why.
func (f *Figure) Skip(name, why string) { f.put(Subject{Name: name, Note: why}) }

func (f *Figure) put(s Subject) {
	for i := range f.Subjects {
		if f.Subjects[i].Name == s.Name {
			f.Subjects[i] = s
			return
		}
	}
	f.Subjects = append(f.Subjects, s)
}

func summary(name string, samples []float64) Subject {
	s := Subject{Name: name, Count: len(samples), raw: samples}
	if len(samples) > 0 {
		s.Median = stats.Median(samples)
	}
	if len(samples) >= enough {
		i := stats.MedianInterval(samples)
		s.CI = &i
	}
	return s
}

// Subject finds a subject by its name; one that is not there was not measured.
func (f *Figure) Subject(name string) Subject {
	if i := slices.IndexFunc(f.Subjects, func(s Subject) bool { return s.Name == name }); i >= 0 {
		return f.Subjects[i]
	}
	return Subject{Name: name}
}

// Compare sets the ratio of every subject to one of them.
func (f *Figure) Compare(to string) {
	base := f.Subject(to)
	for i := range f.Subjects {
		s := &f.Subjects[i]
		s.Ratio = nil
		if !s.Measured() || !base.Measured() || base.Median <= 0 || base.CI != nil && base.CI.Low <= 0 {
			continue // nothing is so many times what may be nothing
		}
		s.Ratio = &Ratio{To: to, Of: s.Median / base.Median}
		if s.Name != to && s.Count >= enough && base.Count >= enough {
			if ci := ratioInterval(*s, base); !math.IsNaN(ci.Low) {
				s.Ratio.CI = &ci
			}
		}
	}
}

func ratioInterval(s, base Subject) stats.Interval {
	if s.less == nil {
		return stats.RatioInterval(s.raw, base.raw)
	}
	return stats.Bootstrap(func(d ...[]float64) float64 {
		return (stats.Median(d[0]) - stats.Median(d[1])) / (stats.Median(d[2]) - stats.Median(d[3]))
	}, s.raw, s.less, base.raw, base.less)
}

// AtMost adds a goal. A value that was not measured (NaN) adds none.
func (f *Figure) AtMost(what string, value float64, unit string, limit float64) {
	if !math.IsNaN(value) {
		f.Goals = append(f.Goals, Goal{What: what, Value: value, Unit: unit, Limit: limit, Met: value <= limit})
	}
}

// RatioAtMost adds a goal for the ratio of a subject, if it was measured.
func (f *Figure) RatioAtMost(what, subject string, limit float64) {
	if r := f.Subject(subject).Ratio; r != nil {
		f.AtMost(what, r.Of, "×", limit)
	}
}

// Goals are those of all figures.
func (r *Result) Goals() []Goal {
	var all []Goal
	for _, f := range r.Figures {
		all = append(all, f.Goals...)
	}
	return all
}

// With is r with the groups that another run has measured in the place of its own. The machine is that of the other run; where
// the subject had another version in r, its groups are named with that.
func (r *Result) With(other Result, subject string) Result {
	out := Result{Machine: other.Machine}
	now, before := other.Machine.Versions[subject], r.Machine.Versions[subject]
	kept := slices.DeleteFunc(r.Groups(), func(group string) bool { return slices.Contains(other.Groups(), group) })
	if len(kept) > 0 && before != now {
		out.Machine.Versions = maps.Clone(other.Machine.Versions)
		out.Machine.Versions[subject] = fmt.Sprintf("%s (%s: %s)", now, strings.Join(kept, ", "), before)
	}
	for _, group := range unique(append(r.Groups(), other.Groups()...)) {
		from := r
		if slices.Contains(other.Groups(), group) {
			from = &other
		}
		for _, f := range from.Figures {
			if f.Group == group {
				out.Figures = append(out.Figures, f)
			}
		}
		for _, s := range from.Series {
			if s.Group == group {
				out.Series = append(out.Series, s)
			}
		}
	}
	return out
}

// Figure finds a figure by its group and name.
func (r *Result) Figure(group, name string) (Figure, bool) {
	for _, f := range r.Figures {
		if f.Group == group && f.Name == name {
			return f, true
		}
	}
	return Figure{}, false
}

// Series is what was watched over a time: the latencies around an upgrade.
type Series struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	XUnit string `json:"x_unit"`
	YUnit string `json:"y_unit"`
	Lines []Line `json:"lines"`
	Marks []Mark `json:"marks,omitempty"`
}

// Line is one line of a series. X and Y have the same length.
type Line struct {
	Name string  `json:"name"`
	X    Samples `json:"x"`
	Y    Samples `json:"y"`
}

// Mark is something that happened meanwhile.
type Mark struct {
	At   float64 `json:"at"`
	Text string  `json:"text"`
}

// Write keeps a result, a figure per line, so that two of them can be told apart by diff.
func (r *Result) Write(file string) error {
	var out bytes.Buffer
	put := func(before string, value any, after string) error {
		b, err := json.Marshal(value)
		fmt.Fprintf(&out, "%s%s%s", before, b, after)
		return err
	}
	if err := put(`{"machine":`, r.Machine, ",\n\"figures\":["); err != nil {
		return err
	}
	for i, f := range r.Figures {
		if err := put(separator(i), f, ""); err != nil {
			return fmt.Errorf("cannot keep the figure %s of %s: %w", f.Name, f.Group, err)
		}
	}
	out.WriteString("\n],\n\"series\":[")
	for i, s := range r.Series {
		if err := put(separator(i), s, ""); err != nil {
			return fmt.Errorf("cannot keep the series %s of %s: %w", s.Name, s.Group, err)
		}
	}
	out.WriteString("\n]}\n")
	return os.WriteFile(file, out.Bytes(), 0o644)
}

func separator(i int) string {
	if i == 0 {
		return "\n"
	}
	return ",\n"
}

// Read reads what Write has kept.
func Read(file string) (*Result, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &r, nil
}
