package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/fleet"
)

const (
	v1 = "registry.example/hello:v1"
	v2 = "registry.example/hello:v2"
	v3 = "registry.example/hello:v3"
)

// newBinary is what is streamed: its text is also its name in Behaviour.
const newBinary = "\x7fELF v2"

// bed is a cluster, and what was called in it.
type bed struct {
	t    *testing.T
	dir  string
	stop chan struct{}
	ctx  context.Context
	out  string // of the last run
	errs string
}

// newBed makes a StatefulSet of n pods with a payload; change it as the test wants.
func newBed(t *testing.T, n int, change func(*cluster)) *bed {
	b := &bed{t: t, dir: t.TempDir(), stop: make(chan struct{}), ctx: t.Context()}
	c := &cluster{
		Sets:      map[string]*fakeSet{"hello": {Strategy: "OnDelete", Image: v1, Seed: v1, Generation: 1, Observed: 1}},
		Behaviour: map[string]string{},
	}
	for i := range n {
		name := fmt.Sprintf("hello-%d", i)
		c.Pods = append(c.Pods, &fakePod{
			Name: name, UID: "uid-" + name, Kind: "StatefulSet", Owner: "hello", Since: -1, Generation: 1, Image: v1, Running: v1,
			App: digest(v1), Labels: map[string]string{"controller-revision-hash": c.Sets["hello"].revision()},
			Annotations: map[string]string{}, Behaviour: map[string]string{},
		})
	}
	if change != nil {
		change(c)
	}
	text, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, "cluster.json"), text, 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, "hello-v2"), []byte(newBinary), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs the command line, and checks the exit code.
func (b *bed) run(code int, args ...string) {
	b.t.Helper()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Setenv(fakeEnv, b.dir)
	b.t.Setenv("GORACE", "atexit_sleep_ms=0") // else each fake kubectl sleeps for a second at its end
	args = append(args, "--kubectl", self, "--context", "test")
	if args[0] != "status" {
		args = append(args, "--poll", "1ms")
	}
	var out, errs bytes.Buffer
	got := run(b.ctx, b.stop, args, &out, &errs)
	b.out, b.errs = out.String(), errs.String()
	if got != code {
		b.t.Fatalf("exit code %d, not %d\n%s\n%s", got, code, b.out, b.errs)
	}
}

// roll rolls over all pods.
func (b *bed) roll(code int, args ...string) {
	b.t.Helper()
	b.run(code, append([]string{"roll", "-l", "app.kubernetes.io/name=hello"}, args...)...)
}

func (b *bed) file(name string) string { return filepath.Join(b.dir, name) }

// cluster returns what has become of the cluster.
func (b *bed) cluster() (c *cluster) {
	locked(b.dir, func(now *cluster) { c = now })
	return c
}

func (b *bed) change(how func(*cluster)) { locked(b.dir, how) }

// apps says what runs in the pods, in their order: 1 for v1, 2 for v2, b for the binary.
func (b *bed) apps() string {
	names := map[string]string{digest(v1): "1", digest(v2): "2", digest(v3): "3", digest(newBinary): "b"}
	text := ""
	for _, p := range b.cluster().Pods {
		text += names[p.App]
	}
	return text
}

func (b *bed) expect(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s: %s, not %s\n%s\n%s", what, got, want, b.out, b.errs)
	}
}

// says wants a text in what was printed.
func (b *bed) says(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		if !strings.Contains(strings.ReplaceAll(b.out+b.errs, `\"`, `"`), text) {
			b.t.Errorf("it does not say %q\n%s\n%s", text, b.out, b.errs)
		}
	}
}

// calls returns the calls of kubectl that contain a text.
func (b *bed) calls(text string) (found []string) {
	for _, call := range b.cluster().Calls {
		if strings.Contains(call, text) {
			found = append(found, call)
		}
	}
	return found
}

// untouched wants that nothing was changed.
func (b *bed) untouched() {
	b.t.Helper()
	for _, verb := range []string{"patch", "upgrade --binary", "rollback"} {
		for _, call := range b.calls(verb) {
			if !strings.Contains(call, "--dry-run=server") {
				b.t.Errorf("kubectl %s", call)
			}
		}
	}
}

func (b *bed) lines() (lines []fleet.Line) {
	b.t.Helper()
	for text := range strings.Lines(b.out) {
		var line fleet.Line
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			b.t.Fatalf("%s: %v", text, err)
		}
		lines = append(lines, line)
	}
	return lines
}

func (b *bed) result() fleet.Summary {
	b.t.Helper()
	lines := b.lines()
	if len(lines) == 0 || lines[len(lines)-1].Result == nil {
		b.t.Fatalf("no result\n%s\n%s", b.out, b.errs)
	}
	return *lines[len(lines)-1].Result
}

func (b *bed) noneBeginsAfterAFailure() {
	b.t.Helper()
	failed := ""
	for _, l := range b.lines() {
		if l.State == "failed" || l.Event == fleet.EventFailing {
			failed = l.Pod
		}
		if l.Event == fleet.EventBegin && failed != "" {
			b.t.Errorf("%s begins after %s has failed", l.Pod, failed)
		}
	}
	if failed == "" {
		b.t.Errorf("none has failed\n%s", b.out)
	}
}

// Twenty pods, a bad one in the middle: it is put back, the others are left, and after the fix all get it.
func TestRollOfABinary(t *testing.T) {
	b := newBed(t, 20, func(c *cluster) { c.Pods[9].Behaviour[newBinary], c.Barrier = "failed", 3 })
	b.roll(2, "--binary", b.file("hello-v2"), "--max-unavailable", "15%")
	c := b.cluster()
	if c.Most != 3 || c.Unready > 3 {
		t.Errorf("%d in an upgrade at a time, %d not ready", c.Most, c.Unready)
	}
	if got := b.apps(); got[9] != '1' || !strings.HasSuffix(got, "bbbbbbbbb") || !strings.HasPrefix(got, "1") {
		t.Errorf("after the failure: %s", got)
	}
	b.noneBeginsAfterAFailure()
	b.says("hello-9", "the successor died after 1.2s with exit code 3", "graceinit has rolled back")
	done := strings.Count(b.apps(), "b")
	if s := b.result(); s.Done != done || s.Failed != 1 || s.Left != 19-done || s.ExitCode != 2 || s.WayOut == "" {
		t.Errorf("%+v, with %s", s, b.apps())
	}

	b.change(func(c *cluster) { c.Pods[9].Behaviour = nil })
	b.roll(0, "--binary", b.file("hello-v2"), "--max-unavailable", "15%")
	b.expect("after the fix", b.apps(), strings.Repeat("b", 20))
	if s := b.result(); s.Done != 20-done || s.Skipped != done {
		t.Errorf("%+v; it should have skipped %d", s, done)
	}
	if got := len(b.calls("upgrade --binary")); got != 21 {
		t.Errorf("%d upgrades in 20 pods, of which one failed once", got)
	}
	if c := b.cluster(); c.Most > 3 {
		t.Errorf("%d in an upgrade at a time", c.Most)
	}
}

func TestRollOfAnImage(t *testing.T) {
	b := newBed(t, 20, func(c *cluster) { c.Pods[9].Behaviour[v2], c.Barrier = "refused", 4 })
	b.roll(2, "--image", v2, "--max-unavailable", "4")
	c := b.cluster()
	if c.Most != 4 || c.Unready > 4 {
		t.Errorf("%d in an upgrade at a time, %d not ready", c.Most, c.Unready)
	}
	b.noneBeginsAfterAFailure()
	bad := c.Pods[9]
	if bad.Image != v1 || bad.Running != v1 || bad.App != digest(v1) || bad.Annotations["graceinit/previous-image"] != "" {
		t.Errorf("the bad one: %+v", bad)
	}
	if set := c.Sets["hello"]; set.Image != v2 || set.Seed != v2 {
		t.Errorf("the template: %+v", set)
	}
	b.says("its delivery was refused: the check failed: exit code 7", "rolled back to "+v1, "StatefulSet hello names "+v2)
	for _, p := range c.Pods {
		if p.App == digest(v2) && (p.Labels["controller-revision-hash"] != c.Sets["hello"].revision() || p.Annotations["graceinit/previous-image"] != v1) {
			t.Errorf("%+v", p)
		}
	}
	patches := b.calls("patch")
	patches = slices.DeleteFunc(patches, func(call string) bool { return strings.Contains(call, "--dry-run=server") })
	if !strings.HasPrefix(patches[0], "patch statefulset hello") || !strings.HasPrefix(patches[1], "patch pod hello-19") &&
		!strings.HasPrefix(patches[1], "patch pod hello-1") {
		t.Errorf("the template comes first, then the pods: %s", patches)
	}

	b.change(func(c *cluster) { c.Pods[9].Behaviour = nil })
	b.roll(0, "--image", v2, "--max-unavailable", "4")
	b.expect("after the fix", b.apps(), strings.Repeat("2", 20))
	if got := len(b.calls("patch statefulset")); got != 2 { // once tried, once done
		t.Errorf("%d patches of the template", got)
	}
	for _, p := range b.cluster().Pods {
		if p.Labels["controller-revision-hash"] != c.Sets["hello"].revision() {
			t.Errorf("%s has the label %s", p.Name, p.Labels["controller-revision-hash"])
		}
	}

	b.run(0, "rollback", "-l", "app.kubernetes.io/name=hello")
	b.expect("after the rollback", b.apps(), strings.Repeat("1", 20))
	c = b.cluster()
	if c.Sets["hello"].Image != v1 || c.Sets["hello"].Seed != v1 || c.Pods[3].Annotations["graceinit/previous-image"] != "" ||
		c.Pods[3].Labels["controller-revision-hash"] != c.Sets["hello"].revision() {
		t.Errorf("after the rollback: %+v %+v", c.Sets["hello"], c.Pods[3])
	}
	b.run(1, "rollback", "-l", "app.kubernetes.io/name=hello")
}

// How it can end with one pod of three, and what is said then.
func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name, outcome string
		image         bool
		code          int
		apps          string
		says          []string
	}{
		{"binary", "", false, 0, "bbb", []string{`"done":3`}},
		{"refused binary", "refused", false, 2, "11b", []string{"refused: the check failed"}},
		{"failed binary", "failed", false, 2, "11b", []string{"died after 1.2s", "has rolled back"}},
		{"forced binary", "forced", false, 3, "bbb", []string{`"forced":1`, "had to be killed"}},
		{"binary, not ready", "unready", false, 2, "11b", []string{"the app is not ready", "rolled back"}},
		{"another binary runs", "another", false, 2, "11b", []string{"runs a binary with the SHA-256", "rolled back"}},
		{"connection lost, done", "lost after", false, 0, "bbb", []string{"the upgrade went on"}},
		{"connection lost, nothing done", "lost before", false, 2, "11b", []string{"unexpected EOF", "runs as before"}},
		{"image", "", true, 0, "222", []string{`"done":3`}},
		{"refused image", "refused", true, 2, "112", []string{"delivery was refused", "rolled back to"}},
		{"failed image", "failed", true, 2, "112", []string{"delivery was failed", "exit code 3", "rolled back to"}},
		{"forced image", "forced", true, 3, "222", []string{`"forced":1`}},
		{"image, not ready", "unready", true, 2, "112", []string{"the app is not ready", "rolled back to"}},
		{"no such image", "no image", true, 2, "112", []string{"ImagePullBackOff: Back-off pulling image " + v2, "rolled back to"}},
		{"payload that crashes", "crash", true, 2, "112", []string{"exit code 126", "no such file", "rolled back to"}},
		{"payload that says nothing", "silent", true, 2, "112", []string{"not ended within 2s", "waits for the delivery", "rolled back to"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 3, func(w *cluster) { w.Pods[1].Behaviour = map[string]string{newBinary: c.outcome, v2: c.outcome} })
			args := []string{"--binary", b.file("hello-v2")}
			if c.image {
				args = []string{"--image", v2}
			}
			if c.outcome == "unready" || c.outcome == "silent" {
				args = append(args, "--timeout", "2s")
			}
			b.roll(c.code, args...)
			b.expect("the pods run", b.apps(), c.apps)
			b.says(c.says...)
			if got := b.cluster(); got.Most > 1 || got.Unready > 1 {
				t.Errorf("%d in an upgrade at a time, %d not ready", got.Most, got.Unready)
			}
		})
	}
}

// What is refused before anything is touched.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*cluster)
		image  bool
		code   int
		says   string
	}{
		{"unreachable", func(c *cluster) { c.Unreachable = true }, true, 69, "was refused - did you specify"},
		{"list forbidden", func(c *cluster) { c.Forbidden = []string{"get"} }, true, 1, "(Forbidden)"},
		{"exec forbidden", func(c *cluster) { c.Forbidden = []string{"exec"} }, false, 1, "needs the right to create pods/exec"},
		{"patch forbidden", func(c *cluster) { c.Forbidden = []string{"patch"} }, true, 1, "the server was only asked"},
		{"rolling update", func(c *cluster) { c.Sets["hello"].Strategy = "RollingUpdate" }, true, 1, `"type":"OnDelete"`},
		{"no payload", func(c *cluster) { c.Pods[1].Image = "" }, true, 1, "pod hello-1 has no container payload"},
		{"refused earlier", func(c *cluster) {
			c.Pods[1].Image, c.Pods[1].Running, c.Pods[1].Behaviour[v2] = v2, v2, "refused"
		}, true, 1, "kubectl graceinit rollback hello-1"},
		{"no pods", func(c *cluster) { c.Pods = nil }, true, 1, "no pod has the labels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 3, c.change)
			args := []string{"--binary", b.file("hello-v2")}
			if c.image {
				args = []string{"--image", v2}
			}
			b.roll(c.code, args...)
			b.says(c.says)
			b.untouched()
		})
	}
}

func TestUsage(t *testing.T) {
	b := newBed(t, 1, nil)
	for _, args := range [][]string{
		{}, {"frob"}, {"roll", "hello-0"}, {"roll", "--image", v2}, {"roll", "-l", "x=y", "hello-0", "--image", v2},
		{"roll", "hello-0", "--image", v2, "--binary", "x"}, {"roll", "hello-0", "--image", v2, "--max-unavailable", "0"},
		{"roll", "hello-0", "--image", v2, "-o", "yaml"}, {"rollback", "hello-0", v1}, {"status"}, {"status", "hello-0", "--frob"},
		{"roll", "hello-0", "--image", v2, "--timeout", "0s"},
	} {
		var out, errs bytes.Buffer
		if code := run(b.ctx, b.stop, args, &out, &errs); code != 64 || !strings.HasPrefix(errs.String(), "kubectl graceinit: ") {
			t.Errorf("%q: %d, %s", args, code, errs.String())
		}
	}
	b.roll(1, "--binary", b.file("none"))
	b.says("no such file")
	b.run(1, "roll", "hello-0", "hello-7", "--image", v2)
	b.says(`pods "hello-7" not found`)
	b.run(0, "roll", "pod/hello-0", "--image", v2)
}

func TestDryRun(t *testing.T) {
	b := newBed(t, 3, func(c *cluster) {
		c.Pods[0].App = digest(newBinary)
		c.Pods[2].NotRunning = true
	})
	b.roll(0, "--binary", b.file("hello-v2"), "--dry-run", "-o", "table", "--timeout", "1s")
	b.expect("table", b.out, `warning: pods that belong to a StatefulSet (3): one that is replaced returns silently to the version of its image, and so does one whose container restarts
POD       WOULD
hello-2   upgrade   its container app does not run: waited for
hello-1   upgrade
hello-0   skip      it runs it already
`)
	b.roll(0, "--image", v2, "--dry-run")
	if s := b.result(); !s.DryRun || s.Left != 3 {
		t.Errorf("%+v", s)
	}
	b.untouched()
	b.expect("the pods run", b.apps(), "b11")
}

// Without the right to exec, the payload's log alone counts.
func TestNoExec(t *testing.T) {
	b := newBed(t, 2, func(c *cluster) { c.Forbidden = []string{"exec"} })
	b.roll(0, "--image", v2)
	b.says("pods/exec is not allowed", "graceinit was not asked")
	b.expect("the pods run", b.apps(), "22")
	if got := len(b.calls("exec")); got != 1 {
		t.Errorf("it was tried %d times", got)
	}
	b = newBed(t, 2, nil)
	b.roll(0, "--image", v2, "--no-exec")
	if got := len(b.calls("exec")); got != 0 {
		t.Errorf("it was tried %d times", got)
	}
}

// Pods that are not ready count, and others wait for them.
func TestUnreadyPods(t *testing.T) {
	b := newBed(t, 4, func(c *cluster) {
		c.Pods[0].App, c.Pods[0].Unready = digest(newBinary), true // runs the binary, but is not ready
	})
	b.roll(1, "--binary", b.file("hello-v2"), "--timeout", "300ms")
	b.says("waited 300ms in vain", "not ready: hello-0")
	b.expect("the pods run", b.apps(), "b111")
	b.roll(0, "--binary", b.file("hello-v2"), "--max-unavailable", "2")
	b.expect("the pods run", b.apps(), "bbbb")
	if c := b.cluster(); c.Unready > 2 || c.Most > 1 {
		t.Errorf("%d in an upgrade at a time, %d not ready", c.Most, c.Unready)
	}
}

func TestDeletedPods(t *testing.T) {
	b := newBed(t, 3, func(c *cluster) {
		for _, p := range c.Pods {
			p.Kind, p.Owner = "ReplicaSet", "hello-6d5f"
		}
		c.Pods[1].Deleting = true
	})
	b.roll(0, "--image", v2, "--max-unavailable", "2")
	b.says("it is being deleted", "pods that belong to a ReplicaSet (3): one that is replaced returns silently to the old version")
	b.expect("the pods run", b.apps(), "212")
}

// until waits for a file.
func (b *bed) until(name string) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(b.file(name)); err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("waited a minute for %s", name)
		}
	}
}

// The first ^C lets what has begun end, and begins nothing more. The roll can be resumed.
func TestInterrupt(t *testing.T) {
	b := newBed(t, 4, func(c *cluster) { c.Pods[2].Behaviour[newBinary] = "held" })
	go func() {
		b.until("held-hello-2")
		close(b.stop)
		_ = os.WriteFile(b.file("release"), nil, 0o600)
	}()
	b.roll(130, "--binary", b.file("hello-v2"))
	b.expect("the pods run", b.apps(), "11bb")
	b.says("no further pod begins; 1 in progress", `"left":2`)
	b.stop = make(chan struct{})
	b.roll(0, "--binary", b.file("hello-v2"))
	b.expect("the pods run", b.apps(), "bbbb")
}

// The second one leaves at once.
func TestLeave(t *testing.T) {
	b := newBed(t, 4, func(c *cluster) { c.Pods[2].Behaviour[newBinary] = "held" })
	ctx, cancel := context.WithCancelCause(b.ctx)
	b.ctx = ctx
	go func() {
		b.until("held-hello-2")
		close(b.stop)
		cancel(fleet.ErrLeft())
	}()
	b.roll(130, "--binary", b.file("hello-v2"))
	b.says("left at once", `"state":"left"`)
	b.expect("the pods run", b.apps(), "111b")
}

// A roll that was left after a pod was patched finds that pod's delivery.
func TestResumeOfADelivery(t *testing.T) {
	b := newBed(t, 3, func(c *cluster) {
		c.Sets["hello"].Image, c.Sets["hello"].Seed = v2, v2
		p := c.Pods[1]
		p.Image, p.Since, p.Upgrading = v2, 0, true // the kubelet has not begun
		p.Annotations["graceinit/previous-image"] = v1
		p.Annotations["graceinit/previous-container"] = "containerd://hello-1-0"
	})
	b.roll(0, "--image", v2)
	b.expect("the pods run", b.apps(), "222")
	if got := b.calls("patch pod hello-1 "); len(got) != 1 || !strings.Contains(got[0], "controller-revision-hash") {
		t.Errorf("patched: %s", got)
	}
	if got := len(b.calls("patch statefulset")); got != 0 {
		t.Errorf("%d patches of the template", got)
	}
}

func TestRollback(t *testing.T) {
	b := newBed(t, 3, func(c *cluster) {
		c.Pods[0].Image = "" // no payload
	})
	b.run(1, "rollback", "hello-0", "hello-1")
	b.says("no pod has anything to go back to")
	b.roll(0, "--binary", b.file("hello-v2"))
	b.run(0, "rollback", "-l", "x=y")
	b.expect("the pods run", b.apps(), "1bb")
	b.run(0, "rollback", "hello-2", "--binary", b.file("hello-v2"))
	b.run(0, "rollback", "-l", "x=y", "--binary", b.file("hello-v2"))
	b.expect("the pods run", b.apps(), "111")
	if s := b.result(); s.Done != 1 || s.Skipped != 2 {
		t.Errorf("%+v", s)
	}

	// Pods that had different images do not go back together.
	b.change(func(c *cluster) {
		for i, image := range []string{v1, v1, v2} {
			c.Pods[i].Image, c.Pods[i].Running = v3, v3
			c.Pods[i].Annotations["graceinit/previous-image"] = image
		}
	})
	b.run(1, "rollback", "-l", "x=y")
	b.says("the pods had different images before")
}

var (
	seconds = regexp.MustCompile(`\b[0-9]+\.[0-9]s`)
	moments = regexp.MustCompile(`"(time":"[^"]*|elapsed":[0-9.e-]+)`)
)

// What is printed, with all times alike.
func TestOutput(t *testing.T) {
	b := newBed(t, 2, func(c *cluster) { c.Pods[0].Behaviour[v2] = "no image" })
	b.roll(2, "--image", v2, "-o", "table")
	golden(t, "roll.table", seconds.ReplaceAllString(b.out+"--- stderr\n"+b.errs, "0.0s"))

	b = newBed(t, 2, func(c *cluster) { c.Pods[0].Behaviour[newBinary] = "failed" })
	b.roll(2, "--binary", b.file("hello-v2"))
	golden(t, "roll.json", moments.ReplaceAllStringFunc(b.out, func(s string) string {
		if strings.HasPrefix(s, `"time`) {
			return `"time":"T`
		}
		return `"elapsed":0`
	}))

	b.change(func(c *cluster) {
		c.Pods[0].AppUnready, c.Pods[1].Image = true, "registry.example/hello@sha256:0123456789abcdef"
	})
	b.run(1, "status", "-l", "x=y")
	golden(t, "status.table", b.out+"--- stderr\n"+b.errs)
	b.run(1, "status", "-l", "x=y", "-o", "json")
	golden(t, "status.json", b.out)
	b.run(0, "status", "hello-1")
}

// golden compares with a file of testdata; UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (UPDATE=1 go test . writes it anew): got\n%s\nwant\n%s", path, got, want)
	}
}
