package fleet

import (
	"errors"
	"slices"
	"testing"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
)

// readyPod makes a pod whose app runs.
func readyPod(name, controller string) kube.Pod {
	p := kube.Pod{Meta: kube.Meta{Name: name, OwnerReferences: []kube.Owner{{Kind: controller, Name: "hello", Controller: true}}}}
	app := kube.ContainerStatus{Name: "app"}
	app.State.Running = &struct{}{}
	p.Status.ContainerStatuses = []kube.ContainerStatus{app}
	p.Status.Conditions = append(p.Status.Conditions, struct {
		Type   string `json:"type"`
		Status string `json:"status"`
	}{"Ready", "True"})
	return p
}

func TestObserve(t *testing.T) {
	a, b := readyPod("a", "StatefulSet"), readyPod("b", "ReplicaSet")
	r := &roll{
		plan: &plan.Roll{Max: 2, Pods: []plan.Pod{{Name: "a", State: plan.Waiting}, {Name: "b", State: plan.Waiting}}},
		jobs: map[string]job{"a": {pod: a, container: "app"}, "b": {pod: b, container: "app"}},
	}
	both := []kube.Pod{a, b}
	unavailable := func(what string, want int) {
		t.Helper()
		if got := r.plan.Unavailable(); got != want {
			t.Errorf("%s: %d are unavailable, not %d", what, got, want)
		}
	}
	r.epoch = 1
	if r.observe(list{epoch: 0, pods: both}) {
		t.Error("a list of before the end of a pod is believed")
	}
	unavailable("nothing is known", 2)
	if !r.observe(list{epoch: 1, pods: both}) {
		t.Error("a list is not believed")
	}
	unavailable("both are ready", 0)
	r.observe(list{epoch: 1, err: errors.New("no answer")})
	unavailable("no list", 2)
	r.observe(list{epoch: 1, pods: []kube.Pod{b, readyPod("c", "ReplicaSet")}})
	unavailable("a StatefulSet's pod is being replaced", 1)
	c := kube.Pod{Meta: kube.Meta{Name: "c"}}
	r.observe(list{epoch: 1, pods: []kube.Pod{a, c}})
	unavailable("a Deployment's pod was replaced, and the new one is not ready", 1)
	if got := r.plan.In(plan.Skipped); !slices.Equal(got, []string{"b"}) {
		t.Errorf("skipped: %v", got)
	}
	c.Status.Phase = "Succeeded"
	r.observe(list{epoch: 1, pods: []kube.Pod{a, c}})
	unavailable("one that has ended is not missed", 0)
}
