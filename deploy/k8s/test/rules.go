package test

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// A rule is something that no type can say. Each has a manifest that breaks it (rules_test.go).
type rule struct {
	name  string
	check func(workload) []string
}

// The rules for pods, in the order of the pod's life.
var rules = []rule{
	{"hardening: as Pod Security 'restricted' demands, with a read-only root and no token", hardening},
	{"resources: requests for processor and memory, a limit for memory", resources},
	{"images: a tag or digest, and never latest", images},
	{"references: names are unique, and what is mounted exists, with one source", references},
	{"selector: it matches the template's labels", selector},
	{"default container: the annotation names one", defaultContainer},
	{"grace sum: preStop + drain delay + stop timeout + kill timeout + 2 s fit the grace period", graceSum},
	{"grace period: GRACEINIT_GRACE_PERIOD is terminationGracePeriodSeconds less preStop", gracePeriod},
	{"grace volume: at /grace in every container, and mounted where it is used", graceVolume},
	{"control socket: the same for all who use it", controlSocket},
	{"probes: readiness is graceinit's word, and no exec probe comes more often than every 5 s", probes},
	{"payload: a plain container that idles, beside an app that it delivers to", payload},
	{"on delete: a change of the template must not replace pods that are upgraded in place", onDelete},
	{"seed: the payload's image, so that new pods start as the template says", seed},
}

const (
	graceDir = "/grace"
	// What the runtime needs to end a container, and graceinit to write its last line.
	reserve = 2 * time.Second
	// What graceinit waits where nothing else is said (its man page).
	stopTimeout, killTimeout = 25 * time.Second, 3 * time.Second
	// What Kubernetes waits where nothing else is said.
	terminationGracePeriod = 30
)

// broken returns what a workload does against the rules.
func broken(w workload) []string {
	var list []string
	for _, r := range rules {
		for _, problem := range r.check(w) {
			list = append(list, fmt.Sprintf("%s: %s %s: %s\n    (%s)", w.where, w.kind, w.meta.GetName(), problem, r.name))
		}
	}
	return list
}

func initContainers(w workload) []corev1.Container { return w.template.Spec.InitContainers }

func containers(w workload) []corev1.Container {
	return slices.Concat(w.template.Spec.InitContainers, w.template.Spec.Containers)
}

func named(list []corev1.Container, name string) *corev1.Container {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

func hardening(w workload) []string {
	var list []string
	say := func(bad bool, format string, args ...any) {
		if bad {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	spec := w.template.Spec
	pod := spec.SecurityContext
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	say(pod.RunAsNonRoot == nil || !*pod.RunAsNonRoot, "runAsNonRoot is not set")
	say(pod.RunAsUser == nil || *pod.RunAsUser != 65532, "runAsUser is not 65532")
	say(pod.RunAsGroup == nil || *pod.RunAsGroup != 65532, "runAsGroup is not 65532")
	say(pod.FSGroup == nil || *pod.FSGroup != 65532, "fsGroup is not 65532")
	say(pod.SeccompProfile == nil || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault,
		"seccompProfile is not RuntimeDefault")
	say(spec.HostNetwork || spec.HostPID || spec.HostIPC, "it uses a namespace of the host")
	token := spec.AutomountServiceAccountToken
	say(token == nil, "automountServiceAccountToken is not set")
	say(token != nil && *token && spec.ServiceAccountName == "", "it mounts the token of the default service account")
	for _, v := range spec.Volumes {
		say(v.HostPath != nil, "volume %s is a path of the host", v.Name)
	}
	for _, c := range containers(w) {
		s := c.SecurityContext
		if s == nil {
			s = &corev1.SecurityContext{}
		}
		say(s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation, "%s: allowPrivilegeEscalation is not false", c.Name)
		say(s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem, "%s: readOnlyRootFilesystem is not true", c.Name)
		say(s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0,
			"%s: capabilities are not dropped", c.Name)
		say(s.Privileged != nil && *s.Privileged, "%s: privileged", c.Name)
		say(s.RunAsUser != nil || s.RunAsGroup != nil || s.RunAsNonRoot != nil || s.SeccompProfile != nil,
			"%s: it differs from the pod, whose user all containers share", c.Name)
		for _, p := range c.Ports {
			say(p.HostPort != 0, "%s: it uses a port of the host", c.Name)
		}
	}
	return list
}

func resources(w workload) []string {
	var list []string
	for _, c := range containers(w) {
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			list = append(list, c.Name+": requests for cpu and memory and a limit for memory are not all set")
		}
	}
	return list
}

func images(w workload) []string {
	var list []string
	check := func(who, image string) {
		name, digest, _ := strings.Cut(image, "@")
		_, tag, _ := strings.Cut(path.Base(name), ":")
		if digest == "" && (tag == "" || tag == "latest") {
			list = append(list, fmt.Sprintf("%s: image %q has no tag that means one version", who, image))
		}
	}
	for _, c := range containers(w) {
		check(c.Name, c.Image)
	}
	for _, v := range w.template.Spec.Volumes {
		if v.Image != nil {
			check("volume "+v.Name, v.Image.Reference)
		}
	}
	return list
}

func references(w workload) []string {
	var list []string
	volumes := map[string]bool{}
	for _, v := range w.template.Spec.Volumes {
		if volumes[v.Name] {
			list = append(list, "two volumes are named "+v.Name)
		}
		volumes[v.Name] = true
		sources := 0
		for _, source := range reflect.ValueOf(v.VolumeSource).Fields() {
			if !source.IsNil() {
				sources++
			}
		}
		if sources != 1 {
			list = append(list, fmt.Sprintf("volume %s has %d sources", v.Name, sources))
		}
	}
	names := map[string]bool{}
	for _, c := range containers(w) {
		if names[c.Name] {
			list = append(list, "two containers are named "+c.Name)
		}
		names[c.Name] = true
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				list = append(list, fmt.Sprintf("%s: there is no volume %s", c.Name, m.Name))
			}
		}
		variables := map[string]bool{}
		for _, e := range c.Env {
			if variables[e.Name] {
				list = append(list, fmt.Sprintf("%s: %s is set twice", c.Name, e.Name))
			}
			variables[e.Name] = true
		}
	}
	return list
}

func selector(w workload) []string {
	if w.selector == nil {
		if w.kind == "Job" || w.kind == "CronJob" || w.kind == "Pod" { // these find their pods by themselves
			return nil
		}
		return []string{"there is no selector"}
	}
	s, err := metav1.LabelSelectorAsSelector(w.selector)
	switch {
	case err != nil:
		return []string{err.Error()}
	case s.Empty():
		return []string{"the selector is empty: it selects everything"}
	case !s.Matches(labels.Set(w.template.Labels)):
		return []string{fmt.Sprintf("the selector %s does not match the template's labels", s)}
	}
	return nil
}

func defaultContainer(w workload) []string {
	name, ok := w.template.Annotations["kubectl.kubernetes.io/default-container"]
	switch {
	case ok && named(w.template.Spec.Containers, name) == nil:
		return []string{"there is no container " + name}
	case !ok && len(initsOf(w)) > 0:
		return []string{"nothing says which container kubectl exec shall take"}
	}
	return nil
}

// initsOf returns the containers in which graceinit is the init.
func initsOf(w workload) []corev1.Container {
	var list []corev1.Container
	for _, c := range containers(w) {
		baked := len(c.Command) == 0 && (strings.Contains(c.Image, "-baked") || environment(c, "GRACEINIT_LISTEN") != "")
		if baked || len(c.Command) > 1 && path.Base(c.Command[0]) == "graceinit" && strings.HasPrefix(c.Command[1], "-") {
			list = append(list, c)
		}
	}
	return list
}

// graceinitOf is where a container's graceinit is.
func graceinitOf(c corev1.Container) string {
	if len(c.Command) > 0 {
		return c.Command[0]
	}
	return "/graceinit"
}

func environment(c corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// duration reads a setting of graceinit.
func duration(c corev1.Container, name string, otherwise time.Duration) (time.Duration, error) {
	text := environment(c, name)
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s: %s=%q is no duration", c.Name, name, text)
	}
	return d, nil
}

// preStop is how long the hook takes, where it can be seen.
func preStop(c corev1.Container) (time.Duration, error) {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return 0, nil
	}
	hook := c.Lifecycle.PreStop
	if hook.Sleep != nil {
		return time.Duration(hook.Sleep.Seconds) * time.Second, nil
	}
	if hook.Exec != nil && len(hook.Exec.Command) == 2 && path.Base(hook.Exec.Command[0]) == "sleep" {
		if seconds, err := strconv.Atoi(hook.Exec.Command[1]); err == nil {
			return time.Duration(seconds) * time.Second, nil
		}
	}
	return 0, fmt.Errorf("%s: it cannot be seen how long its preStop hook takes", c.Name)
}

func grace(w workload) time.Duration {
	if s := w.template.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return terminationGracePeriod * time.Second
}

// A times is what a shutdown of a container can take, step by step.
type times struct{ preStop, drainDelay, stop, kill time.Duration }

func (t times) sum() time.Duration { return t.preStop + t.drainDelay + t.stop + t.kill + reserve }

func timesOf(c corev1.Container) (t times, err error) {
	if t.preStop, err = preStop(c); err != nil {
		return t, err
	}
	if t.drainDelay, err = duration(c, "GRACEINIT_DRAIN_DELAY", 0); err != nil {
		return t, err
	}
	if t.stop, err = duration(c, "GRACEINIT_STOP_TIMEOUT", stopTimeout); err != nil {
		return t, err
	}
	t.kill, err = duration(c, "GRACEINIT_KILL_TIMEOUT", killTimeout)
	return t, err
}

func graceSum(w workload) []string {
	var list []string
	for _, c := range initsOf(w) {
		t, err := timesOf(c)
		switch {
		case err != nil:
			list = append(list, err.Error())
		case t.sum() > grace(w):
			list = append(list, fmt.Sprintf("%s: it may need %s to end, and has %s", c.Name, t.sum(), grace(w)))
		}
	}
	return list
}

func gracePeriod(w workload) []string {
	var list []string
	for _, c := range initsOf(w) {
		said, err := duration(c, "GRACEINIT_GRACE_PERIOD", -1)
		hook, _ := preStop(c) // graceSum says it
		switch {
		case err != nil:
			list = append(list, err.Error())
		case said < 0:
			list = append(list, c.Name+": GRACEINIT_GRACE_PERIOD is not set: nobody warns when the times no longer fit")
		case said != grace(w)-hook:
			list = append(list, fmt.Sprintf("%s: GRACEINIT_GRACE_PERIOD is %s and should be %s", c.Name, said, grace(w)-hook))
		}
	}
	return list
}

// mentions reports whether a container uses a file of the grace volume.
func mentions(c corev1.Container) bool {
	words := slices.Concat(c.Command, c.Args)
	for _, e := range c.Env {
		words = append(words, e.Value)
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil && p.Exec != nil {
			words = append(words, p.Exec.Command...)
		}
	}
	return slices.ContainsFunc(words, func(word string) bool {
		return word == graceDir || strings.HasPrefix(word, graceDir+"/")
	})
}

func graceVolume(w workload) []string {
	var list []string
	for _, c := range containers(w) {
		mounted := false
		for _, m := range c.VolumeMounts {
			mounted = mounted || m.Name == "grace"
			switch {
			case m.Name == "grace" && m.MountPath != graceDir:
				list = append(list, fmt.Sprintf("%s: the volume is mounted at %s, elsewhere at %s", c.Name, m.MountPath, graceDir))
			case m.Name == "grace" && m.SubPath != "":
				list = append(list, c.Name+": a subPath hides the other files of the volume")
			case m.Name != "grace" && m.MountPath == graceDir:
				list = append(list, fmt.Sprintf("%s: %s is another volume, %s", c.Name, graceDir, m.Name))
			}
		}
		if mentions(c) && !mounted {
			list = append(list, c.Name+": it uses the volume and does not mount it")
		}
	}
	return list
}

func controlSocket(w workload) []string {
	inits := initsOf(w)
	if len(inits) == 0 {
		return nil
	}
	var list []string
	address, shared := environment(inits[0], "GRACEINIT_CONTROL"), false
	for _, c := range containers(w) {
		if c.Name != "payload" && c.Name != "exporter" {
			if other := environment(c, "GRACEINIT_CONTROL"); other != "" && other != address {
				list = append(list, fmt.Sprintf("%s: GRACEINIT_CONTROL is %q, and elsewhere %q", c.Name, other, address))
			}
			continue
		}
		shared = true
		if other := environment(c, "GRACEINIT_CONTROL"); other != address {
			list = append(list, fmt.Sprintf("%s: GRACEINIT_CONTROL is %q, and of the init %q", c.Name, other, address))
		}
	}
	if shared && !strings.HasPrefix(address, graceDir+"/") {
		list = append(list, fmt.Sprintf("GRACEINIT_CONTROL=%q is not on the volume, where the other containers could reach it", address))
	}
	return list
}

func probes(w workload) []string {
	var list []string
	for _, c := range containers(w) {
		for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			if p == nil || p.Exec == nil {
				continue
			}
			period := p.PeriodSeconds
			if period == 0 {
				period = 10 // Kubernetes' default
			}
			if period < 5 {
				list = append(list, fmt.Sprintf("%s: an exec probe every %d s costs too much", c.Name, period))
			}
		}
	}
	for _, c := range initsOf(w) {
		want := []string{graceinitOf(c), "status", "--ready"}
		if p := c.ReadinessProbe; p == nil || p.Exec == nil || !slices.Equal(p.Exec.Command, want) {
			list = append(list, fmt.Sprintf("%s: the readiness probe is not exec %q", c.Name, want))
		}
	}
	for _, name := range []string{"payload", "exporter"} {
		if c := named(containers(w), name); c != nil && c.ReadinessProbe != nil {
			list = append(list, name+": a readiness probe would take the pod out of service although the app serves")
		}
	}
	return list
}

// delivers reports whether a container runs graceinit deliver, and with which arguments.
func delivers(c corev1.Container) ([]string, bool) {
	if len(c.Command) > 1 && path.Base(c.Command[0]) == "graceinit" && c.Command[1] == "deliver" {
		return c.Command[2:], true
	}
	return nil, false
}

func payload(w workload) []string {
	var list []string
	for _, c := range initContainers(w) {
		args, ok := delivers(c)
		switch {
		case c.Name == "payload" || ok && c.RestartPolicy != nil:
			list = append(list, c.Name+" is an init container: OpenKruise changes no image there in place")
		case ok && !slices.Contains(args, "--if-absent"):
			list = append(list, c.Name+": it would put the image's version over a delivered one, or wait for an init for ever")
		}
	}
	for _, c := range w.template.Spec.Containers {
		args, ok := delivers(c)
		switch {
		case !ok && c.Name == "payload":
			list = append(list, c.Name+": it does not run graceinit deliver")
		case ok && (slices.Contains(args, "--once") || slices.Contains(args, "--if-absent")):
			list = append(list, c.Name+": it would exit after the delivery, and the pod would not be Ready")
		case ok && !slices.ContainsFunc(initsOf(w), func(app corev1.Container) bool {
			return len(args) > 0 && slices.Contains(app.Command, args[len(args)-1])
		}):
			list = append(list, c.Name+": what it delivers is not what an app runs")
		}
	}
	return list
}

func hasPayload(w workload) bool {
	return slices.ContainsFunc(w.template.Spec.Containers, func(c corev1.Container) bool {
		_, ok := delivers(c)
		return ok || c.Name == "payload"
	})
}

func onDelete(w workload) []string {
	if !hasPayload(w) {
		return nil
	}
	switch t := w.typed.(type) {
	case *appsv1.StatefulSet:
		if t.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType {
			return []string{"updateStrategy is not OnDelete"}
		}
	case *CloneSet:
		if !strings.HasPrefix(t.Spec.UpdateStrategy.Type, "InPlace") {
			return []string{"updateStrategy is not InPlaceIfPossible or InPlaceOnly"}
		}
	default:
		return []string{"a " + w.kind + " replaces its pods when its template changes; where only a pod was changed, a new one silently returns to the old version"}
	}
	return nil
}

func seed(w workload) []string {
	s, p := named(initContainers(w), "seed"), named(w.template.Spec.Containers, "payload")
	switch {
	case p != nil && s == nil:
		return []string{"nothing puts the first version there (init container seed)"}
	case p == nil || w.kind == "CloneSet": // Kruise would replace the pods if seed's image changed with the payload's
		return nil
	case s.Image != p.Image:
		return []string{fmt.Sprintf("seed has %s, and the payload %s", s.Image, p.Image)}
	}
	return nil
}

// brokenSet returns what objects that are applied together do against the rules.
func brokenSet(list []object) []string {
	var problems []string
	say := func(o object, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%s: %T %s: ", o.where, o.typed, o.meta.GetName())+fmt.Sprintf(format, args...))
	}
	var workloads []workload
	services := map[string]*corev1.Service{}
	for _, o := range list {
		if o.meta.GetNamespace() != "" {
			say(o, "it is bound to namespace %s: kubectl -n would be an error", o.meta.GetNamespace())
		}
		if w := workloadOf(o); w != nil {
			workloads = append(workloads, *w)
			problems = append(problems, broken(*w)...)
		}
		switch t := o.typed.(type) {
		case *corev1.Service:
			services[t.Name] = t
		case *rbacv1.Role:
			for _, problem := range wide(t.Rules) {
				say(o, "%s", problem)
			}
		case *rbacv1.ClusterRole:
			for _, problem := range wide(t.Rules) {
				say(o, "%s", problem)
			}
		}
	}
	for _, o := range list {
		if s, ok := o.typed.(*corev1.Service); ok && len(workloads) > 0 {
			for _, problem := range unserved(s, workloads) {
				say(o, "%s", problem)
			}
		}
		if s, ok := o.typed.(*appsv1.StatefulSet); ok && len(services) > 0 {
			if governing := services[s.Spec.ServiceName]; governing == nil || governing.Spec.ClusterIP != corev1.ClusterIPNone {
				say(o, "serviceName %q is no headless Service here", s.Spec.ServiceName)
			}
		}
	}
	return problems
}

// wide finds rights for everything.
func wide(rules []rbacv1.PolicyRule) []string {
	for _, r := range rules {
		if slices.Contains(r.Verbs, "*") || slices.Contains(r.Resources, "*") || slices.Contains(r.APIGroups, "*") {
			return []string{"it has a wildcard: rights are to be named"}
		}
	}
	return nil
}

// unserved finds what a Service promises and no pod has.
func unserved(s *corev1.Service, workloads []workload) []string {
	var pods []workload
	for _, w := range workloads {
		if len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.template.Labels)) {
			pods = append(pods, w)
		}
	}
	if len(pods) == 0 {
		return []string{"it selects no pods"}
	}
	var list []string
	for _, port := range s.Spec.Ports {
		for _, w := range pods {
			found := false
			for _, c := range containers(w) {
				for _, p := range c.Ports {
					found = found || p.Name == port.TargetPort.StrVal && p.Name != "" || p.ContainerPort == port.TargetPort.IntVal
				}
			}
			if !found {
				list = append(list, fmt.Sprintf("no container of %s %s has the port %s", w.kind, w.meta.GetName(), port.TargetPort.String()))
			}
		}
	}
	return list
}

// untested names what of an object nobody could try: the lab has no such kubelet, and no such controller.
func untested(o object) []string {
	var list []string
	if _, ok := o.typed.(*CloneSet); ok {
		list = append(list, "OpenKruise")
	}
	if w := workloadOf(o); w != nil {
		for _, c := range initContainers(*w) {
			if c.RestartPolicy != nil {
				list = append(list, "a native sidecar")
			}
		}
		for _, v := range w.template.Spec.Volumes {
			if v.Image != nil {
				list = append(list, "an image volume")
			}
		}
		for _, c := range containers(*w) {
			if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Sleep != nil {
				list = append(list, "preStop sleep")
			}
		}
	}
	return list
}
