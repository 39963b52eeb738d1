package test

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
)

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
