package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report are the figures of one run, or of several.
type report struct {
	Version  string         `json:"version"`
	Kernel   string         `json:"kernel"`
	Seeds    []uint64       `json:"seeds"`
	Seconds  float64        `json:"seconds"`   // how long the runs took
	LifeTime float64        `json:"life_time"` // of all inits together
	Episodes int            `json:"episodes"`
	Apps     map[string]int `json:"apps"`
	Stderr   map[string]int `json:"stderr"` // episodes by what became of it
	Faults   map[string]int `json:"faults"`
	Hits     map[string]int `json:"hits"`
	Upgrades map[string]int `json:"upgrades"`
	Ends     map[string]int `json:"ends"`

	// LongestEnd is how long an end took at most, in seconds, by its kind.
	LongestEnd map[string]float64 `json:"longest_end"`

	Requests   int      `json:"requests"`
	Explained  int      `json:"explained"`
	Crossed    int      `json:"crossed"`
	Reaped     int      `json:"reaped"`
	Orphans    int      `json:"orphans"`     // at once, at most
	RSSRest    [2]int64 `json:"rss_rest"`    // kB, least and most
	RSSPeak    int64    `json:"rss_peak"`    // kB
	HeapRest   [2]int64 `json:"heap_rest"`   // of these no pages of files
	HeapGrowth int64    `json:"heap_growth"` // kB from the first rest of an episode to its last, at most
	FDs        [2]int64 `json:"fds"`         // at rest, least and most
	LeftOut    []string `json:"left_out"`
	FDGrowth   int64    `json:"fd_growth"` // as heap_growth
	Violating  int      `json:"violating"` // episodes with a violation
	Violations []string `json:"violations"`
}

func emptyReport() *report {
	return &report{Apps: map[string]int{}, Stderr: map[string]int{}, Faults: map[string]int{}, Hits: map[string]int{},
		Upgrades: map[string]int{}, Ends: map[string]int{}, LongestEnd: map[string]float64{}}
}

func newReport(o options, k *kit) *report {
	r := emptyReport()
	r.Version, r.Seeds, r.LeftOut = k.version, []uint64{o.seed}, k.leftOut
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Kernel = fmt.Sprintf("Linux %s, %d processors", unix.ByteSliceToString(u.Release[:]), runtime.NumCPU())
	}
	return r
}

func (r *report) add(e *episode) {
	r.Episodes++
	r.LifeTime += e.took.Seconds()
	r.Apps[e.plan.App]++
	r.Stderr[e.plan.Stderr]++
	end := e.plan.End
	if e.ended {
		end = "ended in a storm"
	}
	r.Ends[end]++
	if !e.ended {
		r.LongestEnd[end] = max(r.LongestEnd[end], e.endTook.Seconds())
	}
	if len(e.violations) > 0 {
		r.Violating++
	}
	for into, from := range map[*map[string]int]map[string]int{&r.Faults: e.counts, &r.Hits: e.hits, &r.Upgrades: e.upgrades} {
		sum(*into, from)
	}
	r.Requests += e.requests
	r.Explained += e.explained
	r.Crossed += e.crossed
	r.Reaped += e.reaped
	r.Orphans = max(r.Orphans, e.orphans)
	r.RSSPeak = max(r.RSSPeak, e.peak)
	if e.base != (figures{}) {
		r.HeapGrowth = max(r.HeapGrowth, e.last.heap-e.base.heap)
		r.FDGrowth = max(r.FDGrowth, int64(e.last.fds-e.base.fds))
		for _, f := range []figures{e.base, e.last} {
			r.rest(f)
		}
	}
	for _, v := range e.violations {
		r.Violations = append(r.Violations, fmt.Sprintf("seed %d, episode %d: %s", e.plan.Seed, e.plan.Number, v))
	}
}

func (r *report) rest(f figures) {
	widen(&r.RSSRest, f.rss)
	widen(&r.HeapRest, f.heap)
	widen(&r.FDs, int64(f.fds))
}

// widen makes a range include the value.
func widen(within *[2]int64, v int64) {
	if within[0] == 0 || v < within[0] {
		within[0] = v
	}
	within[1] = max(within[1], v)
}

func sum(into, from map[string]int) {
	for name, n := range from {
		into[name] += n
	}
}

// join adds the figures of another run.
func (r *report) join(o *report) {
	if r.Version != "" && r.Version != o.Version {
		o.Version = r.Version + "; " + o.Version
	}
	r.Version, r.Kernel = o.Version, o.Kernel
	r.Seeds = append(r.Seeds, o.Seeds...)
	r.Seconds += o.Seconds
	r.LifeTime += o.LifeTime
	r.Episodes += o.Episodes
	for into, from := range map[*map[string]int]map[string]int{&r.Apps: o.Apps, &r.Stderr: o.Stderr, &r.Faults: o.Faults,
		&r.Hits: o.Hits, &r.Upgrades: o.Upgrades, &r.Ends: o.Ends} {
		sum(*into, from)
	}
	r.Requests += o.Requests
	r.Explained += o.Explained
	r.Crossed += o.Crossed
	r.Reaped += o.Reaped
	r.Orphans = max(r.Orphans, o.Orphans)
	r.RSSPeak, r.HeapGrowth, r.FDGrowth = max(r.RSSPeak, o.RSSPeak), max(r.HeapGrowth, o.HeapGrowth), max(r.FDGrowth, o.FDGrowth)
	r.Violating += o.Violating
	for end, s := range o.LongestEnd {
		r.LongestEnd[end] = max(r.LongestEnd[end], s)
	}
	if o.RSSRest[0] > 0 {
		for i := range 2 {
			r.rest(figures{rss: o.RSSRest[i], heap: o.HeapRest[i], fds: int(o.FDs[i])})
		}
	}
	for _, why := range o.LeftOut {
		if !slices.Contains(r.LeftOut, why) {
			r.LeftOut = append(r.LeftOut, why)
		}
	}
	r.Violations = append(r.Violations, o.Violations...)
}

func (r *report) save(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func loadReport(path string) (*report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := emptyReport()
	return r, json.Unmarshal(b, r)
}

// row is a figure with its name.
type row struct{ name, value string }

func (r *report) rows() []row {
	seeds := make([]string, len(r.Seeds))
	for i, s := range r.Seeds {
		seeds[i] = strconv.FormatUint(s, 10)
	}
	return []row{
		{"graceinit", r.Version},
		{"machine", r.Kernel},
		{"seeds", strings.Join(seeds, ", ")},
		{"time", fmt.Sprintf("%v, with lives of inits of %v", seconds(r.Seconds), seconds(r.LifeTime))},
		{"episodes (lives)", fmt.Sprintf("%d: %s", r.Episodes, list(r.Apps))},
		{"how they ended", list(r.Ends)},
		{"seconds that took, at most", longest(r.LongestEnd)},
		{"standard error", list(r.Stderr)},
		{"upgrades, by how they ended", list(r.Upgrades)},
		{"of these asked for at rest, before and after the storms, and done", strconv.Itoa(r.Faults["upgrade at rest"])},
		{"requests", strconv.Itoa(r.Requests)},
		{"failed while the chaos had the app broken", strconv.Itoa(r.Explained)},
		{"crossed the server's close of an idle connection", strconv.Itoa(r.Crossed)},
		{"orphans reaped; at once at most", fmt.Sprintf("%d; %d", r.Reaped, r.Orphans)},
		{"memory of the init at rest (RSS)", fmt.Sprintf("%d to %d kB", r.RSSRest[0], r.RSSRest[1])},
		{"of these its own, no pages of files", fmt.Sprintf("%d to %d kB; from the beginning of an episode to its end %d kB more at most", r.HeapRest[0], r.HeapRest[1], r.HeapGrowth)},
		{"memory of the init, peak", fmt.Sprintf("%d kB", r.RSSPeak)},
		{"fds of the init at rest", fmt.Sprintf("%d to %d; from the beginning of an episode to its end %d more at most", r.FDs[0], r.FDs[1], r.FDGrowth)},
		{"violations of the oracle", fmt.Sprintf("%d, in %d episodes", len(r.Violations), r.Violating)},
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}

func list(counts map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(out, ", ")
}

func longest(ends map[string]float64) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(ends)) {
		out = append(out, fmt.Sprintf("%s %.1f", name, ends[name]))
	}
	return strings.Join(out, ", ")
}

func (r *report) print(w io.Writer) {
	fmt.Fprintln(w)
	for _, f := range faults {
		if n := r.Faults[f.name]; n > 0 {
			fmt.Fprintf(w, "%-34s %8d\n", f.name, n)
		}
	}
	fmt.Fprintf(w, "\nkilled and stopped, by the step of the upgrade:\n")
	for _, name := range slices.Sorted(maps.Keys(r.Hits)) {
		fmt.Fprintf(w, "  %-50s %6d\n", name, r.Hits[name])
	}
	fmt.Fprintln(w)
	for _, row := range r.rows() {
		fmt.Fprintf(w, "%s: %s\n", row.name, row.value)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(w, "VIOLATION %s\n", v)
	}
}

// markdown is what docs/reliability.md has between its markers.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	for _, row := range r.rows() {
		fmt.Fprintf(&b, "| %s | %s |\n", row.name, row.value)
	}
	fmt.Fprintf(&b, "\n| fault | how it is injected | what is expected | how often, or how many |\n|---|---|---|---|\n")
	for _, f := range faults {
		fmt.Fprintf(&b, "| %s | %s | %s | %d |\n", f.name, f.how, f.must, r.Faults[f.name])
	}
	fmt.Fprintf(&b, "\n| killed or stopped, at which step of the upgrade | times |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(r.Hits)) {
		fmt.Fprintf(&b, "| %s | %d |\n", name, r.Hits[name])
	}
	if len(r.LeftOut) > 0 {
		fmt.Fprintf(&b, "\nLeft out in some of the runs: %s.\n", strings.Join(r.LeftOut, "; "))
	}
	return b.String()
}

const (
	markBegin = "<!-- chaos -->\n"
	markEnd   = "<!-- /chaos -->"
)

// merge makes one table of several reports.
func merge(paths []string, doc string) error {
	total := emptyReport()
	for _, path := range paths {
		r, err := loadReport(path)
		if err != nil {
			return fmt.Errorf("cannot read the report: %w", err)
		}
		total.join(r)
	}
	if doc == "" {
		fmt.Print(total.markdown())
		return nil
	}
	b, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	before, rest, begun := strings.Cut(string(b), markBegin)
	_, after, ended := strings.Cut(rest, markEnd)
	if !begun || !ended {
		return errors.New(doc + " has no " + strings.TrimSpace(markBegin) + " and " + markEnd)
	}
	return os.WriteFile(doc, []byte(before+markBegin+"\n"+total.markdown()+"\n"+markEnd+after), 0o644)
}
