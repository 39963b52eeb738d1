package lab

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
	"github.com/graceinit/graceinit/test/container/load"
)

// ends follows a pod until it has gone, and tells how its container app ended, and how long the whole took.
func (s *space) ends(name string, deletion func()) (*corev1.ContainerStateTerminated, time.Duration) {
	s.Helper()
	uid := s.pod(name).UID
	began := time.Now()
	deletion()
	var t *corev1.ContainerStateTerminated
	s.await(name+" has gone", time.Minute, func() bool {
		p, err := apiserver.Get[*corev1.Pod](theLab.API.Store, s.name, name)
		return err != nil || p.UID != uid
	})
	took := time.Since(began)
	for _, p := range apiserver.History[*corev1.Pod](theLab.API.Store, watch.Modified, 0) {
		if p.UID != uid {
			continue
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.Name == "app" && c.State.Terminated != nil {
				t = c.State.Terminated
			}
		}
	}
	if t == nil {
		s.Fatalf("%s has gone, and never said how its container ended", name)
	}
	return t, took
}

const alone = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: hello}
spec: {replicas: 1}
`

// TestStopWithinGrace: a pod is deleted under load. It serves on for as long as the drain delay, and what is in flight
// then gets its answer.
func TestStopWithinGrace(t *testing.T) {
	t.Parallel()
	s := enter(t, "stop-within")
	s.kustomize("base/payload-statefulset", quick("StatefulSet", 15,
		"GRACEINIT_GRACE_PERIOD", "15s", "GRACEINIT_DRAIN_DELAY", "3s", "GRACEINIT_STOP_TIMEOUT", "7s", "HELLO_SLOW", "2s"), alone)
	p := s.ready(1)[0]
	run := s.drive(p)
	s.await("slow requests are in flight", 10*time.Second, func() bool { return run.InFlight(load.Slow) == 4 })
	end, took := s.ends(p.Name, func() {
		s.kubectl("delete", "pod", p.Name, "--wait=false")
		// What a load balancer does while the pod waits: it forgets it.
		time.AfterFunc(1500*time.Millisecond, run.DrainFast)
		time.AfterFunc(2*time.Second, run.Drain)
	})
	s.clean(run.Stop(), "a stop")
	if end.ExitCode != 0 {
		t.Errorf("the app's container ended with %d (%s: %s)", end.ExitCode, end.Reason, end.Message)
	}
	if took < 3*time.Second || took > 12*time.Second {
		t.Errorf("it took %v: the drain delay is 3 s, and then what was in flight 2 s", took)
	}
	t.Logf("exit code %d after %v", end.ExitCode, took.Round(100*time.Millisecond))
}

// TestStopBeyondTimeout: the app takes longer than the stop timeout. graceinit ends it, before the kubelet would.
func TestStopBeyondTimeout(t *testing.T) {
	t.Parallel()
	s := enter(t, "stop-beyond")
	s.kustomize("base/payload-statefulset", quick("StatefulSet", 20,
		"GRACEINIT_GRACE_PERIOD", "20s", "GRACEINIT_DRAIN_DELAY", "0s", "GRACEINIT_STOP_TIMEOUT", "2s", "GRACEINIT_KILL_TIMEOUT", "1s",
		"HELLO_SLOW", "14s"), alone)
	p := s.ready(1)[0]
	run := s.drive(p)
	s.await("slow requests are in flight", 10*time.Second, func() bool { return run.InFlight(load.Slow) == 4 })
	run.Drain()
	end, took := s.ends(p.Name, func() { s.kubectl("delete", "pod", p.Name, "--wait=false") })
	if end.ExitCode != 137 || end.Message == "" {
		t.Errorf("the app's container ended with %d (%s: %q), and should say that the app was killed", end.ExitCode, end.Reason, end.Message)
	}
	if took < 2*time.Second || took > 10*time.Second {
		t.Errorf("it took %v: the stop timeout is 2 s, the grace period 20", took)
	}
	t.Logf("exit code %d after %v: %s", end.ExitCode, took.Round(100*time.Millisecond), end.Message)
	for _, f := range run.Abort().Failures {
		if f.Kind != load.Slow {
			t.Errorf("a request failed that was not in flight: %v", f)
		}
	}
}

// TestStopBeyondGrace: the times do not fit the grace period. graceinit has said so at its start, and the kubelet kills.
func TestStopBeyondGrace(t *testing.T) {
	t.Parallel()
	s := enter(t, "stop-killed")
	s.kustomize("base/payload-statefulset", quick("StatefulSet", 3,
		"GRACEINIT_GRACE_PERIOD", "3s", "GRACEINIT_DRAIN_DELAY", "0s", "GRACEINIT_STOP_TIMEOUT", "50s", "HELLO_SLOW", "14s"), alone)
	p := s.ready(1)[0]
	if said := s.kubectl("logs", p.Name, "-c", "app"); !strings.Contains(said, "grace period") {
		t.Errorf("the app's log does not say that the times do not fit: %s", said)
	}
	run := s.drive(p)
	s.await("slow requests are in flight", 10*time.Second, func() bool { return run.InFlight(load.Slow) == 4 })
	run.Drain()
	end, took := s.ends(p.Name, func() { s.kubectl("delete", "pod", p.Name, "--wait=false") })
	if end.ExitCode != 137 {
		t.Errorf("the app's container ended with %d (%s: %q), and should have been killed", end.ExitCode, end.Reason, end.Message)
	}
	if took < 3*time.Second || took > 9*time.Second {
		t.Errorf("it took %v: the grace period is 3 s", took)
	}
	t.Logf("exit code %d after %v: %q", end.ExitCode, took.Round(100*time.Millisecond), end.Message)
	run.Abort()
}
