package test

import (
	"fmt"
	"path"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

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
