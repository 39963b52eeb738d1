package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graceinit/graceinit/internal/control"
)

// fakeEnv makes the test's binary a kubectl, for the cluster in that directory.
const fakeEnv = "FAKE_KUBECTL_CLUSTER"

// mainEnv makes it this program itself.
const mainEnv = "RUN_KUBECTL_GRACEINIT"

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		_ = os.Unsetenv(mainEnv) // what it runs is a kubectl
		main()
	}
	if dir := os.Getenv(fakeEnv); dir != "" {
		os.Exit(fakeKubectl(dir, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// cluster is a cluster as far as kubectl graceinit sees it: one file, which each fake kubectl reads and writes under
// a lock. Time goes on with the questions: each look at a pod is one step of its kubelet.
type cluster struct {
	Pods  []*fakePod
	Sets  map[string]*fakeSet
	Calls []string // what kubectl was called with

	Forbidden   []string // verbs that are: exec, patch, logs
	Unreachable bool
	Behaviour   map[string]string // of an image or binary: refused, failed, forced, ...; see fakePod.outcome
	Most        int               // pods in an upgrade at a time
	Unready     int               // most pods that were not ready, or in an upgrade
	Barrier     int               // no upgrade goes on before so many were in one at a time
}

type fakePod struct {
	Name, UID, Kind, Owner string
	Labels, Annotations    map[string]string
	Image, Seed            string // of the payload; empty: it has none
	App                    string // what the main process executes: an image's app or a binary, by its digest
	Previous               string
	Generation             int
	Last                   control.Step
	Container              int    // number of the payload's container
	Since                  int    // looks since its image was patched; -1: long ago
	Running                string // the image of the payload's container; empty: it does not run
	Stuck                  string // why not
	Unready, Deleting      bool
	NotRunning             bool
	AppUnready             bool
	Upgrading              bool
	Behaviour              map[string]string // of this pod
	Restarted              bool              // the payload, by itself, since its image was patched
	FailPatches            int               // so many patches back to v1 are not answered
	Env                    string            // of the app
	Chatty                 int               // lines that the payload writes after its delivery
	NoLine                 bool              // its log has been cut off at its beginning
}

type fakeSet struct {
	Strategy, Image, Seed string
	Generation            int64
	Observed              int64
	Env                   string // of the app
}

func (s *fakeSet) revision() string { return "hello-" + digest(s.Image)[:8] }

func digest(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// outcome is how an upgrade to an image or a binary goes in a pod.
func (c *cluster) outcome(p *fakePod, what string) string {
	if o := p.Behaviour[what]; o != "" {
		return o
	}
	return c.Behaviour[what]
}

// locked does something with the cluster.
func locked(dir string, do func(*cluster)) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		panic(err)
	}
	defer lock.Close()
	name := filepath.Join(dir, "cluster.json")
	text, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	var c cluster
	if err := json.Unmarshal(text, &c); err != nil {
		panic(err)
	}
	do(&c)
	c.count()
	if text, err = json.MarshalIndent(&c, "", " "); err == nil {
		err = os.WriteFile(name+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		panic(err)
	}
}

func (c *cluster) count() {
	upgrading, unready := 0, 0
	for _, p := range c.Pods {
		if p.Upgrading {
			upgrading++
		}
		if p.Upgrading || !p.ready() {
			unready++
		}
	}
	c.Most, c.Unready = max(c.Most, upgrading), max(c.Unready, unready)
}

func (c *cluster) pod(name string) *fakePod {
	for _, p := range c.Pods {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func (p *fakePod) ready() bool {
	return !p.Unready && !p.Deleting && !p.NotRunning && !p.AppUnready && (p.Image == "" || p.Since < 0 || p.Running == p.Image)
}

// fakeKubectl is kubectl. It exits with 1 for whatever goes wrong, and says it on standard error.
func fakeKubectl(dir string, args []string) int {
	for len(args) > 1 && strings.HasPrefix(args[0], "--") {
		args = args[2:] // --context X and its like
	}
	var refusal string
	locked(dir, func(c *cluster) {
		c.Calls = append(c.Calls, strings.Join(args, " "))
		if c.Unreachable {
			refusal = "E1122 18:49:28.000000       7 memcache.go:265] couldn't get current server API group list\n" +
				"The connection to the server localhost:8080 was refused - did you specify the right host or port?"
		}
		if slices.Contains(c.Forbidden, args[0]) {
			refusal = fmt.Sprintf("Error from server (Forbidden): %s is forbidden: User \"test\" cannot do this", args[1])
		}
	})
	if refusal != "" {
		fmt.Fprintln(os.Stderr, refusal)
		return 1
	}
	var err error
	switch args[0] {
	case "get":
		err = fakeGet(dir, args[1:])
	case "patch":
		err = fakePatch(dir, args[1], args[2], args[slices.Index(args, "-p")+1], slices.Contains(args, "--dry-run=server"))
	case "logs":
		var text string
		locked(dir, func(c *cluster) { text = c.log(c.pod(args[1])) })
		if i := slices.Index(args, "--tail"); i > 0 {
			lines := slices.Collect(strings.Lines(text))
			var n int
			_, _ = fmt.Sscan(args[i+1], &n)
			text = strings.Join(lines[max(0, len(lines)-n):], "")
		}
		_, _ = io.WriteString(os.Stdout, text) // who reads may have read enough
	case "exec":
		var code int
		if code, err = fakeExec(dir, args[1], args[slices.Index(args, "--")+2:]); code != 0 {
			fmt.Fprintf(os.Stderr, "command terminated with exit code %d\n", code)
			return code
		}
	default:
		err = fmt.Errorf("error: unknown command %q", args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func fakeGet(dir string, args []string) (err error) {
	locked(dir, func(c *cluster) {
		if args[0] == "statefulset" {
			s := c.Sets[args[1]]
			s.Observed = min(s.Observed+1, s.Generation)
			show(s.object(args[1]))
			return
		}
		var items []any
		for i := 1; i < len(args); i++ {
			switch args[i] {
			case "-l":
				for _, p := range c.Pods {
					items = append(items, p.object())
				}
				i++
			case "-o":
				i++
			case "--ignore-not-found":
			default:
				p := c.pod(args[i])
				if p == nil {
					if !slices.Contains(args, "--ignore-not-found") {
						err = fmt.Errorf("Error from server (NotFound): pods %q not found", args[i])
					}
					continue
				}
				c.live(p)
				items = append(items, p.object())
			}
		}
		if len(items) == 1 && args[1] != "-l" {
			show(items[0])
		} else if len(items) > 0 || args[1] == "-l" {
			show(map[string]any{"kind": "List", "items": items})
		}
	})
	return err
}

func show(object any) {
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

// live is one step of the kubelet: it ends the payload, then starts it anew with its image.
func (c *cluster) live(p *fakePod) {
	if p.Since < 0 || p.Running == p.Image {
		return
	}
	if p.Since == 1 && c.Most < c.Barrier {
		return
	}
	if p.Since == 1 && c.outcome(p, p.Image) == "restarts with the old image" && !p.Restarted {
		p.Restarted = true
		p.Container++
		return
	}
	p.Since++
	if p.Since == 1 && p.Stuck != "" {
		p.Stuck = "failed to pull: " + p.Stuck // two reasons take turns
	}
	if p.Since == 2 {
		p.Running, p.Stuck = "", "" // until then the kubelet says what it said before
	}
	if p.Since > 2 && c.outcome(p, p.Image) == "no image" {
		p.Stuck = "Back-off pulling image " + p.Image
	} else if p.Since > 2 {
		p.Running = p.Image
		p.Container++
		c.deliver(p)
	}
}

// deliver is what the payload's container does.
func (c *cluster) deliver(p *fakePod) {
	before := p.App
	switch outcome := c.outcome(p, p.Image); outcome {
	case "refused", "failed", "silent", "crash":
		p.Last = control.Step(outcome)
	default:
		p.AppUnready = outcome == "unready"
		if p.App != digest(p.Image) {
			p.App, p.Previous = digest(p.Image), before
			p.Generation++
			p.Last = control.StepDone
		}
	}
	p.Upgrading = c.outcome(p, p.Image) == "silent"
}

// log is the payload's: the delivery is its last line.
func (c *cluster) log(p *fakePod) string {
	if p.Restarted && p.Running != p.Image { // it found its own version in its place
		return fmt.Sprintf(`{"delivery":{"result":"unchanged","exit_code":0,"sha256":%q}}`+"\n", digest(p.Running))
	}
	if p.Running != p.Image || p.NoLine {
		return ""
	}
	d := control.Delivery{Result: control.ResultDelivered, SHA256: digest(p.Image), Source: "/app", Target: "/grace/app"}
	switch c.outcome(p, p.Image) {
	case "refused":
		d.Result, d.ExitCode, d.Reason = control.ResultRefused, 1, "the check failed: exit code 7"
	case "failed":
		d.Result, d.ExitCode, d.Reason = control.ResultFailed, 2, "the successor died after 1.2s with exit code 3"
	case "forced":
		d.ExitCode = 3
	case "ends while it is read":
		if !p.Restarted {
			p.Restarted = true
			p.Container++
			d.Result, d.ExitCode, d.Reason = control.ResultRefused, 1, "it was told to end"
		}
	case "silent", "crash":
		return "deliver: waiting\n"
	}
	text, err := json.Marshal(map[string]any{"delivery": d})
	if err != nil {
		panic(err)
	}
	return "deliver: staged\n" + string(text) + "\n" + strings.Repeat("a line of COMMAND\n", p.Chatty)
}

func (p *fakePod) object() any {
	truth := map[bool]string{true: "True", false: "False"}
	meta := map[string]any{"name": p.Name, "uid": p.UID, "labels": p.Labels, "annotations": p.Annotations,
		"ownerReferences": []any{map[string]any{"kind": p.Kind, "name": p.Owner, "controller": true}}}
	if p.Deleting {
		meta["deletionTimestamp"] = "2026-01-02T03:04:05Z"
	}
	app := map[string]any{"name": "app", "state": map[string]any{"running": map[string]any{"startedAt": "2026-01-02T03:04:05Z"}}}
	if p.NotRunning {
		app["state"] = map[string]any{"waiting": map[string]any{"reason": "PodInitializing"}}
	}
	specs := []any{map[string]any{"name": "app", "image": "registry.example/base:1", "command": []string{"/grace/graceinit", "--", "/grace/app"},
		"env": []any{map[string]any{"name": "INJECTED", "value": "by a webhook"}, map[string]any{"name": "LEVEL", "value": p.Env}}}}
	states := []any{app}
	if p.Image != "" {
		specs = append(specs, map[string]any{"name": "payload", "image": p.Image, "command": []string{"/grace/graceinit", "deliver"}})
		states = append(states, p.payload())
	}
	return map[string]any{
		"kind": "Pod", "metadata": meta, "spec": map[string]any{"containers": specs,
			"initContainers": []any{map[string]any{"name": "seed", "image": v1}}},
		"status": map[string]any{"phase": "Running", "containerStatuses": states,
			"conditions": []any{map[string]any{"type": "Ready", "status": truth[p.ready()]}}},
	}
}

func imageID(image string) string {
	if image == "" {
		return ""
	}
	return "sha256:" + digest(image)
}

// payload is what the kubelet says of it.
func (p *fakePod) payload() any {
	state := map[string]any{"running": map[string]any{}}
	switch {
	case p.Running == "" && p.Stuck != "":
		state = map[string]any{"waiting": map[string]any{"reason": "ImagePullBackOff", "message": p.Stuck}}
	case p.Running == "":
		state = map[string]any{"terminated": map[string]any{"reason": "Completed", "exitCode": 0}}
	case p.Running == p.Image && p.Last == "crash":
		state = map[string]any{"terminated": map[string]any{"reason": "Error", "exitCode": 126, "message": "no such file"}}
	}
	return map[string]any{"name": "payload", "image": p.Running, "imageID": imageID(p.Running), "containerID": fmt.Sprintf("containerd://%s-%d", p.Name, p.Container), "state": state}
}

func (s *fakeSet) object(name string) any {
	return map[string]any{
		"kind": "StatefulSet", "metadata": map[string]any{"name": name, "generation": s.Generation},
		"spec": map[string]any{
			"updateStrategy": map[string]any{"type": s.Strategy},
			"template": map[string]any{"spec": map[string]any{
				"initContainers": []any{map[string]any{"name": "seed", "image": s.Seed}},
				"containers": []any{map[string]any{"name": "app", "image": "registry.example/base:1",
					"env": []any{map[string]any{"name": "LEVEL", "value": s.Env}}}, map[string]any{"name": "payload", "image": s.Image}},
			}},
		},
		"status": map[string]any{"observedGeneration": s.Observed, "updateRevision": s.revision()},
	}
}

// patched is what a patch of ours may contain.
type patched struct {
	Metadata struct {
		UID         string
		Labels      map[string]string
		Annotations map[string]*string
	}
	Spec struct {
		Containers []struct{ Name, Image string }
		Template   struct {
			Spec struct {
				Containers, InitContainers []struct{ Name, Image string }
			}
		}
	}
}

func fakePatch(dir, kind, name, text string, dryRun bool) (err error) {
	var patch patched
	if err := json.Unmarshal([]byte(text), &patch); err != nil {
		return err
	}
	locked(dir, func(c *cluster) {
		if kind == "statefulset" {
			s, t := c.Sets[name], patch.Spec.Template.Spec
			if dryRun {
				return
			}
			s.Image = t.Containers[0].Image
			if len(t.InitContainers) > 0 {
				s.Seed = t.InitContainers[0].Image
			}
			s.Generation++
			return
		}
		p := c.pod(name)
		if p.UID != patch.Metadata.UID {
			err = fmt.Errorf("Error from server (Conflict): the UID in the precondition (%s) does not match %s", patch.Metadata.UID, p.UID)
			return
		}
		if dryRun {
			return
		}
		if len(patch.Spec.Containers) > 0 && patch.Spec.Containers[0].Image == v1 && p.FailPatches > 0 {
			p.FailPatches--
			err = errors.New("Unable to connect to the server: EOF")
			return
		}
		for key, value := range patch.Metadata.Labels {
			p.Labels[key] = value
		}
		for key, value := range patch.Metadata.Annotations {
			if value == nil {
				delete(p.Annotations, key)
			} else {
				p.Annotations[key] = *value
			}
		}
		for _, container := range patch.Spec.Containers {
			p.Image, p.Since, p.Upgrading, p.Restarted = container.Image, 0, true, false
		}
	})
	return err
}

// fakeExec is graceinit in a pod.
func fakeExec(dir, name string, args []string) (code int, err error) {
	switch args[0] {
	case "status":
		locked(dir, func(c *cluster) { show(control.Line{Status: c.pod(name).status()}) })
		return 0, nil
	case "rollback":
		locked(dir, func(c *cluster) {
			p := c.pod(name)
			if p.Previous == "" {
				show(control.Line{Error: &control.Error{Reason: "there is no executable to go back to", ExitCode: 1}})
				code = 1
				return
			}
			p.App, p.Previous = p.Previous, p.App
			p.Generation++
			p.AppUnready, p.Upgrading = false, false
			show(control.Line{Progress: &control.Progress{Upgrade: 2, Step: control.StepDone, Final: true}})
		})
		return code, nil
	case "upgrade":
		return fakeUpgrade(dir, name, args)
	}
	return 64, nil
}

func (p *fakePod) status() *control.Status {
	s := &control.Status{
		Version: "test", State: "running", Generation: p.Generation, Ready: !p.AppUnready, CanRollBack: p.Previous != "",
		Main: &control.Process{PID: 10 + p.Generation, Generation: p.Generation, SHA256: p.App},
	}
	if p.Last != "" {
		s.LastUpgrade = &control.Progress{Step: p.Last, Final: true}
	}
	return s
}

func fakeUpgrade(dir, name string, args []string) (code int, err error) {
	binary, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 0, err
	}
	if len(args) != 6 || digest(string(binary)) != args[4] {
		return 1, nil
	}
	var outcome string
	locked(dir, func(c *cluster) {
		p := c.pod(name)
		p.Upgrading = true
		outcome = c.outcome(p, string(binary))
	})
	show(control.Line{Progress: &control.Progress{Upgrade: 1, Step: control.StepStarted, FromPID: 11, ToPID: 12}})
	for deadline, together := time.Now().Add(20*time.Second), false; !together && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		locked(dir, func(c *cluster) { together = c.Most >= c.Barrier })
	}
	if outcome == "held" {
		if err := os.WriteFile(filepath.Join(dir, "held-"+name), nil, 0o600); err != nil {
			return 0, err
		}
		for released := false; !released; time.Sleep(time.Millisecond) {
			_, err := os.Stat(filepath.Join(dir, "release"))
			released = err == nil
		}
	}
	locked(dir, func(c *cluster) {
		p := c.pod(name)
		p.Upgrading = outcome == "stuck"
		end := control.Progress{Upgrade: 1, Step: control.StepDone, Final: true, FromPID: 11, ToPID: 12}
		switch outcome {
		case "refused":
			code = 1
			show(control.Line{Error: &control.Error{Reason: "the check failed: exit code 7", ExitCode: 1}})
			return
		case "failed":
			end.Step, end.Reason, end.ExitCode = control.StepRolledBack, "the successor died after 1.2s with exit code 3", 2
		case "lost before", "stuck":
			err = errors.New("error: unexpected EOF")
			return
		case "forced":
			end.Step, end.ExitCode = control.StepForced, 3
		}
		p.Last, code = end.Step, end.ExitCode
		if outcome != "failed" {
			p.App, p.Previous = args[4], p.App
			p.Generation++
			p.AppUnready = outcome == "unready"
		}
		if outcome == "another" {
			p.App = digest("another")
		}
		if outcome == "lost after" {
			err = errors.New("error: unexpected EOF")
			return
		}
		show(control.Line{Progress: &end})
	})
	return code, err
}
