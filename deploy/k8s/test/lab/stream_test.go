package lab

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// beside is a second container, to see that it is left alone.
const beside = `apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  template:
    spec:
      containers:
      - name: beside
        image: registry.example/graceinit:1
        command: [/graceinit, --pause]
        env: [{name: GRACEINIT_CONTROL, value: "off"}]
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`

// TestStreamedBinaries: `kubectl exec -i` brings a binary, 20 times under load.
func TestStreamedBinaries(t *testing.T) {
	t.Parallel()
	s := enter(t, "stream")
	s.kustomize("base/injected", quick("Deployment", 60, "GRACEINIT_DRAIN_DELAY", "1s"), beside)
	before := s.ready(1)[0]
	if v := s.answers(before); v != "v1" {
		t.Fatalf("it begins with %s", v)
	}
	stream := func(v string) (string, int) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(theLab.Dir, "bin", "hello-"+v))
		if err != nil {
			t.Fatal(err)
		}
		cmd := kubectlCommand(t.Context(), "-n", s.name, "exec", "-i", before.Name, "-c", "app", "--",
			"/grace/graceinit", "upgrade", "--binary", "-", "--sha256", fmt.Sprintf("%x", sha256.Sum256(text)))
		cmd.Stdin = strings.NewReader(string(text))
		return s.run(cmd)
	}
	run := s.drive(before)
	began := time.Now()
	for i := range *swaps {
		v := []string{"v2", "v3"}[i%2]
		if out, code := stream(v); code != 0 {
			t.Fatalf("binary %d: exit code %d: %s", i+1, code, out)
		}
		if got := s.answers(before); got != v {
			t.Fatalf("after binary %d, %s, it answers as %s", i+1, v, got)
		}
	}
	s.Logf("%d binaries in %v", *swaps, time.Since(began).Round(time.Second))
	serving := s.answers(before)
	for _, v := range []string{"text", "bad", "late"} {
		if v == "late" { // it crashes while it serves: what it was answering just then no init can save
			s.clean(run.Stop(), "binaries, and a bad one")
		}
		out, code := stream(v)
		t.Logf("%s: exit code %d\n%s", v, code, out)
		want := map[string]struct {
			code int
			text string
		}{"text": {1, ""}, "bad": {2, "exited with code 3"}, "late": {2, "rolled back"}}[v]
		if code != want.code || !strings.Contains(out, want.text) {
			t.Errorf("a %s binary: exit code %d: %s", v, code, out)
		}
		if got := s.answers(before); got != serving {
			t.Errorf("after a %s binary it answers as %s, not as %s", v, got, serving)
		}
	}
	s.undisturbed(before, "app")
	s.undisturbed(before, "beside")

	// Why the last upgrade failed outlives the container, and is found where people look.
	s.kubectl("exec", before.Name, "-c", "app", "--", "/grace/graceinit", "stop")
	s.await("the app's container has started again", time.Minute, func() bool {
		p := s.pod(before.Name)
		return container(t, p, "app").RestartCount == 1 && podReady(p)
	})
	last := container(t, s.pod(before.Name), "app").LastTerminationState.Terminated
	if last == nil || !reason.MatchString(last.Message) {
		t.Errorf("the last state of the app does not say why the upgrade failed: %+v", last)
	} else if described := s.kubectl("describe", "pod", before.Name); !strings.Contains(described, strings.TrimSpace(last.Message)) {
		t.Errorf("kubectl describe does not say %q:\n%s", last.Message, described)
	}
	// What was streamed in was memory: the container begins with what the image has.
	if got := s.answers(before); got != "v1" {
		t.Errorf("its container started again, it answers as %s", got)
	}
}

// reason is that of the late binary.
var reason = regexp.MustCompile(`upgrade \d+ (failed|rolled back): .*exited with code 4`)
