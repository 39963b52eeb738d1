// Package fleet upgrades many pods: it surveys them, does what has to be done once, and then goes from pod to pod, as
// internal/plan says which may begin. One goroutine owns the state of a roll (run.go); each pod in progress has
// a goroutine that does the work and tells what happens, and touches no state.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
	"github.com/graceinit/graceinit/internal/control"
)

// Exit codes of kubectl graceinit. Up to 3 they are those of `graceinit upgrade`.
const (
	CodeDone        = control.CodeDone
	CodeRefused     = control.CodeRefused
	CodeFailed      = control.CodeFailed
	CodeForced      = control.CodeForced
	CodeUsage       = control.CodeUsage
	CodeUnavailable = control.CodeNoInit // neither kubectl nor the cluster answer
	CodeInterrupted = 130                // as a shell has it for SIGINT: pods are left to do
)

// Options say which pods are meant, and how they are worked on.
type Options struct {
	Selection      kube.Selection
	MaxUnavailable string
	Container      string // empty: found out for each pod
	Payload        string
	Graceinit      string // empty: found out for each pod
	Timeout        time.Duration
	Poll           time.Duration // between two looks at a pod
	DryRun         bool
	NoExec         bool // --image: do not even try to ask graceinit
}

// Fleet is what a roll works with.
type Fleet struct {
	Options
	Kube   *kube.Kubectl
	Report *Report

	touched bool // a template was patched
}

// Way is how pods are upgraded.
type Way interface {
	// survey finds out what there is to do, in the order of the pods. It touches nothing.
	survey(ctx context.Context, pods []kube.Pod) ([]job, error)
	// check lets the server say whether what will be done would be allowed.
	check(ctx context.Context, jobs []job) error
	// prepare does what comes before the first pod.
	prepare(ctx context.Context) error
	// upgrade upgrades one pod, and puts it back if that fails.
	upgrade(ctx context.Context, j job, tell func(news)) end
	// wayOut says how to go on, and back, when the roll has not come to its end. Left are the pods that were not begun.
	wayOut(left []string) string
}

// job is what is to be done with a pod.
type job struct {
	pod       kube.Pod
	container string // the app's
	graceinit string // its path in that container
	do        action
	reason    string
}

// action is what is to be done.
type action string

const (
	actUpgrade  action = "upgrade"
	actFollow   action = "follow" // it has begun already
	actLabel    action = "label"  // it is done but for the revision label
	actRollback action = "rollback"
	actSkip     action = "skip"
)

// news is what a pod's goroutine tells.
type news struct {
	pod      string
	step     string // what is being done, in words
	progress *control.Progress
	failing  string // why the upgrade has failed: the pod is being put back
	end      *end
}

// end is how it ended with a pod.
type end struct {
	state     plan.State
	reason    string
	untouched bool // refused before anything was done
	delivery  *control.Delivery
	progress  *control.Progress
}

func failed(format string, args ...any) end {
	return end{state: plan.Failed, reason: fmt.Sprintf(format, args...)}
}

// errLeft is why everything ends at once: the second ^C.
var errLeft = errors.New("interrupted a second time")

// ErrLeft is the cause that a context is canceled with to leave at once.
func ErrLeft() error { return errLeft }

// within bounds the work on a pod.
func (f *Fleet) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, f.Timeout, fmt.Errorf("it has not ended within %s (--timeout)", f.Timeout))
}

// pause waits until it is time to look again, and tells whether it is.
func (f *Fleet) pause(ctx context.Context) bool {
	timer := time.NewTimer(f.Poll)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// atOnce is how many pods are asked at the same time; each one is a process.
const atOnce = 8

// each calls do for every pod, some at a time, and returns the first error in the order of the pods.
func each(pods []kube.Pod, do func(i int, pod *kube.Pod) error) error {
	var group sync.WaitGroup
	places := make(chan struct{}, atOnce)
	problems := make([]error, len(pods))
	for i := range pods {
		places <- struct{}{}
		group.Go(func() {
			problems[i] = do(i, &pods[i])
			<-places
		})
	}
	group.Wait()
	for _, err := range problems {
		if err != nil {
			return err
		}
	}
	return nil
}

// newJob is a pod's, with what holds for every way: pods that go are left alone.
func (f *Fleet) newJob(pod *kube.Pod) (job, error) {
	j := job{pod: *pod, container: f.Container, graceinit: f.Graceinit, do: actUpgrade}
	switch {
	case pod.Deleting():
		j.reason = "it is being deleted"
	case pod.Ended():
		j.reason = "it has ended (" + pod.Status.Phase + ")"
	}
	if j.reason != "" && pod.StatefulSet() == "" {
		j.do = actSkip
		return j, nil
	}
	if j.container == "" {
		var err error
		if j.container, err = pod.AppContainer(f.Payload); err != nil {
			return j, err
		}
	}
	if pod.Spec.Container(j.container) == nil {
		return j, fmt.Errorf("pod %s has no container %s: name the one that runs graceinit by --container", pod.Meta.Name, j.container)
	}
	if j.graceinit == "" {
		j.graceinit = pod.Graceinit(j.container)
	}
	if j.reason == "" && !pod.Able(j.container) {
		j.reason = "its container " + j.container + " does not run: waited for"
	}
	return j, nil
}
