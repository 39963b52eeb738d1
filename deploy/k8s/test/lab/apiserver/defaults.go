package apiserver

import (
	"fmt"
	"strings"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var addresses atomic.Int32

// complete fills in what the API server does where a manifest is silent: of its defaults those that somebody here looks at.
func complete(o Object) {
	switch o := o.(type) {
	case *corev1.Pod:
		completePod(&o.Spec)
		if o.Status.Phase == "" {
			o.Status.Phase = corev1.PodPending
		}
		o.Status.QOSClass = corev1.PodQOSBurstable
	case *corev1.Service:
		zero(&o.Spec.Type, corev1.ServiceTypeClusterIP)
		zero(&o.Spec.SessionAffinity, corev1.ServiceAffinityNone)
		zero(&o.Spec.ClusterIP, fmt.Sprintf("10.96.0.%d", addresses.Add(1)))
		for i := range o.Spec.Ports {
			zero(&o.Spec.Ports[i].Protocol, corev1.ProtocolTCP)
			if o.Spec.Ports[i].TargetPort == (intstr.IntOrString{}) {
				o.Spec.Ports[i].TargetPort = intstr.FromInt32(o.Spec.Ports[i].Port)
			}
		}
	case *corev1.Namespace:
		o.Status.Phase = corev1.NamespaceActive
	case *corev1.Secret:
		zero(&o.Type, corev1.SecretTypeOpaque)
	case *appsv1.Deployment:
		pointer(&o.Spec.Replicas, 1)
		pointer(&o.Spec.ProgressDeadlineSeconds, 600)
		pointer(&o.Spec.RevisionHistoryLimit, 10)
		zero(&o.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
		if o.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
			pointer(&o.Spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
			pointer(&o.Spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
			pointer(&o.Spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		}
		completePod(&o.Spec.Template.Spec)
	case *appsv1.ReplicaSet:
		pointer(&o.Spec.Replicas, 1)
		completePod(&o.Spec.Template.Spec)
	case *appsv1.StatefulSet:
		pointer(&o.Spec.Replicas, 1)
		pointer(&o.Spec.RevisionHistoryLimit, 10)
		zero(&o.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
		zero(&o.Spec.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
		completePod(&o.Spec.Template.Spec)
	case *batchv1.Job:
		pointer(&o.Spec.Parallelism, 1)
		pointer(&o.Spec.Completions, 1)
		pointer(&o.Spec.BackoffLimit, 6)
		completePod(&o.Spec.Template.Spec)
		uid := string(o.UID)
		if uid == "" {
			return // seen again when the store has given it one
		}
		if o.Spec.Selector == nil {
			o.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"batch.kubernetes.io/controller-uid": uid}}
		}
		if o.Spec.Template.Labels == nil {
			o.Spec.Template.Labels = map[string]string{}
		}
		for _, prefix := range []string{"", "batch.kubernetes.io/"} {
			o.Spec.Template.Labels[prefix+"controller-uid"] = uid
			o.Spec.Template.Labels[prefix+"job-name"] = o.Name
		}
	}
}

func completePod(p *corev1.PodSpec) {
	zero(&p.RestartPolicy, corev1.RestartPolicyAlways)
	zero(&p.DNSPolicy, corev1.DNSClusterFirst)
	zero(&p.ServiceAccountName, "default")
	zero(&p.DeprecatedServiceAccount, p.ServiceAccountName)
	zero(&p.SchedulerName, "default-scheduler")
	pointer(&p.TerminationGracePeriodSeconds, 30)
	pointer(&p.SecurityContext, corev1.PodSecurityContext{})
	pointer(&p.EnableServiceLinks, true)
	for i := range p.InitContainers {
		completeContainer(&p.InitContainers[i])
	}
	for i := range p.Containers {
		completeContainer(&p.Containers[i])
	}
}

func completeContainer(c *corev1.Container) {
	zero(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	zero(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	pull := corev1.PullIfNotPresent
	if name := c.Image[strings.LastIndex(c.Image, "/")+1:]; !strings.Contains(name, ":") || strings.HasSuffix(name, ":latest") {
		pull = corev1.PullAlways
	}
	zero(&c.ImagePullPolicy, pull)
	for i := range c.Ports {
		zero(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			zero(&from.FieldRef.APIVersion, "v1")
		}
	}
	for _, p := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe, c.StartupProbe} {
		if p != nil {
			zero(&p.TimeoutSeconds, 1)
			zero(&p.PeriodSeconds, 10)
			zero(&p.SuccessThreshold, 1)
			zero(&p.FailureThreshold, 3)
			if p.HTTPGet != nil {
				zero(&p.HTTPGet.Scheme, corev1.URISchemeHTTP)
				zero(&p.HTTPGet.Path, "/")
			}
		}
	}
}

func zero[T comparable](field *T, value T) {
	var none T
	if *field == none {
		*field = value
	}
}

func pointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
