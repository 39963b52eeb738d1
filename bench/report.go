package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// megabyte is what ls -h and ps take it for.
const megabyte = 1 << 20

type report struct {
	Time   time.Time `json:"time"`
	Idle   float64   `json:"idle_seconds"`
	Logged int       `json:"logged_orphans"`
	Inits  []figures `json:"inits"`
	Bare   []float64 `json:"start_and_stop_without_init_ms"`
	Delays []delay   `json:"upgrades"`
	Goals  []goal    `json:"goals"`
}

// goal is a promise about graceinit.
type goal struct {
	What string `json:"what"`
	Met  bool   `json:"met"`
}

func goals(f figures, delays []delay, o options) []goal {
	all := []goal{
		{fmt.Sprintf("binary at most 3.3 MB: %.2f MB", mega(f.Size)), mega(f.Size) <= 3.3},
		{fmt.Sprintf("RSS at most 4.5 MB at the start, with a listener and both sockets: %.2f MB", mega(f.RSS)), mega(f.RSS) <= 4.5},
		{fmt.Sprintf("RSS at most 4.5 MB after %d logged orphans: %.2f MB, %d lines", o.logged, mega(f.LoggedRSS), f.LogLines), mega(f.LoggedRSS) <= 4.5},
		{fmt.Sprintf("no wake-up in %v idle: %d", o.idle, f.Wakeups), f.Wakeups == 0},
	}
	for _, d := range delays {
		all = append(all, goal{fmt.Sprintf("an upgrade of %s adds at most %.0f ms: %.1f ms", d.Server, d.allowed(), d.added()), d.added() <= d.allowed()})
	}
	return all
}

func mega(n int64) float64 { return float64(n) / megabyte }

func (r *report) write(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(what string, cell func(f figures) string) {
		cells := []string{what}
		for _, f := range r.Inits {
			cells = append(cells, cell(f))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t")+"\t")
	}
	kb := func(n int64) string { return fmt.Sprintf("%d", n/1024) }
	fmt.Fprintln(w)
	row("", func(f figures) string { return f.Name })
	row("binary, kB", func(f figures) string { return kb(f.Size) })
	row("RSS at the start, kB", func(f figures) string { return kb(f.RSS) })
	row("... anonymous", func(f figures) string { return kb(f.Anonymous) })
	row(fmt.Sprintf("RSS after %d orphans, kB", r.Logged), func(f figures) string { return kb(f.LoggedRSS) })
	row("... anonymous", func(f figures) string { return kb(f.LoggedAnon) })
	row("... lines logged meanwhile", func(f figures) string { return fmt.Sprint(f.LogLines) })
	row("threads", func(f figures) string { return fmt.Sprint(f.Threads) })
	row(fmt.Sprintf("wake-ups in %.0f s idle", r.Idle), func(f figures) string { return fmt.Sprint(f.Wakeups) })
	row("CPU in that time, µs", func(f figures) string { return fmt.Sprintf("%.0f", f.IdleCPU) })
	tini := slices.IndexFunc(r.Inits, func(f figures) bool { return f.Name == "tini" })
	relative := func(of func(figures) []float64, format string) func(figures) string {
		return func(f figures) string {
			text := fmt.Sprintf(format, median(of(f)))
			if tini >= 0 {
				if base := median(of(r.Inits[tini])); base > 0 {
					text += fmt.Sprintf(" (×%.2f)", median(of(f))/base)
				}
			}
			return text
		}
	}
	row("CPU per orphan, µs", relative(func(f figures) []float64 { return f.PerOrphan }, "%.1f"))
	row("start and stop, ms", relative(func(f figures) []float64 { return f.StartAndEnd }, "%.2f"))
	_ = t.Flush() // what is printed to stdout is not worth an error
	fmt.Fprintf(w, "\nmedians; × is the ratio to tini; without an init start and stop take %.2f ms; 1 kB is 1024 bytes\n\n", median(r.Bare))
	r.printDelays(w)
	for _, g := range r.Goals {
		mark := "met   "
		if !g.Met {
			mark = "MISSED"
		}
		fmt.Fprintf(w, "%s  %s\n", mark, g.What)
	}
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// printDelays prints what upgrades add to the start of each server.
func (r *report) printDelays(w io.Writer) {
	if len(r.Delays) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ms until the first answer, from\texec\tthe upgrade signal\tadded\tallowed\t")
	for _, d := range r.Delays {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t\n", d.Server, median(d.Exec), median(d.Upgrade), d.added(), d.allowed())
	}
	_ = t.Flush()
	fmt.Fprintln(w)
}
