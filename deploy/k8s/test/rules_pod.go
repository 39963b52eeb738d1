package test

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

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
