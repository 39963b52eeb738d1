package main

import (
	"strings"
	"testing"
)

// The payload restarts by itself with the old image before the kubelet acts on the patch: what it says then is of the
// old version. Or it ends while its log is read.
func TestPayloadRestarts(t *testing.T) {
	for _, how := range []string{"restarts with the old image", "ends while it is read"} {
		b := newBed(t, 3, func(c *cluster) { c.Pods[1].Behaviour[v2] = how })
		b.roll(0, "--image", v2, "--timeout", "5s")
		b.expect(how+": the pods run", b.apps(), "222")
		for _, l := range b.lines() {
			if l.Delivery != nil && l.Delivery.SHA256 != digest(v2) {
				t.Errorf("%s: a delivery of %s is believed", how, l.Delivery.SHA256)
			}
		}
		if p := b.cluster().Pods[1]; !p.Restarted {
			t.Errorf("%s: it has not", how)
		}
	}
}

// The same, for a roll that was left before.
func TestPayloadRestartsInAResumedRoll(t *testing.T) {
	b := newBed(t, 2, func(c *cluster) {
		c.Sets["hello"].Image, c.Sets["hello"].Seed = v2, v2
		p := c.Pods[1]
		p.Image, p.Since, p.Upgrading, p.Restarted, p.Container = v2, 1, true, true, 1
		p.Annotations["graceinit/previous-image"] = v1
		p.Annotations["graceinit/previous-container"] = "containerd://hello-1-0"
		p.Annotations["graceinit/previous-image-id"] = imageID(v1)
	})
	b.roll(0, "--image", v2, "--dry-run", "-o", "table")
	b.says("hello-1   follow") // its log is not believed
	b.roll(0, "--image", v2, "--timeout", "5s")
	b.expect("the pods run", b.apps(), "22")
	if s := b.result(); s.Done != 2 {
		t.Errorf("%+v", s)
	}
}

// What is wrong with the old image may be said in more than one way, and a moment longer than it is true.
func TestStalePullError(t *testing.T) {
	b := newBed(t, 2, func(c *cluster) {
		p := c.Pods[1]
		p.Image, p.Running, p.Stuck = v3, "", `Back-off pulling image "`+v3+`"`
	})
	b.roll(0, "--image", v2, "--timeout", "5s")
	b.expect("the pods run", b.apps(), "22")
}

// A payload that goes on with a command of its own may write more than anybody wants to read.
func TestChattyPayload(t *testing.T) {
	b := newBed(t, 2, func(c *cluster) {
		c.Pods[0].Chatty, c.Pods[1].Chatty = 100000, 100000
	})
	b.roll(0, "--image", v2, "--timeout", "5s")
	b.roll(0, "--image", v2, "--timeout", "5s")
	if s := b.result(); s.Skipped != 2 {
		t.Errorf("%+v", s)
	}

	// Nothing is left of the delivery's line: the pod's record and its graceinit say that it is as it should be.
	b.change(func(c *cluster) { c.Pods[0].NoLine, c.Pods[1].NoLine = true, true })
	b.roll(0, "--image", v2, "--timeout", "1s")
	if s := b.result(); s.Skipped != 2 {
		t.Errorf("%+v", s)
	}
	b.expect("the pods run", b.apps(), "22")
	// Not so where something else runs.
	b.change(func(c *cluster) { c.Pods[0].App = digest(newBinary) })
	b.roll(0, "--image", v2, "--dry-run", "-o", "table")
	b.says("hello-0   follow")
}

// A failed pod is put back, even if the API server is being replaced meanwhile. A refusal is believed at once.
func TestPutBackIsTriedAgain(t *testing.T) {
	b := newBed(t, 2, func(c *cluster) { c.Pods[1].Behaviour[v2], c.Pods[1].FailPatches = "refused", 3 })
	b.roll(2, "--image", v2)
	b.says("rolled back to " + v1)
	b.expect("the pods run", b.apps(), "11")
	if p := b.cluster().Pods[1]; p.Image != v1 || p.FailPatches != 0 {
		t.Errorf("%+v", p)
	}
	b = newBed(t, 2, func(c *cluster) { c.Pods[1].Behaviour[v2], c.Pods[1].FailPatches = "refused", 1<<30 })
	b.roll(2, "--image", v2, "--timeout", "1s")
	b.says("NOT ROLLED BACK", "Unable to connect to the server: EOF")
}

// A template that differs in more than the image is not what the pod has.
func TestDrift(t *testing.T) {
	b := newBed(t, 2, func(c *cluster) {
		c.Sets["hello"].Env = "debug"
		c.Pods[0].Env = "debug"
	})
	for range 2 {
		b.roll(0, "--image", v2, "--timeout", "5s")
		b.expect("the pods run", b.apps(), "22")
		b.says("differs from the template in app's env: replace it (kubectl delete pod hello-1) when that suits")
		c := b.cluster()
		if c.Pods[1].Labels["controller-revision-hash"] == c.Sets["hello"].revision() {
			t.Error("a pod that differs from the template has the label of its revision")
		}
		if c.Pods[0].Labels["controller-revision-hash"] != c.Sets["hello"].revision() {
			t.Error("a pod like the template has not the label of its revision")
		}
	}
	if got := strings.Count(b.out+b.errs, "differs from the template"); got == 0 {
		t.Error("it is said once only")
	}
}

// A tag says nothing of what runs once a binary was streamed into the pod.
func TestStatusAfterABinary(t *testing.T) {
	b := newBed(t, 1, nil)
	b.roll(0, "--image", v2, "--timeout", "5s")
	b.roll(0, "--binary", b.file("hello-v2"))
	b.run(0, "status", "hello-0")
	b.says("IMAGE", "hello:v2 (another runs)", digest(newBinary)[:12])
}
