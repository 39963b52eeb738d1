// Package controllers turns workloads into pods: Deployments (by way of ReplicaSets), StatefulSets and Jobs, each as
// small as it can be.
package controllers

import (
	"context"
	"log"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
)

// Run works until ctx ends: whenever anything has changed, everything is looked at. A lab is small.
func Run(ctx context.Context, s *apiserver.Store, l *log.Logger) {
	c := &controllers{Store: s, log: l}
	for {
		changed := s.Changed()
		c.accounts()
		c.deployments()
		c.replicaSets()
		c.statefulSets()
		c.jobs()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

type controllers struct {
	*apiserver.Store
	log *log.Logger
}

// accounts gives every namespace its default service account.
func (c *controllers) accounts() {
	for _, n := range apiserver.List[*corev1.Namespace](c.Store, "") {
		if _, err := apiserver.Get[*corev1.ServiceAccount](c.Store, n.Name, "default"); err != nil {
			c.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: n.Name, Name: "default"}})
		}
	}
}

func (c *controllers) create(o apiserver.Object) {
	if _, err := c.Create(o); err != nil {
		c.log.Printf("cannot create %T %s: %v", o, o.GetName(), err)
	}
}

// pods are those that an object controls, in the order of their names.
func (c *controllers) pods(owner apiserver.Object) []*corev1.Pod {
	return owned(apiserver.List[*corev1.Pod](c.Store, owner.GetNamespace()), owner)
}

func owned[T apiserver.Object](all []T, owner apiserver.Object) []T {
	return slices.DeleteFunc(all, func(o T) bool { return !metav1.IsControlledBy(o, owner) })
}

// podOf is a pod as a template says.
func podOf(owner apiserver.Object, apiVersion, kind string, t *corev1.PodTemplateSpec, labels map[string]string) *corev1.Pod {
	yes := true
	p := &corev1.Pod{ObjectMeta: *t.ObjectMeta.DeepCopy(), Spec: *t.Spec.DeepCopy()}
	p.Namespace = owner.GetNamespace()
	p.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: apiVersion, Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes,
	}}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	maps.Copy(p.Labels, labels)
	return p
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func number(n *int32) int {
	if n == nil {
		return 1
	}
	return int(*n)
}
