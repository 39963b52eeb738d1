package result

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/graceinit/graceinit/bench/plot"
	"github.com/graceinit/graceinit/bench/stats"
)

// Groups are the names of the groups, in their order.
func (r *Result) Groups() []string {
	var all []string
	for _, f := range r.Figures {
		all = append(all, f.Group)
	}
	return unique(all)
}

// unique keeps the first of each.
func unique(names []string) (out []string) {
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// table is some figures by subjects, and what is to be said of those that were left out.
type table struct {
	rows  [][]string // the first is the head
	notes []string
}

// wide is how many subjects are too many for the columns of a table.
const wide = 8

// tables are those of a group. Few subjects have a column each. Where there are many they have a row each, and every figure
// that was measured under several conditions, which its name ends with after a comma, has a table of its own.
func (r *Result) tables(group string, intervals bool) []table {
	var figures []Figure
	for _, f := range r.Figures {
		if f.Group == group {
			figures = append(figures, f)
		}
	}
	if len(figures) == 0 {
		return nil
	}
	if len(subjects(figures)) <= wide {
		return []table{tabulate("", figures, intervals)}
	}
	var out []table
	for len(figures) > 0 {
		kind, _ := figures[0].condition()
		var same []Figure
		figures = slices.DeleteFunc(figures, func(f Figure) bool {
			k, condition := f.condition()
			if k != kind {
				return false
			}
			f.Name = condition
			same = append(same, f)
			return true
		})
		if unit := same[0].Unit; unit != "" {
			kind += ", " + unit
		}
		for i := range same {
			same[i].Unit = ""
		}
		out = append(out, tabulate(kind, same, intervals).turned())
	}
	return out
}

// condition splits the name of a figure.
func (f Figure) condition() (kind, condition string) {
	if i := strings.LastIndex(f.Name, ", "); i >= 0 {
		return f.Name[:i], f.Name[i+2:]
	}
	return f.Name, ""
}

func subjects(figures []Figure) []string {
	var all []string
	for _, f := range figures {
		for _, s := range f.Subjects {
			all = append(all, s.Name)
		}
	}
	return unique(all)
}

func tabulate(corner string, figures []Figure, intervals bool) table {
	names := subjects(figures)
	t := table{rows: [][]string{append([]string{corner}, names...)}}
	for _, f := range figures {
		name := f.Name
		if f.Unit != "" {
			name += ", " + f.Unit
		}
		row, tail := []string{name}, []string{"... p99"}
		for _, name := range names {
			s := f.Subject(name)
			row, tail = append(row, s.cell(intervals)), append(tail, s.tail(f))
			if s.Note != "" && !slices.Contains(t.notes, s.Note) {
				t.notes = append(t.notes, s.Note)
			}
		}
		t.rows = append(t.rows, row)
		if slices.ContainsFunc(f.Subjects, func(s Subject) bool { return s.Quantiles != nil }) {
			t.rows = append(t.rows, tail)
		}
	}
	return t
}

// turned makes rows of the columns.
func (t table) turned() table {
	out := table{notes: t.notes}
	for column := range t.rows[0] {
		var row []string
		for _, r := range t.rows {
			row = append(row, r[column])
		}
		out.rows = append(out.rows, row)
	}
	return out
}

const none = "–"

func (s Subject) cell(interval bool) string {
	if !s.Measured() {
		return none
	}
	text := plot.Value(s.Median)
	if interval && s.CI != nil && s.CI.High > s.CI.Low {
		text += " " + between(*s.CI)
	}
	if s.Ratio == nil || s.Ratio.To == s.Name {
		return text
	}
	text += " ×" + plot.Value(s.Ratio.Of)
	if interval && s.Ratio.CI != nil && s.Ratio.CI.High > s.Ratio.CI.Low {
		text += " " + between(*s.Ratio.CI)
	}
	return text
}

func (s Subject) tail(f Figure) string {
	p99, ok := s.Quantiles["p99"]
	if !ok {
		return none
	}
	text := plot.Value(p99)
	if s.Ratio != nil && s.Ratio.To != s.Name {
		if base := f.Subject(s.Ratio.To).Quantiles["p99"]; base > 0 {
			text += " ×" + plot.Value(p99/base)
		}
	}
	return text
}

func between(i stats.Interval) string {
	return fmt.Sprintf("(%s–%s)", plot.Value(i.Low), plot.Value(i.High))
}

// Print writes everything for a terminal.
func (r *Result) Print(w io.Writer) {
	for _, group := range r.Groups() {
		for _, t := range r.tables(group, false) {
			if t.rows[0][0] == "" {
				t.rows[0][0] = strings.ToUpper(group)
			}
			out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w)
			for _, row := range t.rows {
				fmt.Fprintln(out, strings.Join(row, "\t"))
			}
			_ = out.Flush() // what is printed to stdout is not worth an error
			for _, n := range t.notes {
				fmt.Fprintf(w, "%s: %s\n", none, n)
			}
		}
	}
	fmt.Fprintf(w, "\nmedians; × is the ratio to tini; 1 kB is 1024 bytes; load average %.2f before, %.2f after\n\n", r.Machine.LoadBefore, r.Machine.LoadAfter)
	for _, g := range r.Goals() {
		mark := "met   "
		if !g.Met {
			mark = "MISSED"
		}
		fmt.Fprintf(w, "%s  %s: %s\n", mark, g.What, g.measured())
	}
}

func (g Goal) measured() string {
	text := plot.Value(g.Value)
	if g.Unit != "" {
		text += " " + g.Unit
	}
	return text
}

// Markdown are the tables of a group with their intervals.
func (r *Result) Markdown(group string) string {
	var out strings.Builder
	for i, t := range r.tables(group, true) {
		if i > 0 {
			out.WriteString("\n")
		}
		for k, row := range t.rows {
			for c := range row {
				row[c] = strings.ReplaceAll(row[c], "|", `\|`)
			}
			fmt.Fprintf(&out, "| %s |\n", strings.Join(row, " | "))
			if k == 0 {
				out.WriteString("|---" + strings.Repeat("|---:", len(row)-1) + "|\n")
			}
		}
		for k, n := range t.notes {
			if k == 0 {
				out.WriteString("\n")
			}
			fmt.Fprintf(&out, "%s: %s.\n", none, n)
		}
	}
	return out.String()
}

// MarkdownGoals is the table of all goals.
func (r *Result) MarkdownGoals() string {
	var out strings.Builder
	out.WriteString("| goal | measured | |\n|---|---:|---|\n")
	for _, g := range r.Goals() {
		mark := "met"
		if !g.Met {
			mark = "**missed**"
		}
		fmt.Fprintf(&out, "| %s | %s | %s |\n", g.What, g.measured(), mark)
	}
	return out.String()
}

// MarkdownMachine says where it was measured, and what.
func (r *Result) MarkdownMachine() string {
	m := r.Machine
	var versions []string
	for name, v := range m.Versions {
		versions = append(versions, name+" "+v)
	}
	slices.Sort(versions)
	return fmt.Sprintf("%s, %d processors (%s), Linux %s, %s; load average %.2f before the run and %.2f after it.\n\n%s.\n",
		m.Time.Format("2 January 2006"), m.Cores, m.CPU, m.Kernel, m.OS, m.LoadBefore, m.LoadAfter, strings.Join(versions, ", "))
}
