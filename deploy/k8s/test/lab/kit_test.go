package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
	"github.com/graceinit/graceinit/test/container/load"
)

// space is a namespace of the lab that one test has for itself.
type space struct {
	*testing.T
	name string
}

// enter makes the test's namespace, and tells what happened there if the test fails.
func enter(t *testing.T, name string) *space {
	t.Helper()
	need(t)
	s := &space{T: t, name: name}
	kubectl(t, "create", "namespace", name)
	t.Cleanup(func() {
		if t.Failed() {
			s.tell()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := kubectlCommand(ctx, "delete", "namespace", name, "--wait=false").CombinedOutput(); err != nil {
			t.Errorf("cannot delete the namespace %s: %v: %s", name, err, out)
		}
	})
	return s
}

// tell prints what a person would look at.
func (s *space) tell() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, args := range [][]string{{"get", "pods", "-o", "wide"}, {"get", "events"}} {
		out, _ := kubectlCommand(ctx, append([]string{"-n", s.name}, args...)...).CombinedOutput()
		s.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
	}
	for i, p := range apiserver.List[*corev1.Pod](theLab.API.Store, s.name) {
		if i == 4 {
			break
		}
		for _, c := range p.Spec.Containers {
			out, _ := kubectlCommand(ctx, "-n", s.name, "logs", p.Name, "-c", c.Name, "--tail=40").CombinedOutput()
			s.Logf("kubectl logs %s -c %s\n%s", p.Name, c.Name, out)
		}
	}
}

// kubectl runs kubectl in the namespace.
func (s *space) kubectl(args ...string) string {
	s.Helper()
	return kubectl(s.T, append([]string{"-n", s.name}, args...)...)
}

// try is kubectl where it may fail: it returns what was printed and the exit code.
func (s *space) try(args ...string) (string, int) {
	s.Helper()
	return s.run(kubectlCommand(s.Context(), append([]string{"-n", s.name}, args...)...))
}

func (s *space) run(cmd *exec.Cmd) (string, int) {
	s.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.Fatalf("%s: %v", cmd, err)
	}
	return strings.TrimSpace(out.String()), cmd.ProcessState.ExitCode()
}

// apply applies text.
func (s *space) apply(text string) string {
	s.Helper()
	cmd := kubectlCommand(s.Context(), "-n", s.name, "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	out, code := s.run(cmd)
	if code != 0 {
		s.Fatalf("kubectl apply: exit code %d\n%s", code, out)
	}
	return out
}

// kustomize applies one of the directories of deploy/k8s, with strategic merge patches that suit a lab: shorter times.
func (s *space) kustomize(base string, patches ...string) {
	s.Helper()
	dir := s.TempDir()
	from, err := filepath.Abs(filepath.Join("../..", base))
	if err != nil {
		s.Fatal(err)
	}
	// A base is named by a path from here, and must not be above the kustomization that names it.
	copyTree(s.T, from, filepath.Join(dir, "base"))
	text := "bases: [base]\n" // the field that kubectl 1.20 knows as well
	if len(patches) > 0 {
		text += "patchesStrategicMerge:\n"
	}
	for i, p := range patches {
		name := fmt.Sprintf("patch%d.yaml", i)
		text += "- " + name + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(p), 0o644); err != nil {
			s.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
	s.kubectl("apply", "-k", dir)
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// pod is a pod as the store has it now.
func (s *space) pod(name string) *corev1.Pod {
	s.Helper()
	p, err := apiserver.Get[*corev1.Pod](theLab.API.Store, s.name, name)
	if err != nil {
		s.Fatal(err)
	}
	return p
}

// pods are those of the selector app.kubernetes.io/name=hello that are not on their way out.
func (s *space) pods() []*corev1.Pod {
	return slices.DeleteFunc(apiserver.List[*corev1.Pod](theLab.API.Store, s.name), func(p *corev1.Pod) bool {
		return p.Labels["app.kubernetes.io/name"] != "hello" || p.DeletionTimestamp != nil
	})
}

// await waits for what the store must come to. It looks whenever anything has changed there.
func (s *space) await(what string, limit time.Duration, ok func() bool) {
	s.Helper()
	timeout := time.After(limit)
	for {
		changed := theLab.API.Store.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			s.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// ready waits until there are n pods, all of them ready, and returns them.
func (s *space) ready(n int) []*corev1.Pod {
	s.Helper()
	s.await(fmt.Sprintf("%d pods are ready", n), time.Minute, func() bool {
		all := s.pods()
		return len(all) == n && !slices.ContainsFunc(all, func(p *corev1.Pod) bool { return !podReady(p) })
	})
	return s.pods()
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// container is the status of a container.
func container(t *testing.T, p *corev1.Pod, name string) corev1.ContainerStatus {
	t.Helper()
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("pod %s has no container %s", p.Name, name)
	return corev1.ContainerStatus{}
}

// delivery is what graceinit deliver prints when it has done its work.
type delivery struct {
	Result   string `json:"result"`
	ExitCode int    `json:"exit_code"`
	Reason   string `json:"reason"`
	SHA256   string `json:"sha256"`
}

// delivered waits for the line of a container other than the one given, the container having a certain image.
func (s *space) delivered(pod, image, before string) delivery {
	s.Helper()
	s.await(fmt.Sprintf("%s runs %s as the payload", pod, image), time.Minute, func() bool {
		c := container(s.T, s.pod(pod), "payload")
		return c.State.Running != nil && c.Image == image && c.ContainerID != before
	})
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	cmd := kubectlCommand(ctx, "-n", s.name, "logs", "-f", pod, "-c", "payload")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	var seen strings.Builder
	for dec := bufio.NewScanner(out); dec.Scan(); {
		seen.WriteString(dec.Text() + "\n")
		var line struct{ Delivery *delivery }
		if json.Unmarshal(dec.Bytes(), &line) == nil && line.Delivery != nil {
			return *line.Delivery
		}
	}
	s.Fatalf("the payload of %s says nothing of its delivery:\n%s", pod, seen.String())
	return delivery{}
}

var version = regexp.MustCompile(`hello (\S+) pid`)

// drive starts the load on a pod. It counts answers by version.
func (s *space) drive(p *corev1.Pod) *load.Run {
	s.Helper()
	r, err := load.Start(s.Context(), load.Config{
		Addr: p.Status.PodIP + ":8080", Device: bridge, PID: version,
		KeepAliveRate: 200, KeepAliveConns: 20, FreshRate: 50, SlowInFlight: 4,
		FastTimeout: 5 * time.Second, SlowTimeout: 15 * time.Second, // beyond, a request has been lost, whatever comes of it
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { r.Abort() })
	return r
}

// clean says that no request was lost.
func (s *space) clean(r load.Result, what string) {
	s.Helper()
	s.Logf("%s: %v", what, r)
	if len(r.Failures) > 0 {
		s.Errorf("%s: %d of %d requests failed", what, len(r.Failures), r.Requests)
	}
	if r.Requests < 100 {
		s.Errorf("%s: only %d requests", what, r.Requests)
	}
}

// answers asks a pod for its version.
func (s *space) answers(p *corev1.Pod) string {
	s.Helper()
	v, err := load.Get(s.Context(), load.Config{Addr: p.Status.PodIP + ":8080", Device: bridge, PID: version}, 10*time.Second)
	if err != nil {
		s.Fatal(err)
	}
	return v
}

// undisturbed says that a container is the very one that it was.
func (s *space) undisturbed(before *corev1.Pod, name string) {
	s.Helper()
	after := s.pod(before.Name)
	b, a := container(s.T, before, name), container(s.T, after, name)
	if b.ContainerID != a.ContainerID || b.RestartCount != a.RestartCount || a.State.Running == nil {
		s.Errorf("the container %s of %s is not the one it was: %+v, and now %+v", name, before.Name, b, a)
	}
	if after.Status.PodIP != before.Status.PodIP || after.UID != before.UID {
		s.Errorf("%s is another pod, or has another address: %s was %s", before.Name, after.Status.PodIP, before.Status.PodIP)
	}
}
