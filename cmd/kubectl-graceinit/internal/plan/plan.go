// Package plan decides which pods of a roll may begin. It is pure: no I/O, no clock, no goroutine. Whoever drives it
// tells it what has happened (Note), asks which pods to begin (Begin), and does the rest.
//
// What holds at any time, whatever is noted in whatever order:
//
//   - at most Max pods are in progress;
//   - no pod that is ready begins while Max others are unavailable: in progress, or not ready by themselves;
//   - no pod begins that is not able to: its app does not run, or it is being deleted;
//   - after the first failure, and after Stop, no pod begins.
package plan

// State is how far a pod is. The legal transitions are waiting → upgrading, skipped; upgrading → rolling back, an end, or
// waiting again where the pod had gone before anything was done; rolling back → failed, left.
type State string

const (
	Waiting     State = "waiting"
	Upgrading   State = "upgrading"
	RollingBack State = "rolling back" // its upgrade has failed
	Done        State = "done"
	Forced      State = "forced"  // done, but its predecessor had to be killed
	Skipped     State = "skipped" // there was nothing to do
	Failed      State = "failed"
	Left        State = "left" // we went away while it was in progress
)

// InProgress tells whether the pod is being worked on.
func (s State) InProgress() bool { return s == Upgrading || s == RollingBack }

// Over tells whether nothing more will be done.
func (s State) Over() bool { return s != Waiting && !s.InProgress() }

// Pod is what is known of one.
type Pod struct {
	Name  string
	State State
	Ready bool // as the cluster says
	Able  bool // its app runs, and it is not being deleted
	Gone  bool // it is not there any more, and does not come back under this name
}

// Roll is a roll over some pods.
type Roll struct {
	Max     int   // so many may be unavailable
	Pods    []Pod // in the order in which they are begun
	Others  int   // pods of the selection that are not in this roll and not ready
	stopped bool
}

// Event is something that has happened.
type Event interface{ happened() }

// Observed is what the cluster says of a pod.
type Observed struct {
	Pod               string
	Ready, Able, Gone bool
}

// ObservedOthers counts the pods that are not in the roll and not ready: those that were created since.
type ObservedOthers struct{ NotReady int }

// Failing says that a pod's upgrade has failed; it is being put back.
type Failing struct{ Pod string }

// Ended says that nothing more is done with a pod; or for now, with the state Waiting.
type Ended struct {
	Pod   string
	State State
}

// Stop says that no further pod is to begin.
type Stop struct{}

func (Observed) happened()       {}
func (ObservedOthers) happened() {}
func (Failing) happened()        {}
func (Ended) happened()          {}
func (Stop) happened()           {}

// Note takes in what has happened. What cannot have happened is dropped: it is of an earlier time.
func (r *Roll) Note(e Event) {
	switch e := e.(type) {
	case Observed:
		if p := r.pod(e.Pod); p != nil {
			p.Ready, p.Able, p.Gone = e.Ready, e.Able, e.Gone
			if p.Gone && p.State == Waiting {
				p.State = Skipped
			}
		}
	case ObservedOthers:
		r.Others = e.NotReady
	case Failing:
		if p := r.pod(e.Pod); p != nil && p.State == Upgrading {
			p.State, r.stopped = RollingBack, true
		}
	case Ended:
		if p := r.pod(e.Pod); p != nil && p.State.InProgress() && !e.State.InProgress() {
			p.State = e.State
			// What was last seen of it is of the time before. It counts as unavailable until it is seen again.
			p.Ready, p.Able = false, false
			r.stopped = r.stopped || e.State == Failed || e.State == Left
		}
	case Stop:
		r.stopped = true
	}
}

// Begin returns the pods that are to begin now, which are upgrading from then on.
func (r *Roll) Begin() (names []string) {
	for i := range r.Pods {
		if p := &r.Pods[i]; r.may(p) {
			p.State = Upgrading
			names = append(names, p.Name)
		}
	}
	return names
}

func (r *Roll) may(p *Pod) bool {
	if r.stopped || p.State != Waiting || !p.Able || r.InProgress() >= r.Max {
		return false
	}
	// A pod that is not ready counts already: working on it makes nothing worse, and may be what it needs.
	return !p.Ready || r.Unavailable() < r.Max
}

// InProgress counts the pods that are being worked on.
func (r *Roll) InProgress() (n int) {
	for _, p := range r.Pods {
		if p.State.InProgress() {
			n++
		}
	}
	return n
}

// Unavailable counts the pods that are in progress, or not ready by themselves.
func (r *Roll) Unavailable() int {
	n := r.Others
	for _, p := range r.Pods {
		if p.State.InProgress() || !p.Ready && !p.Gone {
			n++
		}
	}
	return n
}

// Stopped tells whether no further pod will begin.
func (r *Roll) Stopped() bool { return r.stopped }

// Over tells whether nothing is left to do, or to wait for.
func (r *Roll) Over() bool {
	return r.InProgress() == 0 && (r.stopped || len(r.In(Waiting)) == 0)
}

// Blocked tells whether the roll only waits for pods to become ready, or able.
func (r *Roll) Blocked() bool {
	if r.Over() || r.InProgress() > 0 {
		return false
	}
	for i := range r.Pods {
		if r.may(&r.Pods[i]) {
			return false
		}
	}
	return true
}

// In returns the pods of a state.
func (r *Roll) In(state State) (names []string) {
	for _, p := range r.Pods {
		if p.State == state {
			names = append(names, p.Name)
		}
	}
	return names
}

func (r *Roll) pod(name string) *Pod {
	for i := range r.Pods {
		if r.Pods[i].Name == name {
			return &r.Pods[i]
		}
	}
	return nil
}
