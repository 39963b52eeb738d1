package controllers

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
)

// statefulSets: pods with ordinals, one after the other or all at once. With OnDelete a changed template touches no pod,
// and a pod that is missing comes of the new one; with RollingUpdate the last outdated pod goes, and so on.
func (c *controllers) statefulSets() {
	for _, set := range apiserver.List[*appsv1.StatefulSet](c.Store, "") {
		update := set.Name + "-" + apiserver.Hash(set.Spec.Template)
		byName := map[string]*corev1.Pod{}
		var s appsv1.StatefulSetStatus
		current := set.Status.CurrentRevision
		if current == "" {
			current = update
		}
		wanted := number(set.Spec.Replicas)
		for _, p := range c.pods(set) {
			byName[p.Name] = p
			s.Replicas++
			if isReady(p) {
				s.ReadyReplicas++
			}
			if p.DeletionTimestamp == nil {
				if p.Labels[appsv1.ControllerRevisionHashLabelKey] == update {
					s.UpdatedReplicas++
				}
				if p.Labels[appsv1.ControllerRevisionHashLabelKey] == current {
					s.CurrentReplicas++
				}
			}
		}
		ordered := set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
		healthy := true
		for i := range wanted {
			p := byName[fmt.Sprintf("%s-%d", set.Name, i)]
			if p == nil {
				p = podOf(set, "apps/v1", "StatefulSet", &set.Spec.Template, map[string]string{
					appsv1.ControllerRevisionHashLabelKey: update,
					appsv1.StatefulSetPodNameLabel:        fmt.Sprintf("%s-%d", set.Name, i),
					appsv1.PodIndexLabel:                  fmt.Sprint(i),
				})
				p.Name = fmt.Sprintf("%s-%d", set.Name, i)
				p.Spec.Hostname, p.Spec.Subdomain = p.Name, set.Spec.ServiceName
				c.create(p)
				healthy = false
			}
			if ended(p) {
				c.Delete(p, nil)
			}
			if !isReady(p) || p.DeletionTimestamp != nil {
				healthy = false
				if ordered {
					break
				}
			}
		}
		// Those beyond the number wanted go, the last first.
		var names []string
		for name := range byName {
			names = append(names, name)
		}
		slices.SortFunc(names, func(a, b string) int { return ordinal(b) - ordinal(a) })
		for _, name := range names {
			if ordinal(name) >= wanted {
				c.Delete(byName[name], nil)
				if ordered {
					break
				}
			}
		}
		if set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && healthy {
			for _, name := range names {
				if p := byName[name]; p.Labels[appsv1.ControllerRevisionHashLabelKey] != update {
					c.Delete(p, nil)
					break
				}
			}
			if int(s.UpdatedReplicas) == wanted {
				current = update
			}
		}
		_, _ = apiserver.Update(c.Store, set.Namespace, set.Name, func(set *appsv1.StatefulSet) error {
			s.ObservedGeneration = set.Generation
			s.AvailableReplicas = s.ReadyReplicas
			s.CurrentRevision, s.UpdateRevision = current, update
			s.CollisionCount = new(int32)
			set.Status = s
			return nil
		})
	}
}

func ordinal(name string) int {
	n := 0
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '-' {
			_, _ = fmt.Sscan(name[i+1:], &n)
			break
		}
	}
	return n
}
