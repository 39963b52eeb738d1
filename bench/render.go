package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/graceinit/graceinit/bench/plot"
	"github.com/graceinit/graceinit/bench/result"
	"github.com/graceinit/graceinit/bench/upgrades"
)

// picture is one of the pictures of docs/performance.md.
type picture struct {
	file, title string
	group       string
	prefixes    []string // of the figures; none: all of which two subjects can be compared
	series      bool     // the series of the group
}

var pictures = []picture{
	{file: "start.svg", title: "Start-up and shutdown", group: "start"},
	{file: "signals.svg", title: "Signals", group: "signals"},
	{file: "reaping.svg", title: "Reaping", group: "reaping"},
	{file: "memory.svg", title: "Memory and idleness", group: "memory"},
	{file: "upgrades.svg", title: "Upgrades", group: upgrades.Group, prefixes: []string{"trigger → first answer", "p99 of the latency", "failed requests", "lost of"}},
	{file: "upgrades-latency.svg", title: "Latency around an upgrade", group: upgrades.Group, series: true},
}

// render writes docs/performance.md's tables, its pictures and a copy of the figures that they were made from, or checks them.
func render(root string, o options) error {
	dir := filepath.Join(root, "docs", "performance")
	kept := filepath.Join(dir, "bench.json")
	from := kept
	if !o.check {
		if from = o.json; from == "" {
			from = filepath.Join(root, "bin", "bench.json")
		}
	}
	r, err := result.Read(from)
	if err != nil {
		return err
	}
	if r.Machine.Short && !o.check {
		return fmt.Errorf("%s is of a run with -short: its figures are worth nothing", from)
	}
	figures, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	document := dir + ".md"
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	text, err = fill(text, r)
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	files := map[string][]byte{document: text, kept: figures}
	for _, p := range pictures {
		if svg := p.draw(r); svg != nil {
			files[filepath.Join(dir, p.file)] = svg
		}
	}
	for file, want := range files {
		if !o.check {
			err = errors.Join(err, os.WriteFile(file, want, 0o644))
		} else if have, rerr := os.ReadFile(file); rerr != nil {
			err = errors.Join(err, rerr)
		} else if !bytes.Equal(have, want) {
			err = errors.Join(err, fmt.Errorf("%s is not what %s says: run make performance", file, kept))
		}
	}
	return err
}

const (
	openMark, closeMark = "<!-- bench: ", "<!-- /bench -->"
)

// fill puts the tables between their marks: <!-- bench: NAME --> ... <!-- /bench -->, where NAME is machine, goals or a group.
func fill(text []byte, r *result.Result) ([]byte, error) {
	var out strings.Builder
	rest := string(text)
	for {
		before, after, found := strings.Cut(rest, openMark)
		out.WriteString(before)
		if !found {
			return []byte(out.String()), nil
		}
		name, after, _ := strings.Cut(after, " -->")
		_, after, found = strings.Cut(after, closeMark)
		if !found {
			return nil, fmt.Errorf("the mark %q is not closed", name)
		}
		var table string
		switch name {
		case "machine":
			table = r.MarkdownMachine()
		case "goals":
			table = r.MarkdownGoals()
		default:
			if table = r.Markdown(name); table == "" {
				return nil, fmt.Errorf("there are no figures of %q", name)
			}
		}
		fmt.Fprintf(&out, "%s%s -->\n\n%s\n%s", openMark, name, table, closeMark)
		rest = after
	}
}

const panelWidth = 460

// draw is nil where there is nothing to draw.
func (p picture) draw(r *result.Result) []byte {
	var panels []plot.Panel
	for _, f := range r.Figures {
		if f.Group == p.group && !p.series && p.wants(f) {
			panels = append(panels, bars(f))
		}
	}
	for _, s := range r.Series {
		if s.Group == p.group && p.series {
			panels = append(panels, lines(s))
		}
	}
	if len(panels) == 0 {
		return nil
	}
	if p.series {
		return plot.SVG(p.title, 1, 2*panelWidth, panels...)
	}
	return plot.SVG(p.title, min(2, len(panels)), panelWidth, panels...)
}

func (p picture) wants(f result.Figure) bool {
	measured := 0
	for _, s := range f.Subjects {
		if s.Measured() {
			measured++
		}
	}
	if measured < 2 || f.Better == result.Equal {
		return false
	}
	for _, prefix := range p.prefixes {
		if strings.HasPrefix(f.Name, prefix) {
			return true
		}
	}
	return len(p.prefixes) == 0
}

// magnitudes of the values of a diagram from which on a linear axis would hide the small ones.
const magnitudes = 50

func bars(f result.Figure) plot.Bars {
	b := plot.Bars{Title: f.Name, Unit: f.Unit}
	low, high := math.Inf(1), 0.0
	for _, s := range f.Subjects {
		bar := plot.Bar{Label: s.Name, Value: s.Median, Ours: strings.HasPrefix(s.Name, ours)}
		if !s.Measured() {
			bar.Note = s.Note
		} else {
			low, high = min(low, s.Median), max(high, s.Median)
		}
		if s.CI != nil {
			bar.Low, bar.High = s.CI.Low, s.CI.High
		}
		b.Bars = append(b.Bars, bar)
	}
	b.Log = low > 0 && high/low > magnitudes
	return b
}

func lines(s result.Series) plot.Lines {
	l := plot.Lines{Title: s.Name, XUnit: s.XUnit, YUnit: s.YUnit}
	low, high := math.Inf(1), 0.0
	for _, line := range s.Lines {
		l.Lines = append(l.Lines, plot.Line{Label: line.Name, X: line.X, Y: line.Y})
		for _, y := range line.Y {
			low, high = min(low, y), max(high, y)
		}
	}
	for _, m := range s.Marks {
		l.Marks = append(l.Marks, plot.Mark{At: m.At, Text: m.Text})
	}
	l.LogY = low > 0 && high/low > magnitudes
	return l
}
