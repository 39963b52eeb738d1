package test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
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
