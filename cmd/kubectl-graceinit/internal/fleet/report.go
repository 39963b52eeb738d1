package fleet

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
	"github.com/graceinit/graceinit/internal/control"
)

// Event is what a line of the report is about.
type Event string

const (
	EventWarning     Event = "warning"
	EventPlan        Event = "plan"        // what is to be done with a pod
	EventTemplate    Event = "template"    // a StatefulSet's was patched
	EventBegin       Event = "begin"       // a pod's upgrade
	EventProgress    Event = "progress"    // a pod has come to a step
	EventFailing     Event = "failing"     // a pod's upgrade has failed, and is being put back
	EventEnd         Event = "end"         // of the work on a pod
	EventWaiting     Event = "waiting"     // nothing can begin until pods are ready
	EventInterrupted Event = "interrupted" // no further pod begins
	EventResult      Event = "result"      // the last line
)

// Line is one line of the report in JSON. Later versions may add fields.
type Line struct {
	Time     time.Time         `json:"time"`
	Event    Event             `json:"event"`
	Pod      string            `json:"pod,omitempty"`
	Object   string            `json:"object,omitempty"`
	Do       action            `json:"do,omitempty"`
	State    plan.State        `json:"state,omitempty"`
	Step     string            `json:"step,omitempty"`
	Elapsed  float64           `json:"elapsed,omitempty"` // seconds since the pod began
	Reason   string            `json:"reason,omitempty"`
	Progress *control.Progress `json:"progress,omitempty"`
	Delivery *control.Delivery `json:"delivery,omitempty"`
	Result   *Summary          `json:"result,omitempty"`
}

// Summary counts the pods by how it ended with them.
type Summary struct {
	ExitCode int    `json:"exit_code"`
	Done     int    `json:"done"`
	Forced   int    `json:"forced"`
	Skipped  int    `json:"skipped"`
	Failed   int    `json:"failed"`
	Left     int    `json:"left"` // not begun, or left in progress
	DryRun   bool   `json:"dry_run,omitempty"`
	WayOut   string `json:"way_out,omitempty"`
}

// Report tells how a roll goes: in lines of JSON, in a table that changes in its place on a terminal, or in lines of text.
type Report struct {
	Out, Err io.Writer
	JSON     bool
	Size     func() (width, height int) // of the terminal that Out is; nil: it is none
	Now      func() time.Time

	mu    sync.Mutex // pods' goroutines warn
	rows  []Row
	drawn int // lines of the table on the screen
}

// Warn says what should be known.
func (r *Report) Warn(format string, args ...any) {
	r.Say(Line{Event: EventWarning, Reason: fmt.Sprintf(format, args...)})
}

// Say tells of one event.
func (r *Report) Say(l Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.JSON:
		r.json(l)
	case r.Size != nil:
		r.above(l)
	default:
		if text := describe(l); text != "" {
			fmt.Fprintln(r.Out, text)
		}
	}
}

func (r *Report) json(l Line) {
	l.Time = r.Now()
	text, err := json.Marshal(l)
	if err != nil {
		fmt.Fprintln(r.Err, err)
		return
	}
	fmt.Fprintf(r.Out, "%s\n", text)
}

// End says how it all ended.
func (r *Report) End(l Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.JSON {
		r.json(l)
		return
	}
	r.draw(0)
	s := l.Result
	if n := s.Done + s.Forced + s.Skipped + s.Failed + s.Left; n > 0 && !s.DryRun {
		if r.Size == nil {
			fmt.Fprint(r.Out, "\n"+table(r.rows, r.Now()))
		}
		fmt.Fprintln(r.Out, "\n"+s.String())
	}
	for _, row := range r.rows {
		if row.State == plan.Failed || row.State == plan.Left {
			fmt.Fprintf(r.Err, "%s: %s: %s\n", row.Pod, row.State, row.Note)
		}
	}
	if l.Reason != "" {
		fmt.Fprintf(r.Err, "kubectl graceinit: %s\n", l.Reason)
	}
	if s.WayOut != "" {
		fmt.Fprintln(r.Err, s.WayOut)
	}
}

func (s *Summary) String() string {
	var parts []string
	for _, c := range []struct {
		n    int
		name string
	}{{s.Done, "done"}, {s.Forced, "drained by force"}, {s.Skipped, "skipped"}, {s.Failed, "failed"}, {s.Left, "left"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.name))
		}
	}
	return fmt.Sprintf("%d pods: %s", s.Done+s.Forced+s.Skipped+s.Failed+s.Left, strings.Join(parts, ", "))
}

// describe is an event as a line of text, or nothing where the table at the end says it.
func describe(l Line) string {
	reason := ""
	if l.Reason != "" {
		reason = ": " + l.Reason
	}
	switch l.Event {
	case EventPlan:
		return ""
	case EventTemplate:
		return l.Object + reason
	case EventProgress:
		return l.Pod + ": " + stepOf(l.Step, l.Progress)
	case EventEnd:
		return fmt.Sprintf("%s: %s after %.1fs%s", l.Pod, l.State, l.Elapsed, reason)
	case EventBegin:
		return fmt.Sprintf("%s: %s", l.Pod, l.Do)
	case EventFailing:
		return l.Pod + ": failing" + reason
	}
	return string(l.Event) + reason
}

// stepOf is a step with what is known of how long it may take.
func stepOf(step string, p *control.Progress) string {
	if p == nil {
		return step
	}
	if p.Connections != nil {
		step += fmt.Sprintf(", %d connections left", *p.Connections)
	}
	if p.Left > 0 {
		step += fmt.Sprintf(", at most %.0fs more", p.Left)
	}
	if p.Waiting != "" {
		step += ", waits for " + p.Waiting
	}
	if p.Reason != "" {
		step += ": " + p.Reason
	}
	return step
}
