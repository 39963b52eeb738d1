package apiserver

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validate refuses what the API server would, as far as a lab runs into it.
func validate(r resource, o, old Object) error {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	switch o := o.(type) {
	case *corev1.Pod:
		errs = append(errs, validatePod(&o.Spec, spec)...)
		if old, ok := old.(*corev1.Pod); ok {
			errs = append(errs, validatePodUpdate(o, old, spec)...)
		}
	case *appsv1.Deployment:
		errs = append(errs, validateTemplate(o.Spec.Selector, &o.Spec.Template, spec)...)
		if old, ok := old.(*appsv1.Deployment); ok && !same(old.Spec.Selector, o.Spec.Selector) {
			errs = append(errs, field.Invalid(spec.Child("selector"), o.Spec.Selector, "field is immutable"))
		}
	case *appsv1.StatefulSet:
		errs = append(errs, validateTemplate(o.Spec.Selector, &o.Spec.Template, spec)...)
		if old, ok := old.(*appsv1.StatefulSet); ok {
			wanted := old.Spec.DeepCopy()
			wanted.Replicas, wanted.Template, wanted.UpdateStrategy = o.Spec.Replicas, o.Spec.Template, o.Spec.UpdateStrategy
			wanted.MinReadySeconds, wanted.RevisionHistoryLimit = o.Spec.MinReadySeconds, o.Spec.RevisionHistoryLimit
			wanted.Ordinals = o.Spec.Ordinals
			wanted.PersistentVolumeClaimRetentionPolicy = o.Spec.PersistentVolumeClaimRetentionPolicy
			if !same(wanted, o.Spec) {
				errs = append(errs, field.Forbidden(spec, "updates to statefulset spec for fields other than 'replicas', "+
					"'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "+
					"'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"))
			}
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(r.gvk().GroupKind(), o.GetName(), errs)
	}
	return nil
}

func validateTemplate(selector *metav1.LabelSelector, t *corev1.PodTemplateSpec, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	s, err := metav1.LabelSelectorAsSelector(selector)
	switch {
	case err != nil || s.Empty():
		errs = append(errs, field.Required(spec.Child("selector"), ""))
	case !s.Matches(labels.Set(t.Labels)):
		errs = append(errs, field.Invalid(spec.Child("template", "metadata", "labels"), t.Labels,
			"`selector` does not match template `labels`"))
	}
	return append(errs, validatePod(&t.Spec, spec.Child("template", "spec"))...)
}

func validatePod(p *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	volumes := map[string]bool{}
	for _, v := range p.Volumes {
		volumes[v.Name] = true
	}
	seen := map[string]bool{}
	check := func(list []corev1.Container, path *field.Path) {
		for i, c := range list {
			at := path.Index(i)
			switch {
			case c.Name == "":
				errs = append(errs, field.Required(at.Child("name"), ""))
			case seen[c.Name]:
				errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
			}
			seen[c.Name] = true
			if c.Image == "" {
				errs = append(errs, field.Required(at.Child("image"), ""))
			}
			for j, m := range c.VolumeMounts {
				if !volumes[m.Name] {
					errs = append(errs, field.NotFound(at.Child("volumeMounts").Index(j).Child("name"), m.Name))
				}
			}
			if hook := c.Lifecycle; hook != nil && hook.PreStop != nil && hook.PreStop.Sleep != nil &&
				hook.PreStop.Sleep.Seconds > *p.TerminationGracePeriodSeconds {
				errs = append(errs, field.Invalid(at.Child("lifecycle", "preStop", "sleep"), hook.PreStop.Sleep.Seconds,
					fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *p.TerminationGracePeriodSeconds)))
			}
		}
	}
	if len(p.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), ""))
	}
	check(p.InitContainers, path.Child("initContainers"))
	check(p.Containers, path.Child("containers"))
	return errs
}

// validatePodUpdate: of a pod's spec little may change; the words are the API server's.
func validatePodUpdate(o, old *corev1.Pod, spec *field.Path) field.ErrorList {
	wanted := old.Spec.DeepCopy()
	if len(o.Spec.Containers) != len(wanted.Containers) {
		return field.ErrorList{field.Forbidden(spec.Child("containers"), "pod updates may not add or remove containers")}
	}
	if len(o.Spec.InitContainers) != len(wanted.InitContainers) {
		return field.ErrorList{field.Forbidden(spec.Child("initContainers"), "pod updates may not add or remove containers")}
	}
	for i := range wanted.Containers {
		wanted.Containers[i].Image = o.Spec.Containers[i].Image
	}
	for i := range wanted.InitContainers {
		wanted.InitContainers[i].Image = o.Spec.InitContainers[i].Image
	}
	wanted.ActiveDeadlineSeconds = o.Spec.ActiveDeadlineSeconds
	wanted.NodeName = o.Spec.NodeName
	if len(o.Spec.Tolerations) >= len(old.Spec.Tolerations) && same(o.Spec.Tolerations[:len(old.Spec.Tolerations)], old.Spec.Tolerations) {
		wanted.Tolerations = o.Spec.Tolerations
	}
	if same(wanted, o.Spec) {
		return nil
	}
	return field.ErrorList{field.Forbidden(spec, "pod updates may not change fields other than "+
		"`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "+
		"(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "+
		"previously negative)")}
}
