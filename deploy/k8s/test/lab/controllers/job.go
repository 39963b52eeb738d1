package controllers

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
)

// jobs: pods until enough of them have succeeded, or too many failed.
func (c *controllers) jobs() {
	for _, j := range apiserver.List[*batchv1.Job](c.Store, "") {
		var s batchv1.JobStatus
		restarts := int32(0)
		for _, p := range c.pods(j) {
			switch p.Status.Phase {
			case corev1.PodSucceeded:
				s.Succeeded++
			case corev1.PodFailed:
				s.Failed++
			default:
				s.Active++
				if isReady(p) {
					s.Ready = new(int32)
					*s.Ready++
				}
			}
			for _, x := range p.Status.ContainerStatuses {
				restarts += x.RestartCount
			}
		}
		finished := len(j.Status.Conditions) > 0
		var kind batchv1.JobConditionType
		reason := ""
		switch {
		case finished:
			kind = j.Status.Conditions[0].Type
		case s.Succeeded >= *j.Spec.Completions:
			kind = batchv1.JobComplete
		case s.Failed+restarts > *j.Spec.BackoffLimit:
			kind, reason = batchv1.JobFailed, "BackoffLimitExceeded"
		case s.Active < *j.Spec.Parallelism && s.Active+s.Succeeded < *j.Spec.Completions:
			p := podOf(j, "batch/v1", "Job", &j.Spec.Template, nil)
			p.GenerateName = j.Name + "-"
			c.create(p)
		}
		_, _ = apiserver.Update(c.Store, j.Namespace, j.Name, func(j *batchv1.Job) error {
			s.StartTime, s.CompletionTime, s.Conditions = j.Status.StartTime, j.Status.CompletionTime, j.Status.Conditions
			now := metav1.Now()
			if s.StartTime == nil {
				s.StartTime = &now
			}
			if kind != "" && !finished {
				s.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: now}}
				if kind == batchv1.JobComplete {
					s.CompletionTime = &now
				}
			}
			j.Status = s
			return nil
		})
	}
}
