package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
)

// Run rolls over the pods that the options name, and returns the exit code. When stop is closed no further pod begins;
// when the context is canceled everything ends at once.
func (f *Fleet) Run(ctx context.Context, way Way, stop <-chan struct{}) int {
	r := &roll{Fleet: f, way: way, news: make(chan news), lists: make(chan list), stop: stop}
	code, over := r.survey(ctx)
	if over {
		return code
	}
	if err := way.prepare(ctx); err != nil {
		return f.refuse(err, r.interrupted())
	}
	r.loop(ctx)
	return r.result(ctx)
}

// roll is the state of a roll. The goroutine that called Run owns it.
type roll struct {
	*Fleet
	way   Way
	plan  *plan.Roll
	jobs  map[string]job
	rows  []Row // in the order of plan.Pods
	ends  []end // those of pods that failed
	news  chan news
	lists chan list
	stop  <-chan struct{}

	listing    bool
	epoch      int // counts the pods that have ended: what was listed before is not believed
	asked      bool
	blocked    time.Time // since when nothing is in progress and nothing can begin
	stalled    string    // what was waited for in vain
	listFailed error
}

// list is what the cluster says of the pods.
type list struct {
	epoch int
	pods  []kube.Pod
	err   error
}

func (r *roll) interrupted() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// refuse says why nothing is done, or nothing more.
func (f *Fleet) refuse(err error, interrupted bool) int {
	code := CodeRefused
	switch {
	case interrupted:
		code = CodeInterrupted
	case f.touched:
		code = CodeFailed
	}
	f.Report.End(Line{Event: EventResult, Reason: err.Error(), Result: &Summary{ExitCode: code, DryRun: f.DryRun}})
	return code
}

// List returns the pods that are meant. Where that fails there is an exit code.
func (f *Fleet) List(ctx context.Context) ([]kube.Pod, int) {
	pods, err := f.Kube.Pods(ctx, f.Selection, false)
	if err == nil && len(pods) == 0 {
		err = fmt.Errorf("no pod has the labels %s", f.Selection.Selector)
	}
	if err == nil {
		return pods, CodeDone
	}
	code := CodeRefused
	switch {
	case errors.Is(context.Cause(ctx), errStopped):
		code = CodeInterrupted
	case kube.Unreachable(err):
		code = CodeUnavailable
	}
	f.Report.End(Line{Event: EventResult, Reason: fmt.Sprintf("cannot list the pods: %v", err), Result: &Summary{ExitCode: code}})
	return nil, code
}

var errStopped = errors.New("interrupted")

// survey finds out what there is to do. It touches nothing, so that a first ^C ends it.
func (r *roll) survey(ctx context.Context) (code int, over bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-r.stop:
			cancel(errStopped)
		case <-ctx.Done():
		}
	}()
	pods, code := r.List(ctx)
	if code != CodeDone {
		return code, true
	}
	most, err := plan.ParseMax(r.MaxUnavailable, len(pods))
	if err != nil {
		return r.refuse(fmt.Errorf("--max-unavailable: %w", err), false), true
	}
	jobs, err := r.way.survey(ctx, pods)
	if err == nil {
		err = r.way.check(ctx, jobs)
	}
	if err != nil {
		return r.refuse(err, r.interrupted()), true
	}
	r.plan, r.jobs = &plan.Roll{Max: most}, map[string]job{}
	for _, j := range jobs {
		name, state := j.pod.Meta.Name, plan.Waiting
		if j.do == actSkip {
			state = plan.Skipped
		}
		r.jobs[name] = j
		r.plan.Pods = append(r.plan.Pods, plan.Pod{Name: name, State: state})
		r.rows = append(r.rows, Row{Pod: name, State: state, Note: j.reason})
		r.Report.Say(Line{Event: EventPlan, Pod: name, Do: j.do, Reason: j.reason})
	}
	if r.DryRun {
		r.Report.Plan(jobs)
		r.Report.End(Line{Event: EventResult, Result: &Summary{DryRun: true, Skipped: len(r.plan.In(plan.Skipped)), Left: len(r.plan.In(plan.Waiting))}})
		return CodeDone, true
	}
	return 0, false
}

// loop lets pods begin as the plan says, until it is over.
func (r *roll) loop(ctx context.Context) {
	tick := time.NewTicker(r.Poll)
	defer tick.Stop()
	stop, left := r.stop, ctx.Done()
	r.look(ctx)
	for {
		for _, name := range r.plan.Begin() {
			r.begin(ctx, name)
		}
		r.wait()
		r.show()
		if r.plan.Over() {
			break
		}
		select {
		case n := <-r.news:
			r.hear(n)
			if n.end != nil {
				r.epoch++
				r.look(ctx)
			}
		case l := <-r.lists:
			r.listing = false
			if !r.observe(l) {
				r.look(ctx)
			}
		case <-tick.C:
			r.look(ctx)
		case <-stop:
			stop = nil
			r.plan.Note(plan.Stop{})
			r.Report.Say(Line{Event: EventInterrupted, Reason: fmt.Sprintf("no further pod begins; %d in progress are waited for (again: leave at once)",
				r.plan.InProgress())})
		case <-left:
			left = nil
			r.plan.Note(plan.Stop{})
		}
	}
	if r.listing {
		<-r.lists
	}
}

// look lists the pods, unless that is being done, or nothing waits for it.
func (r *roll) look(ctx context.Context) {
	if r.listing || r.plan.Stopped() || len(r.plan.In(plan.Waiting)) == 0 {
		return
	}
	r.listing = true
	epoch := r.epoch
	go func() {
		pods, err := r.Kube.Pods(ctx, r.Selection, true)
		r.lists <- list{epoch, pods, err}
	}()
}

// observe notes what the cluster says. Where it says nothing, nothing is known to be ready. What was asked for before
// a pod ended is not believed: that pod was ready then, and need not be any more.
func (r *roll) observe(l list) bool {
	if l.epoch < r.epoch {
		return false
	}
	r.listFailed = l.err
	there := map[string]*kube.Pod{}
	for i := range l.pods {
		there[l.pods[i].Meta.Name] = &l.pods[i]
	}
	for name, j := range r.jobs {
		seen := plan.Observed{Pod: name}
		if pod := there[name]; pod != nil {
			seen.Ready, seen.Able = pod.Ready(), pod.Able(j.container)
			seen.Gone = pod.Ended() && pod.StatefulSet() == ""
		} else {
			// A StatefulSet's pod comes back under its name.
			seen.Gone = l.err == nil && j.pod.StatefulSet() == ""
		}
		delete(there, name)
		r.plan.Note(seen)
	}
	others := 0
	for _, pod := range there {
		if !pod.Ready() && !pod.Ended() {
			others++
		}
	}
	r.plan.Note(plan.ObservedOthers{NotReady: others})
	return true
}

// begin starts the goroutine that upgrades a pod.
func (r *roll) begin(ctx context.Context, name string) {
	j := r.jobs[name]
	row := r.row(name)
	row.Began = time.Now()
	r.Report.Say(Line{Event: EventBegin, Pod: name, Do: j.do})
	go func() {
		tell := func(n news) { r.news <- n }
		e := r.upgrade(ctx, j, tell)
		if context.Cause(ctx) != nil && e.state == plan.Failed {
			e.state = plan.Left
		}
		tell(news{pod: name, end: &e})
	}()
}

// upgrade upgrades a pod as it is now.
func (r *roll) upgrade(ctx context.Context, j job, tell func(news)) end {
	pod, err := r.Kube.Pod(ctx, j.pod.Meta.Name)
	switch {
	case err != nil:
		return end{state: plan.Failed, untouched: true, reason: fmt.Sprintf("not begun: %v", err)}
	case pod != nil && pod.Able(j.container):
		j.pod = *pod
		return r.way.upgrade(ctx, j, tell)
	case pod == nil && j.pod.StatefulSet() == "":
		return end{state: plan.Skipped, reason: "it has gone"}
	}
	return end{state: plan.Waiting, reason: "its container " + j.container + " does not run: waited for"}
}

// hear notes what a pod's goroutine tells.
func (r *roll) hear(n news) {
	row := r.row(n.pod)
	now := Line{Pod: n.pod, Elapsed: time.Since(row.Began).Seconds(), Progress: n.progress}
	switch {
	case n.end != nil:
		e := n.end
		r.plan.Note(plan.Ended{Pod: n.pod, State: e.state})
		row.Took, row.Step, row.Progress, row.Note = time.Since(row.Began), "", nil, e.reason
		if e.state == plan.Failed || e.state == plan.Left {
			r.ends = append(r.ends, *e)
		}
		now.Event, now.State, now.Reason, now.Delivery, now.Progress = EventEnd, e.state, e.reason, e.delivery, e.progress
	case n.failing != "":
		r.plan.Note(plan.Failing{Pod: n.pod})
		row.Note = n.failing
		now.Event, now.Reason = EventFailing, n.failing
	case n.step == row.Step && n.progress == nil:
		return
	default:
		row.Step, row.Progress = n.step, n.progress
		now.Event, now.Step = EventProgress, n.step
	}
	r.Report.Say(now)
}

func (r *roll) row(name string) *Row {
	for i := range r.rows {
		if r.rows[i].Pod == name {
			return &r.rows[i]
		}
	}
	return nil
}

// show brings the table up to date.
func (r *roll) show() {
	for i, p := range r.plan.Pods {
		r.rows[i].State = p.State
	}
	r.Report.Table(r.rows)
}
