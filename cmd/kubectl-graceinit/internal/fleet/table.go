package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
	"github.com/graceinit/graceinit/internal/control"
)

// Row is a pod in the table.
type Row struct {
	Pod      string
	State    plan.State
	Step     string
	Progress *control.Progress
	Began    time.Time
	Took     time.Duration
	Note     string
}

// Table shows the pods as they are now: on a terminal at once, elsewhere in the end.
func (r *Report) Table(rows []Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows[:0], rows...)
	if r.Size != nil && !r.JSON {
		r.draw(r.height())
	}
}

// height is how many lines the table may have: one less than the terminal, so that nothing scrolls.
func (r *Report) height() int {
	_, height := r.Size()
	return max(height-1, 4)
}

const (
	up        = "\x1b[%dA"
	eraseDown = "\x1b[J"
)

// draw puts the table in the place of the one that stands there, shortened to some lines; 0 is all of it.
func (r *Report) draw(most int) {
	if r.Size == nil || len(r.rows) == 0 {
		return
	}
	width, _ := r.Size()
	text := table(r.rows, r.Now())
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if most > 0 && len(lines) > most {
		lines = shorten(r.rows, lines, most)
	}
	r.erase()
	for _, line := range lines {
		if runes := []rune(line); len(runes) > width && width > 0 {
			line = string(runes[:width])
		}
		fmt.Fprintln(r.Out, line)
	}
	r.drawn = len(lines)
}

func (r *Report) erase() {
	if r.drawn > 0 {
		fmt.Fprintf(r.Out, up+"\r"+eraseDown, r.drawn)
	}
	r.drawn = 0
}

// above prints an event above the table, where the table does not say it.
func (r *Report) above(l Line) {
	switch l.Event {
	case EventPlan, EventBegin, EventProgress, EventFailing, EventEnd:
		return
	}
	r.erase()
	fmt.Fprintln(r.Out, describe(l))
	if len(r.rows) > 0 {
		r.draw(r.height())
	}
}

// shorten leaves only the pods that something happens to, or has happened to, and says how many the others are.
func shorten(rows []Row, lines []string, most int) []string {
	kept, others := lines[:1:1], map[plan.State]int{}
	for i, row := range rows {
		if (row.State.InProgress() || row.State == plan.Failed) && len(kept) < most-1 {
			kept = append(kept, lines[i+1])
		} else {
			others[row.State]++
		}
	}
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(others)) {
		parts = append(parts, fmt.Sprintf("%d %s", others[state], state))
	}
	return append(kept, "… and "+strings.Join(parts, ", "))
}

// table is the table of a roll.
func table(rows []Row, now time.Time) string {
	return columns(func(row func(cells ...string)) {
		row("POD", "STATE", "TIME", "STEP")
		for _, p := range rows {
			took := ""
			switch {
			case p.State.InProgress():
				took = fmt.Sprintf("%.1fs", now.Sub(p.Began).Seconds())
			case p.Took > 0:
				took = fmt.Sprintf("%.1fs", p.Took.Seconds())
			}
			text := firstLine(p.Note)
			if p.State.InProgress() {
				text = stepOf(p.Step, p.Progress)
			}
			row(p.Pod, string(p.State), took, text)
		}
	})
}

// Plan shows what would be done.
func (r *Report) Plan(jobs []job) {
	if r.JSON {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprint(r.Out, columns(func(row func(cells ...string)) {
		row("POD", "WOULD", "")
		for _, j := range jobs {
			row(j.pod.Meta.Name, string(j.do), j.reason)
		}
	}))
}

// columns lines up cells, without blanks at the end of a line.
func columns(fill func(row func(cells ...string))) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 3, ' ', 0)
	fill(func(cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")) })
	_ = w.Flush()
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func firstLine(text string) string {
	line, _, more := strings.Cut(text, "\n")
	if more {
		line += " …"
	}
	return line
}
