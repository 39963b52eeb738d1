package controllers

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
)

const hashLabel = "pod-template-hash"

// deployments: a ReplicaSet for each template; the newest grows by the surge, the others shrink as it becomes available.
func (c *controllers) deployments() {
	for _, d := range apiserver.List[*appsv1.Deployment](c.Store, "") {
		hash := apiserver.Hash(d.Spec.Template)
		sets := owned(apiserver.List[*appsv1.ReplicaSet](c.Store, d.Namespace), d)
		i := slices.IndexFunc(sets, func(r *appsv1.ReplicaSet) bool { return r.Labels[hashLabel] == hash })
		if i < 0 {
			c.create(c.replicaSet(d, hash))
			continue // seen again at once
		}
		newest := sets[i]
		old := slices.Delete(slices.Clone(sets), i, i+1)

		wanted, surge, missing := number(d.Spec.Replicas), 1, 0
		if u := d.Spec.Strategy.RollingUpdate; u != nil {
			surge, _ = intstr.GetScaledValueFromIntOrPercent(u.MaxSurge, wanted, true)
			missing, _ = intstr.GetScaledValueFromIntOrPercent(u.MaxUnavailable, wanted, false)
			if surge == 0 && missing == 0 {
				missing = 1
			}
		}
		all, ready := number(newest.Spec.Replicas), int(newest.Status.ReadyReplicas)
		for _, r := range old {
			all += number(r.Spec.Replicas)
			ready += int(r.Status.ReadyReplicas)
		}
		switch n := number(newest.Spec.Replicas); {
		case n > wanted:
			c.scale(newest, wanted)
		case n < wanted && all < wanted+surge:
			c.scale(newest, min(wanted, n+wanted+surge-all))
		}
		spare := ready - (wanted - missing)
		for _, r := range old {
			n := number(r.Spec.Replicas)
			unready := n - int(r.Status.ReadyReplicas)
			less := min(n, max(0, spare)+unready)
			spare -= less - unready
			if less > 0 {
				c.scale(r, n-less)
			}
		}
		_, _ = apiserver.Update(c.Store, d.Namespace, d.Name, func(d *appsv1.Deployment) error {
			s := &d.Status
			s.ObservedGeneration = d.Generation
			s.UpdatedReplicas = newest.Status.Replicas
			s.Replicas, s.ReadyReplicas = newest.Status.Replicas, newest.Status.ReadyReplicas
			for _, r := range old {
				s.Replicas += r.Status.Replicas
				s.ReadyReplicas += r.Status.ReadyReplicas
			}
			s.AvailableReplicas = s.ReadyReplicas
			s.UnavailableReplicas = max(0, int32(wanted)-s.AvailableReplicas)
			available := corev1.ConditionFalse
			if int(s.AvailableReplicas) >= wanted-missing {
				available = corev1.ConditionTrue
			}
			s.Conditions = []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentAvailable, Status: available, Reason: "MinimumReplicasAvailable"},
				{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"},
			}
			return nil
		})
	}
}

func (c *controllers) replicaSet(d *appsv1.Deployment, hash string) *appsv1.ReplicaSet {
	yes, none := true, int32(0)
	r := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: d.Name + "-" + hash, Labels: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID, Controller: &yes, BlockOwnerDeletion: &yes,
			}},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &none, Selector: d.Spec.Selector.DeepCopy(), Template: *d.Spec.Template.DeepCopy()},
	}
	for k, v := range d.Spec.Template.Labels {
		r.Labels[k] = v
	}
	r.Labels[hashLabel] = hash
	r.Spec.Template.Labels = r.Labels
	r.Spec.Selector.MatchLabels[hashLabel] = hash
	return r
}

func (c *controllers) scale(r *appsv1.ReplicaSet, n int) {
	_, _ = apiserver.Update(c.Store, r.Namespace, r.Name, func(r *appsv1.ReplicaSet) error {
		replicas := int32(n)
		r.Spec.Replicas = &replicas
		return nil
	})
}

func (c *controllers) replicaSets() {
	for _, r := range apiserver.List[*appsv1.ReplicaSet](c.Store, "") {
		var live []*corev1.Pod
		ready := int32(0)
		for _, p := range c.pods(r) {
			if p.DeletionTimestamp == nil && !ended(p) {
				live = append(live, p)
				if isReady(p) {
					ready++
				}
			}
		}
		// Those that are not ready go first.
		slices.SortStableFunc(live, func(a, b *corev1.Pod) int {
			switch x, y := isReady(a), isReady(b); {
			case x == y:
				return 0
			case x:
				return -1
			}
			return 1
		})
		wanted := number(r.Spec.Replicas)
		for n := len(live); n < wanted; n++ {
			p := podOf(r, "apps/v1", "ReplicaSet", &r.Spec.Template, nil)
			p.GenerateName = r.Name + "-"
			c.create(p)
		}
		for _, p := range live[min(len(live), wanted):] {
			c.Delete(p, nil)
		}
		_, _ = apiserver.Update(c.Store, r.Namespace, r.Name, func(r *appsv1.ReplicaSet) error {
			r.Status.ObservedGeneration = r.Generation
			r.Status.Replicas, r.Status.ReadyReplicas, r.Status.AvailableReplicas = int32(len(live)), ready, ready
			return nil
		})
	}
}
