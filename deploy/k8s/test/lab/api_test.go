package lab

import (
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"

	corev1 "k8s.io/api/core/v1"
)

// small is a pod of two containers that wait.
const small = `apiVersion: v1
kind: Pod
metadata: {name: small, labels: {app: small}}
spec:
  terminationGracePeriodSeconds: 5
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - {name: one, image: "registry.example/graceinit:1", command: [/graceinit, --pause]}
  - {name: two, image: "registry.example/graceinit:1", command: [/graceinit, --pause]}
`

// TestLabRefuses: what an API server refuses, this one does as well. A lab that takes everything shows nothing.
func TestLabRefuses(t *testing.T) {
	t.Parallel()
	s := enter(t, "refuses")
	s.apply(small)
	s.kubectl("wait", "--for=condition=Ready", "pod/small", "--timeout=30s")
	for name, c := range map[string]struct {
		args []string
		in   string
		want string
	}{
		"an unknown field": {
			args: []string{"create", "--validate=false", "-f", "-"}, in: strings.Replace(strings.Replace(small, "name: small", "name: other", 1), "spec:\n", "spec:\n  restartPolicies: Always\n", 1),
			want: `unknown field "spec.restartPolicies"`,
		},
		"a field that a pod may not change": {
			args: []string{"patch", "pod", "small", "--type=json", "-p", `[{"op":"add","path":"/spec/containers/0/env","value":[{"name":"A","value":"b"}]}]`},
			want: "pod updates may not change fields other than",
		},
		"a volume that is not there": {
			args: []string{"create", "-f", "-"}, in: strings.Replace(strings.Replace(small, "name: small", "name: other", 1), "command: [/graceinit, --pause]}\n  - {name: two", "volumeMounts: [{name: absent, mountPath: /absent}]}\n  - {name: two", 1),
			want: `spec.containers[0].volumeMounts[0].name: Not found: "absent"`,
		},
		"no such pod":                 {args: []string{"get", "pod", "nobody"}, want: `pods "nobody" not found`},
		"no such container":           {args: []string{"exec", "small", "-c", "three", "--", "/graceinit", "--version"}, want: "three"},
		"an exit code":                {args: []string{"exec", "small", "-c", "one", "--", "/graceinit", "status", "--nonsense"}, want: "exit code 64"},
		"a program that is not there": {args: []string{"exec", "small", "-c", "one", "--", "/bin/sh"}, want: "no such file"},
	} {
		cmd := kubectlCommand(t.Context(), append([]string{"-n", s.name}, c.args...)...)
		cmd.Stdin = strings.NewReader(c.in)
		out, code := s.run(cmd)
		if code == 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit code %d: %s", name, code, out)
		}
	}
}

// TestLabKubelet: an image that changes restarts its container alone, and one that fails is tried again, later each time.
func TestLabKubelet(t *testing.T) {
	t.Parallel()
	s := enter(t, "kubelet")
	s.apply(small)
	s.kubectl("wait", "--for=condition=Ready", "pod/small", "--timeout=30s")
	before := s.pod("small")
	s.kubectl("set", "image", "pod/small", "two=registry.example/hello-baked:v1")
	s.await("the container two is another", 30*time.Second, func() bool {
		c := container(t, s.pod("small"), "two")
		return c.State.Running != nil && c.RestartCount == 1
	})
	s.undisturbed(before, "one")
	if last := container(t, s.pod("small"), "two").LastTerminationState.Terminated; last == nil || last.ExitCode != 0 && last.ExitCode != 143 {
		t.Errorf("its last state: %+v", last)
	}
	s.kubectl("set", "image", "pod/small", "two=registry.example/hello:bad") // has no /graceinit
	s.await("it cannot be started", 30*time.Second, func() bool {
		w := container(t, s.pod("small"), "two").State.Waiting
		return w != nil && (w.Reason == "CrashLoopBackOff" || w.Reason == "CreateContainerError")
	})
	s.undisturbed(before, "one")

	// A pod that must not run as root does not.
	s.apply(strings.NewReplacer("name: small", "name: root", "runAsUser: 65532, ", "", "graceinit:1", "pause:1").Replace(small))
	s.await("a root pod is refused", 30*time.Second, func() bool {
		p, err := apiserver.Get[*corev1.Pod](theLab.API.Store, s.name, "root")
		return err == nil && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			strings.Contains(p.Status.ContainerStatuses[0].State.Waiting.Message, "runAsNonRoot")
	})
}

// TestLabRights: a service account may do what its roles say, and nothing else.
func TestLabRights(t *testing.T) {
	t.Parallel()
	s := enter(t, "rights")
	s.apply(small)
	s.kubectl("wait", "--for=condition=Ready", "pod/small", "--timeout=30s")
	s.kubectl("create", "serviceaccount", "reader")
	as := func(args ...string) (string, int) {
		return s.try(append([]string{"--as=system:serviceaccount:rights:reader"}, args...)...)
	}
	if out, code := as("get", "pods"); code == 0 || !strings.Contains(out, `cannot list resource "pods"`) {
		t.Errorf("without a role: exit code %d: %s", code, out)
	}
	s.kubectl("create", "role", "reader", "--verb=get,list,watch", "--resource=pods")
	s.kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=rights:reader")
	if out, code := as("get", "pods"); code != 0 {
		t.Errorf("with a role: exit code %d: %s", code, out)
	}
	if out, code := as("exec", "small", "-c", "one", "--", "/graceinit", "--version"); code == 0 || !strings.Contains(out, "forbidden") {
		t.Errorf("exec without the right: exit code %d: %s", code, out)
	}
	if out, code := as("-n", "default", "get", "pods"); code == 0 {
		t.Errorf("in another namespace: exit code %d: %s", code, out)
	}
	if out, _ := as("auth", "can-i", "delete", "pods"); out != "no" {
		t.Errorf("can it delete pods: %s", out)
	}
}
