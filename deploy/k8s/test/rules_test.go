package test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	bakedFile     = "k8s/base/baked/deployment.yaml"
	injectedFile  = "k8s/base/injected/deployment.yaml"
	payloadFile   = "k8s/base/payload-statefulset/statefulset.yaml"
	clonesetFile  = "k8s/openkruise/cloneset.yaml"
	imageOverlay  = "k8s/overlays/image-volume/deployment.yaml"
	serviceFile   = "k8s/base/payload-statefulset/service.yaml"
	headlessFile  = "k8s/base/payload-statefulset/service-headless.yaml"
	changesNeeded = "the change that was to break it has changed nothing"
)

// load decodes a manifest of ours: those that are broken on purpose below are these, with one change.
func load(t *testing.T, files ...string) []object {
	t.Helper()
	var list []object
	for _, file := range files {
		some, err := decode(file, []byte(read(t, deploy, file)))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, some...)
	}
	return list
}

func container(t *testing.T, w *workload, name string) *corev1.Container {
	t.Helper()
	for _, list := range [][]corev1.Container{w.template.Spec.InitContainers, w.template.Spec.Containers} {
		if c := named(list, name); c != nil {
			return c
		}
	}
	t.Fatalf("%s has no container %s", w.where, name)
	return nil
}

// set changes a variable, or with "" removes it.
func set(t *testing.T, c *corev1.Container, name, value string) {
	t.Helper()
	for i := range c.Env {
		switch {
		case c.Env[i].Name != name:
			continue
		case value == "":
			c.Env = slices.Delete(c.Env, i, i+1)
		default:
			c.Env[i].Value = value
		}
		return
	}
	t.Fatal(changesNeeded)
}

func as[T any](t *testing.T, o object) T {
	t.Helper()
	typed, ok := o.typed.(T)
	if !ok {
		t.Fatalf("%s is a %T", o.where, o.typed)
	}
	return typed
}

func pointer[T any](v T) *T { return &v }

// Every rule finds the manifest that breaks it, and no other rule does. What the change is called is what the rule says.
func TestEachRuleFindsWhatBreaksIt(t *testing.T) {
	type change = func(t *testing.T, w *workload)
	in := func(name string, f func(c *corev1.Container)) change {
		return func(t *testing.T, w *workload) { f(container(t, w, name)) }
	}
	env := func(name, variable, value string) change {
		return func(t *testing.T, w *workload) { set(t, container(t, w, name), variable, value) }
	}
	cases := []struct {
		rule string // its name's beginning
		file string
		says string
		do   change
	}{
		{"hardening", payloadFile, "runAsNonRoot is not set", func(_ *testing.T, w *workload) { w.template.Spec.SecurityContext.RunAsNonRoot = nil }},
		{"hardening", payloadFile, "runAsUser is not 65532", func(_ *testing.T, w *workload) { w.template.Spec.SecurityContext.RunAsUser = pointer[int64](0) }},
		{"hardening", payloadFile, "runAsGroup is not 65532", func(_ *testing.T, w *workload) { w.template.Spec.SecurityContext.RunAsGroup = nil }},
		{"hardening", payloadFile, "fsGroup is not 65532", func(_ *testing.T, w *workload) { w.template.Spec.SecurityContext.FSGroup = nil }},
		{"hardening", payloadFile, "seccompProfile is not RuntimeDefault", func(_ *testing.T, w *workload) {
			w.template.Spec.SecurityContext.SeccompProfile.Type = corev1.SeccompProfileTypeUnconfined
		}},
		{"hardening", bakedFile, "runAsNonRoot is not set", func(_ *testing.T, w *workload) { w.template.Spec.SecurityContext = nil }},
		{"hardening", payloadFile, "namespace of the host", func(_ *testing.T, w *workload) { w.template.Spec.HostPID = true }},
		{"hardening", payloadFile, "automountServiceAccountToken is not set", func(_ *testing.T, w *workload) { w.template.Spec.AutomountServiceAccountToken = nil }},
		{"hardening", payloadFile, "token of the default service account", func(_ *testing.T, w *workload) { w.template.Spec.AutomountServiceAccountToken = pointer(true) }},
		{"hardening", payloadFile, "is a path of the host", func(_ *testing.T, w *workload) {
			w.template.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
		}},
		{"hardening", payloadFile, "graceinit: allowPrivilegeEscalation", in("graceinit", func(c *corev1.Container) { c.SecurityContext.AllowPrivilegeEscalation = nil })},
		{"hardening", payloadFile, "seed: readOnlyRootFilesystem", in("seed", func(c *corev1.Container) { c.SecurityContext = nil })},
		{"hardening", payloadFile, "app: capabilities", in("app", func(c *corev1.Container) { c.SecurityContext.Capabilities.Drop[0] = "NET_RAW" })},
		{"hardening", payloadFile, "app: capabilities", in("app", func(c *corev1.Container) { c.SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_PTRACE"} })},
		{"hardening", payloadFile, "payload: privileged", in("payload", func(c *corev1.Container) { c.SecurityContext.Privileged = pointer(true) })},
		{"hardening", payloadFile, "payload: it differs from the pod", in("payload", func(c *corev1.Container) { c.SecurityContext.RunAsUser = pointer[int64](1000) })},
		{"hardening", bakedFile, "app: it uses a port of the host", in("app", func(c *corev1.Container) { c.Ports[0].HostPort = 80 })},

		{"resources", payloadFile, "graceinit: requests", in("graceinit", func(c *corev1.Container) { c.Resources.Limits = nil })},
		{"resources", payloadFile, "payload: requests", in("payload", func(c *corev1.Container) { delete(c.Resources.Requests, corev1.ResourceCPU) })},
		{"resources", payloadFile, "app: requests", in("app", func(c *corev1.Container) { c.Resources.Requests[corev1.ResourceMemory] = resource.Quantity{} })},

		{"images", bakedFile, "no tag", in("app", func(c *corev1.Container) { c.Image = "registry.example:5000/hello-baked" })},
		{"images", bakedFile, "no tag", in("app", func(c *corev1.Container) { c.Image = "registry.example/hello-baked:latest" })},
		{"images", injectedFile, "volume extra: image", func(_ *testing.T, w *workload) {
			w.template.Spec.Volumes = append(w.template.Spec.Volumes, corev1.Volume{Name: "extra",
				VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "registry.example/graceinit"}}})
		}},

		{"references", injectedFile, "volume grace has 2 sources", func(_ *testing.T, w *workload) {
			w.template.Spec.Volumes[0].Image = &corev1.ImageVolumeSource{Reference: "registry.example/graceinit:1"}
		}},
		{"references", injectedFile, "volume grace has 0 sources", func(_ *testing.T, w *workload) { w.template.Spec.Volumes[0].EmptyDir = nil }},
		{"references", injectedFile, "there is no volume grace", func(_ *testing.T, w *workload) { w.template.Spec.Volumes[0].Name = "other" }},
		{"references", injectedFile, "two volumes are named grace", func(_ *testing.T, w *workload) {
			w.template.Spec.Volumes = append(w.template.Spec.Volumes, w.template.Spec.Volumes[0])
		}},
		{"references", bakedFile, "two containers are named app", func(t *testing.T, w *workload) {
			w.template.Spec.Containers = append(w.template.Spec.Containers, *container(t, w, "app"))
		}},
		{"references", bakedFile, "GRACEINIT_LOG_FORMAT is set twice", in("app", func(c *corev1.Container) { c.Env = append(c.Env, c.Env[len(c.Env)-1]) })},

		{"selector", bakedFile, "does not match", func(_ *testing.T, w *workload) { w.template.Labels["app.kubernetes.io/name"] = "other" }},
		{"selector", bakedFile, "it selects everything", func(_ *testing.T, w *workload) { w.selector.MatchLabels = nil }},
		{"selector", bakedFile, "there is no selector", func(_ *testing.T, w *workload) { w.selector = nil }},
		{"default container", payloadFile, "no container main", func(_ *testing.T, w *workload) {
			w.template.Annotations["kubectl.kubernetes.io/default-container"] = "main"
		}},
		{"default container", bakedFile, "nothing says", func(_ *testing.T, w *workload) { w.template.Annotations = nil }},

		{"grace sum", bakedFile, "it may need 1m10s to end, and has 1m0s", env("app", "GRACEINIT_DRAIN_DELAY", "15s")},
		{"grace sum", injectedFile, "it may need 1m2s", env("app", "GRACEINIT_STOP_TIMEOUT", "52s")},
		{"grace sum", payloadFile, "it may need 1m7s", env("app", "GRACEINIT_KILL_TIMEOUT", "10s")},
		{"grace sum", payloadFile, "is no duration", env("app", "GRACEINIT_KILL_TIMEOUT", "10")},
		{"grace sum", clonesetFile, "it may need 1m5s", func(t *testing.T, w *workload) {
			c := container(t, w, "app")
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}}
			set(t, c, "GRACEINIT_GRACE_PERIOD", "55s")
		}},
		{"grace sum", clonesetFile, "it may need 1m5s", func(t *testing.T, w *workload) {
			c := container(t, w, "app")
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/sleep", "5"}}}}
			set(t, c, "GRACEINIT_GRACE_PERIOD", "55s")
		}},
		{"grace sum", clonesetFile, "it cannot be seen", in("app", func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/drain"}}}}
		})},
		{"grace sum", bakedFile, "and has 30s", func(t *testing.T, w *workload) {
			w.template.Spec.TerminationGracePeriodSeconds = nil
			set(t, container(t, w, "app"), "GRACEINIT_GRACE_PERIOD", "30s")
		}},
		{"grace period", payloadFile, "is 30s and should be 1m0s", env("app", "GRACEINIT_GRACE_PERIOD", "30s")},
		{"grace period", payloadFile, "is not set", env("app", "GRACEINIT_GRACE_PERIOD", "")},
		{"grace period", bakedFile, "is no duration", env("app", "GRACEINIT_GRACE_PERIOD", "a minute")},
		{"grace period", payloadFile, "is 1m0s and should be 58s", func(t *testing.T, w *workload) {
			c := container(t, w, "app")
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 2}}}
			set(t, c, "GRACEINIT_STOP_TIMEOUT", "40s")
		}},

		{"grace volume", payloadFile, "mounted at /shared", in("payload", func(c *corev1.Container) { c.VolumeMounts[0].MountPath = "/shared" })},
		{"grace volume", payloadFile, "payload: it uses the volume and does not mount it", in("payload", func(c *corev1.Container) { c.VolumeMounts = nil })},
		{"grace volume", payloadFile, "a subPath", in("app", func(c *corev1.Container) { c.VolumeMounts[0].SubPath = "bin" })},
		{"grace volume", injectedFile, "another volume, scratch", func(t *testing.T, w *workload) {
			w.template.Spec.Volumes = append(w.template.Spec.Volumes,
				corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
			c := container(t, w, "app")
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "scratch", MountPath: "/grace"})
		}},

		{"control socket", payloadFile, `payload: GRACEINIT_CONTROL is "/grace/other.sock"`, env("payload", "GRACEINIT_CONTROL", "/grace/other.sock")},
		{"control socket", payloadFile, `payload: GRACEINIT_CONTROL is ""`, env("payload", "GRACEINIT_CONTROL", "")},
		{"control socket", payloadFile, "is not on the volume", func(t *testing.T, w *workload) {
			set(t, container(t, w, "app"), "GRACEINIT_CONTROL", "@graceinit")
			set(t, container(t, w, "payload"), "GRACEINIT_CONTROL", "@graceinit")
		}},
		{"control socket", payloadFile, "seed: GRACEINIT_CONTROL", in("seed", func(c *corev1.Container) {
			c.Env = append(c.Env, corev1.EnvVar{Name: "GRACEINIT_CONTROL", Value: "/grace/seed.sock"})
		})},

		{"probes", bakedFile, "every 1 s", in("app", func(c *corev1.Container) { c.ReadinessProbe.PeriodSeconds = 1 })},
		{"probes", bakedFile, "every 4 s", in("app", func(c *corev1.Container) {
			c.LivenessProbe = c.ReadinessProbe.DeepCopy()
			c.LivenessProbe.PeriodSeconds = 4
		})},
		{"probes", injectedFile, "the readiness probe is not exec", in("app", func(c *corev1.Container) { c.ReadinessProbe.Exec.Command[0] = "/graceinit" })},
		{"probes", bakedFile, "the readiness probe is not exec", in("app", func(c *corev1.Container) { c.ReadinessProbe = nil })},
		{"probes", payloadFile, "payload: a readiness probe", in("payload", func(c *corev1.Container) {
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}}
		})},

		{"payload", payloadFile, "payload: it does not run graceinit deliver", in("payload", func(c *corev1.Container) { c.Command[1] = "install" })},
		{"payload", payloadFile, "would exit after the delivery", in("payload", func(c *corev1.Container) { c.Command = slices.Insert(c.Command, 2, "--once") })},
		{"payload", payloadFile, "what it delivers is not what an app runs", in("payload", func(c *corev1.Container) { c.Command[3] = "/grace/other" })},
		{"payload", payloadFile, "seed: it would put the image's version over", in("seed", func(c *corev1.Container) { c.Command = slices.Delete(c.Command, 2, 3) })},
		{"payload", payloadFile, "payload is an init container", func(t *testing.T, w *workload) {
			sidecar := *container(t, w, "seed")
			sidecar.Name, sidecar.RestartPolicy = "payload", pointer(corev1.ContainerRestartPolicyAlways)
			sidecar.Env = container(t, w, "payload").Env
			w.template.Spec.InitContainers = append(w.template.Spec.InitContainers, sidecar)
			w.template.Spec.Containers = w.template.Spec.Containers[:1]
		}},

		{"on delete", payloadFile, "updateStrategy is not OnDelete", func(t *testing.T, w *workload) {
			as[*appsv1.StatefulSet](t, w.object).Spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		}},
		{"on delete", clonesetFile, "updateStrategy is not InPlace", func(t *testing.T, w *workload) { as[*CloneSet](t, w.object).Spec.UpdateStrategy.Type = "ReCreate" }},
		{"on delete", payloadFile, "a Deployment replaces its pods", func(_ *testing.T, w *workload) { w.kind, w.typed = "Deployment", &appsv1.Deployment{} }},

		{"seed", payloadFile, "seed has registry.example/hello:v0", in("seed", func(c *corev1.Container) { c.Image = "registry.example/hello:v0" })},
		{"seed", payloadFile, "nothing puts the first version there", func(_ *testing.T, w *workload) {
			w.template.Spec.InitContainers = w.template.Spec.InitContainers[:1]
		}},
	}
	broke := map[string]bool{}
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.rule+"/"+c.says, " ", "_"), func(t *testing.T) {
			w := workloadOf(load(t, c.file)[0])
			if problems := broken(*w); problems != nil {
				t.Fatalf("it is broken before it is touched: %q", problems)
			}
			c.do(t, w)
			found := false
			for _, r := range rules {
				problems := r.check(*w)
				if strings.HasPrefix(r.name, c.rule+":") {
					broke[r.name] = true
					found = slices.ContainsFunc(problems, func(problem string) bool { return strings.Contains(problem, c.says) })
					if !found {
						t.Errorf("%q says %q, not %q", r.name, problems, c.says)
					}
				} else if problems != nil {
					t.Errorf("%q finds something, too: %q", r.name, problems)
				}
			}
			if !found {
				t.Error("no rule has found it")
			}
		})
	}
	for _, r := range rules {
		if !broke[r.name] {
			t.Errorf("nothing breaks the rule %q", r.name)
		}
	}
}

// The rules for what is applied together.
func TestWhatIsAppliedTogether(t *testing.T) {
	files := []string{payloadFile, serviceFile, headlessFile}
	for _, c := range []struct {
		says string
		do   func(list []object) []object
	}{
		{"", func(list []object) []object { return list }},
		{"it is bound to namespace prod", func(list []object) []object {
			list[1].meta.SetNamespace("prod")
			return list
		}},
		{"it selects no pods", func(list []object) []object {
			as[*corev1.Service](t, list[1]).Spec.Selector = map[string]string{"app": "hello"}
			return list
		}},
		{"has the port web", func(list []object) []object {
			as[*corev1.Service](t, list[2]).Spec.Ports[0].TargetPort = intstr.FromString("web")
			return list
		}},
		{"has the port 80", func(list []object) []object {
			as[*corev1.Service](t, list[1]).Spec.Ports[0].TargetPort = intstr.FromInt32(80)
			return list
		}},
		{"is no headless Service here", func(list []object) []object { return list[:2] }},
		{"is no headless Service here", func(list []object) []object {
			as[*corev1.Service](t, list[2]).Spec.ClusterIP = ""
			return list
		}},
		{"updateStrategy is not OnDelete", func(list []object) []object {
			as[*appsv1.StatefulSet](t, list[0]).Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{}
			return list
		}},
		{"it has a wildcard", func(list []object) []object {
			role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "all"},
				Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"*"}}}}
			return append(list, object{where: "here", typed: role, meta: role})
		}},
		{"it has a wildcard", func(list []object) []object {
			role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "all"},
				Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"*"}, Verbs: []string{"get"}}}}
			return append(list, object{where: "here", typed: role, meta: role})
		}},
	} {
		problems := brokenSet(c.do(load(t, files...)))
		switch {
		case c.says == "" && problems != nil:
			t.Errorf("unbroken, it has problems: %q", problems)
		case c.says != "" && !strings.Contains(strings.Join(problems, "\n"), c.says):
			t.Errorf("%q is not among %q", c.says, problems)
		case c.says != "" && len(problems) != 1:
			t.Errorf("%q is not the only one: %q", c.says, problems)
		}
	}
}

// A comment that shows another sum than the manifest's is found.
func TestShownSums(t *testing.T) {
	text := read(t, deploy, bakedFile)
	w := workloadOf(load(t, bakedFile)[0])
	for _, c := range []struct{ old, new, says string }{
		{"", "", ""},
		{"+ 50s stop timeout", "+ 25s stop timeout", "the sum in the comment has 25s for 50s"},
		{"reserve = 60s.", "reserve = 30s.", "the sum in the comment has 30s for 1m0s"},
		{"# 0s preStop", "# no preStop", "has no for 0s"},
		{"drain delay + ", "delay + ", "no comment shows"},
	} {
		problems := strings.Join(wrongSums(*w, strings.Replace(text, c.old, c.new, 1)), "\n")
		if !strings.Contains(problems, c.says) || c.says == "" && problems != "" {
			t.Errorf("%q for %q: %q, not %q", c.new, c.old, problems, c.says)
		}
	}
}

// What nobody could try is recognised, so that its files must say so.
func TestUntested(t *testing.T) {
	for _, file := range []string{bakedFile, injectedFile, payloadFile} {
		if what := untested(load(t, file)[0]); what != nil {
			t.Errorf("%s: %q can be tried", file, what)
		}
	}
	if what := untested(load(t, clonesetFile)[0]); !slices.Equal(what, []string{"OpenKruise"}) {
		t.Errorf("%s: %q", clonesetFile, what)
	}
	for want, change := range map[string]func(spec *corev1.PodSpec){
		"a native sidecar": func(spec *corev1.PodSpec) {
			spec.InitContainers[0].RestartPolicy = pointer(corev1.ContainerRestartPolicyAlways)
		},
		"an image volume": func(spec *corev1.PodSpec) { spec.Volumes[0].Image = &corev1.ImageVolumeSource{} },
		"preStop sleep": func(spec *corev1.PodSpec) {
			spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{}}}
		},
	} {
		o := load(t, injectedFile)[0]
		change(&workloadOf(o).template.Spec)
		if what := untested(o); !slices.Equal(what, []string{want}) {
			t.Errorf("%q, not %q", what, want)
		}
	}
}

// The decoder finds what a careless one passes over.
func TestDecodeIsStrict(t *testing.T) {
	good := read(t, deploy, payloadFile)
	for _, c := range []struct{ what, old, new, says string }{
		{"nothing", "", "", ""},
		{"a field that is misspelt", "readOnlyRootFilesystem:", "readOnlyRootFileSystem:", "unknown field"},
		{"a field in the wrong place", "      automountServiceAccountToken: false", "      allowPrivilegeEscalation: false", "unknown field"},
		{"a value of another type", "replicas: 2", "replicas: two", "cannot unmarshal"},
		{"a number where a string must be", "value: 60s", "value: 60", "cannot unmarshal"},
		{"a field that is there twice", "  replicas: 2", "  replicas: 2\n  replicas: 3", "already set"},
		{"a kind that does not exist", "kind: StatefulSet", "kind: StatefullSet", "no kind"},
		{"a version that does not exist", "apiVersion: apps/v1\n", "apiVersion: apps/v1beta9\n", "no kind"},
		{"no kind", "kind: StatefulSet\n", "", "it has no kind"},
		{"indentation by a tab", "  replicas: 2", "\treplicas: 2", "found character"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if c.old != "" && text == good {
			t.Fatalf("%s: %s", c.what, changesNeeded)
		}
		list, err := decode("here", []byte(text))
		switch {
		case c.says == "" && (err != nil || len(list) != 1):
			t.Errorf("%s: %d objects, %v", c.what, len(list), err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v does not say %q", c.what, err, c.says)
		}
	}
	// A kind of others, whose pod template is Kubernetes' own.
	kruise := read(t, deploy, clonesetFile)
	for old, wrong := range map[string]string{
		"periodSeconds: 5":                "periodSecond: 5",
		"maxUnavailable: 1":               "maxUnavailble: 1",
		"kind: CloneSet":                  "kind: CloneSets",
		"    type: InPlaceIfPossible":     "    type: 7",
		"terminationGracePeriodSeconds: ": "terminationGracePeriod: ",
	} {
		if _, err := decode("here", []byte(strings.Replace(kruise, old, wrong, 1))); err == nil {
			t.Errorf("%q passed", wrong)
		}
	}
	if list, err := decode("here", []byte("# nothing\n---\n"+good+"---\n# nothing either\n---\n"+kruise)); err != nil || len(list) != 2 {
		t.Errorf("a stream of two documents: %d, %v", len(list), err)
	}
	// A patch.
	patch := read(t, deploy, imageOverlay)
	if err := decodePatch("here", []byte(patch)); err != nil {
		t.Error(err)
	}
	if !strings.Contains(patch, "$patch: delete") {
		t.Errorf("%s has no directive any more: this test proves less than it did", imageOverlay)
	}
	if err := decodePatch("here", []byte(strings.Replace(patch, "pullPolicy:", "pullPolice:", 1))); err == nil {
		t.Error("a misspelt patch passed")
	}
}

// A file that no kustomization names is a manifest, and a patch is none.
func TestLook(t *testing.T) {
	found := manifests(t)
	if !slices.Contains(found.patches, imageOverlay) || slices.Contains(found.manifests, imageOverlay) {
		t.Errorf("%s is a patch: %q", imageOverlay, found.patches)
	}
	for _, list := range [][]string{found.manifests, found.kustomizations, found.patches, found.other} {
		for _, file := range list {
			if strings.HasPrefix(file, filepath.Join("k8s", "test")+string(filepath.Separator)) {
				t.Errorf("%s is no manifest but a test", file)
			}
		}
	}
}
