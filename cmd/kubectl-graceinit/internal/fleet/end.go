package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
)

// wait says what the roll waits for while it does nothing else, and gives up in the end.
func (r *roll) wait() {
	if !r.plan.Blocked() || r.listing && r.blocked.IsZero() {
		r.blocked, r.asked = time.Time{}, false
		return
	}
	if r.blocked.IsZero() {
		r.blocked = time.Now()
	}
	waited := time.Since(r.blocked)
	if !r.asked && waited > 2*r.Poll {
		r.asked = true
		r.Report.Say(Line{Event: EventWaiting, Reason: r.waitsFor()})
	}
	if waited > r.Timeout {
		r.stalled = fmt.Sprintf("waited %s in vain: %s", r.Timeout, r.waitsFor())
		r.plan.Note(plan.Stop{})
	}
}

func (r *roll) waitsFor() string {
	if r.listFailed != nil {
		return fmt.Sprintf("the pods cannot be listed: %v", r.listFailed)
	}
	var unready []string
	for _, p := range r.plan.Pods {
		switch {
		case p.State == plan.Waiting && !p.Able:
			unready = append(unready, p.Name+" (its app does not run)")
		case !p.Ready && !p.Gone:
			unready = append(unready, p.Name)
		}
	}
	if r.plan.Others > 0 {
		unready = append(unready, fmt.Sprintf("%d pods created since", r.plan.Others))
	}
	return fmt.Sprintf("not ready: %s; at most %d may be unavailable (--max-unavailable)", strings.Join(unready, ", "), r.plan.Max)
}

// result says how it ended, and returns the exit code.
func (r *roll) result(ctx context.Context) int {
	s := Summary{
		Done: len(r.plan.In(plan.Done)), Forced: len(r.plan.In(plan.Forced)), Skipped: len(r.plan.In(plan.Skipped)),
		Failed: len(r.plan.In(plan.Failed)), Left: len(r.plan.In(plan.Left)) + len(r.plan.In(plan.Waiting)),
	}
	touched := r.touched || s.Done+s.Forced > 0
	for _, e := range r.ends {
		touched = touched || !e.untouched
	}
	line := Line{Event: EventResult, Result: &s}
	switch {
	case context.Cause(ctx) != nil:
		s.ExitCode, line.Reason = CodeInterrupted, "left at once; in pods that were in progress the upgrade goes on without us"
	case s.Failed > 0 && touched:
		s.ExitCode, line.Reason = CodeFailed, "stopped at a failure"
	case s.Failed > 0:
		s.ExitCode, line.Reason = CodeRefused, "refused, nothing was touched"
	case s.Left > 0 && r.stalled != "" && touched:
		s.ExitCode, line.Reason = CodeFailed, r.stalled
	case s.Left > 0 && r.stalled != "":
		s.ExitCode, line.Reason = CodeRefused, r.stalled
	case s.Left > 0:
		s.ExitCode, line.Reason = CodeInterrupted, "interrupted"
	case s.Forced > 0:
		s.ExitCode = CodeForced
	}
	if s.ExitCode != CodeDone && s.ExitCode != CodeForced {
		s.WayOut = r.way.wayOut(append(r.plan.In(plan.Failed), append(r.plan.In(plan.Left), r.plan.In(plan.Waiting)...)...))
	}
	r.Report.End(line)
	return s.ExitCode
}
