package lab

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Times that suit a lab, for the app of a workload of deploy/k8s.
func quick(kind string, grace int, env ...string) string {
	text := fmt.Sprintf(`apiVersion: apps/v1
kind: %s
metadata: {name: hello}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: %d
      containers:
      - name: app
        readinessProbe: {periodSeconds: 1}
        env:
        - {name: GRACEINIT_PROBATION, value: 1s}
        - {name: GRACEINIT_READY_TIMEOUT, value: 5s}
`, kind, grace)
	for i := 0; i+1 < len(env); i += 2 {
		text += fmt.Sprintf("        - {name: %s, value: %q}\n", env[i], env[i+1])
	}
	return text
}

func hello(v string) string { return "registry.example/hello:" + v }

// TestPayloadSwaps: `kubectl set image` on the payload's container upgrades the app, 20 times under load. A bad one
// leaves the old one serving, and says why where people look.
func TestPayloadSwaps(t *testing.T) {
	t.Parallel()
	s := enter(t, "payload")
	s.kustomize("base/payload-statefulset", quick("StatefulSet", 60, "GRACEINIT_DRAIN_DELAY", "1s"), `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: hello}
spec: {replicas: 1}
`)
	before := s.ready(1)[0]
	if v := s.answers(before); v != "v1" {
		t.Fatalf("it begins with %s", v)
	}
	run := s.drive(before)
	swap := func(v string) delivery {
		t.Helper()
		old := container(t, s.pod("hello-0"), "payload").ContainerID
		began := time.Now()
		s.kubectl("set", "image", "pod/hello-0", "payload="+hello(v))
		d := s.delivered("hello-0", hello(v), old)
		s.Logf("%s: %s after %v %s", v, d.Result, time.Since(began).Round(10*time.Millisecond), d.Reason)
		return d
	}
	began := time.Now()
	for i := range *swaps {
		v := []string{"v2", "v3"}[i%2]
		if d := swap(v); d.Result != "delivered" {
			t.Fatalf("swap %d: %+v", i+1, d)
		}
		if got := s.answers(before); got != v {
			t.Fatalf("after swap %d to %s it answers as %s", i+1, v, got)
		}
	}
	s.Logf("%d swaps in %v", *swaps, time.Since(began).Round(time.Second))
	serving := s.answers(before)

	// A version that does not come up: refused by nobody, it fails before it was ready.
	bad := swap("bad")
	if bad.Result != "failed" || bad.Reason == "" {
		t.Errorf("a bad payload: %+v", bad)
	}
	// What is no program at all: refused, nothing was touched.
	if d := swap("text"); d.Result != "refused" && d.Result != "failed" || d.Reason == "" {
		t.Errorf("a payload that is no program: %+v", d)
	}
	s.await("the reason is the message of the payload's last state", 10*time.Second, func() bool {
		return strings.Contains(s.kubectl("describe", "pod", "hello-0"), bad.Reason)
	})
	if got := s.answers(before); got != serving {
		t.Errorf("after a bad payload it answers as %s, not as %s", got, serving)
	}
	s.undisturbed(before, "app")

	// No such image: the kubelet has stopped the payload by then, and says why it cannot start it.
	s.kubectl("set", "image", "pod/hello-0", "payload="+hello("missing"))
	s.await("the kubelet has found no image", time.Minute, func() bool {
		w := container(t, s.pod("hello-0"), "payload").State.Waiting
		return w != nil && w.Reason == "ErrImagePull"
	})
	described := s.kubectl("describe", "pod", "hello-0")
	for _, want := range []string{"ErrImagePull", "failed to resolve reference"} {
		if !strings.Contains(described, want) {
			t.Errorf("kubectl describe does not say %q:\n%s", want, described)
		}
	}
	if podReady(s.pod("hello-0")) {
		t.Error("with a payload that does not run the pod is ready; a real one is not")
	}
	if d := swap(serving); d.Result != "unchanged" {
		t.Errorf("the payload of what is there already: %+v", d)
	}
	s.clean(run.Stop(), "swaps, a bad payload, a missing one")

	// One that crashes in its probation. There is no load: what it was answering just then no init can save.
	if d := swap("late"); d.Result != "failed" || d.Reason == "" {
		t.Errorf("a payload that fails a moment after it was ready: %+v", d)
	}
	if got := s.answers(before); got != serving {
		t.Errorf("after a payload that fails later it answers as %s, not as %s", got, serving)
	}
	s.undisturbed(before, "app")

	// The container starts again with what was delivered last, not with what was refused.
	s.kubectl("exec", "hello-0", "-c", "app", "--", "/grace/graceinit", "stop")
	s.await("the app's container has started again", time.Minute, func() bool {
		p := s.pod("hello-0")
		return container(t, p, "app").RestartCount == 1 && podReady(p)
	})
	if got := s.answers(before); got != serving {
		t.Errorf("its container started again, it answers as %s, not as %s", got, serving)
	}
}
