package lab

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// as writes a kubeconfig of a service account of the namespace.
func (s *space) as(account string) string {
	s.Helper()
	text, err := os.ReadFile(theLab.Kubeconfig)
	if err != nil {
		s.Fatal(err)
	}
	token := theLab.API.ServiceAccount(s.name, account)
	path := filepath.Join(s.TempDir(), "kubeconfig")
	text = regexp.MustCompile(`token: \S+}`).ReplaceAll(text, []byte("token: "+token+"}"))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

// TestRights: the roles of deploy/k8s/rbac suffice for what they are for, and for no more; the Job rolls with one of them.
func TestRights(t *testing.T) {
	t.Parallel()
	const name = "rights-roll"
	s := enter(t, name)
	dir := t.TempDir()
	for _, part := range []string{"rbac", "roll-job"} {
		copyTree(t, filepath.Join("../..", part), filepath.Join(dir, "k8s", part))
	}
	// By their files: the kustomization of roll-job names another directory, which kubectl 1.20 does not know.
	apply := func(files ...string) {
		t.Helper()
		text := "namespace: " + name + "\nresources: [" + strings.Join(files, ", ") + "]\n"
		if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s.kubectl("apply", "-k", dir)
	}
	s.kustomize("base/payload-statefulset", quick("StatefulSet", 60, "GRACEINIT_DRAIN_DELAY", "0s"))
	s.ready(2)

	// By the payload's image, as a Job. It brings its rights along.
	apply("k8s/rbac/by-payload-image/upgrader.yaml", "k8s/roll-job/job.yaml")
	s.kubectl("wait", "--for=condition=Complete", "job/hello-roll-v2", "--timeout=120s")
	t.Log(s.kubectl("logs", "job/hello-roll-v2", "--tail=1"))
	for _, p := range s.pods() {
		if v := s.answers(p); v != "v2" {
			t.Errorf("after the Job %s answers as %s", p.Name, v)
		}
	}
	apply("k8s/rbac/by-exec/upgrader.yaml")
	image, exec := "--kubeconfig="+s.as("graceinit-upgrader-image"), "--kubeconfig="+s.as("graceinit-upgrader-exec")
	for _, args := range [][]string{
		{image, "exec", "hello-0", "-c", "app", "--", "/grace/graceinit", "status"},
		{image, "delete", "pod", "hello-0"},
		{image, "get", "secrets"},
		{image, "-n", "default", "get", "pods"},
		{exec, "set", "image", "pod/hello-0", "payload=registry.example/hello:v1"},
		{exec, "delete", "pod", "hello-0"},
		{exec, "get", "secrets"},
	} {
		if out, code := s.try(args...); code == 0 || !strings.Contains(out, "forbidden") {
			t.Errorf("kubectl %s: exit code %d: %s", strings.Join(args[1:], " "), code, out)
		}
	}

	// By exec, and back.
	if _, code := s.graceinit("roll", exec, "hello-0", "--binary", filepath.Join(theLab.Dir, "bin", "hello-v3")); code != 0 {
		t.Errorf("a roll by exec: exit code %d", code)
	}
	if v := s.answers(s.pod("hello-0")); v != "v3" {
		t.Errorf("after a roll by exec it answers as %s", v)
	}
	if _, code := s.graceinit("status", exec, "-l", "app.kubernetes.io/name=hello"); code != 0 {
		t.Errorf("status: exit code %d", code)
	}
}
