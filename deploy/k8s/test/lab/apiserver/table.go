package apiserver

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// wantsTable: `kubectl get` lets the server make its tables.
func wantsTable(q *request) bool {
	return strings.Contains(q.Header.Get("Accept"), "as=Table") && strings.Contains(q.Header.Get("Accept"), "v=v1;")
}

// column is a heading; one that begins with "+" is for -o wide.
func columns(r resource) []string {
	switch r.plural {
	case "pods":
		return []string{"Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node"}
	case "deployments":
		return []string{"Name", "Ready", "Up-to-date", "Available", "Age"}
	case "statefulsets":
		return []string{"Name", "Ready", "Age"}
	case "replicasets":
		return []string{"Name", "Desired", "Current", "Ready", "Age"}
	case "jobs":
		return []string{"Name", "Completions", "Age"}
	case "services":
		return []string{"Name", "Type", "Cluster-IP", "Age"}
	case "events":
		return []string{"Last Seen", "Type", "Reason", "Object", "Message"}
	}
	return []string{"Name", "Age"}
}

func cells(o Object) []any {
	age := since(o.GetCreationTimestamp())
	switch o := o.(type) {
	case *corev1.Pod:
		ready, restarts := 0, 0
		for _, c := range o.Status.ContainerStatuses {
			restarts += int(c.RestartCount)
			if c.Ready {
				ready++
			}
		}
		return []any{o.Name, fmt.Sprintf("%d/%d", ready, len(o.Spec.Containers)), reason(o), restarts, age, o.Status.PodIP, o.Spec.NodeName}
	case *appsv1.Deployment:
		return []any{o.Name, fmt.Sprintf("%d/%d", o.Status.ReadyReplicas, *o.Spec.Replicas), o.Status.UpdatedReplicas, o.Status.AvailableReplicas, age}
	case *appsv1.StatefulSet:
		return []any{o.Name, fmt.Sprintf("%d/%d", o.Status.ReadyReplicas, *o.Spec.Replicas), age}
	case *appsv1.ReplicaSet:
		return []any{o.Name, *o.Spec.Replicas, o.Status.Replicas, o.Status.ReadyReplicas, age}
	case *batchv1.Job:
		return []any{o.Name, fmt.Sprintf("%d/%d", o.Status.Succeeded, *o.Spec.Completions), age}
	case *corev1.Service:
		return []any{o.Name, o.Spec.Type, o.Spec.ClusterIP, age}
	case *corev1.Event:
		return []any{since(o.LastTimestamp), o.Type, o.Reason, strings.ToLower(o.InvolvedObject.Kind) + "/" + o.InvolvedObject.Name, o.Message}
	}
	return []any{o.GetName(), age}
}

// reason is the STATUS column of a pod.
func reason(p *corev1.Pod) string {
	if p.DeletionTimestamp != nil {
		return "Terminating"
	}
	text := string(p.Status.Phase)
	for i, c := range p.Status.InitContainerStatuses {
		switch t := c.State.Terminated; {
		case t != nil && t.ExitCode == 0:
			continue
		case t != nil:
			return "Init:" + t.Reason
		case c.State.Waiting != nil && c.State.Waiting.Reason != "PodInitializing":
			return "Init:" + c.State.Waiting.Reason
		}
		return fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
	}
	for _, c := range p.Status.ContainerStatuses {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			text = c.State.Waiting.Reason
		case c.State.Terminated != nil && c.State.Terminated.Reason != "":
			text = c.State.Terminated.Reason
		}
	}
	return text
}

func since(t metav1.Time) string { return duration.HumanDuration(time.Since(t.Time)) }

func table(q *request, meta metav1.ListMeta, items ...Object) *metav1.Table {
	t := &metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}, ListMeta: meta, Rows: []metav1.TableRow{}}
	for _, name := range columns(q.resource) {
		c := metav1.TableColumnDefinition{Name: strings.TrimPrefix(name, "+"), Type: "string"}
		if c.Name != name {
			c.Priority = 1
		}
		if name == "Name" {
			c.Format = "name"
		}
		t.ColumnDefinitions = append(t.ColumnDefinitions, c)
	}
	for _, o := range items {
		row := metav1.TableRow{Cells: cells(o)}
		if q.URL.Query().Get("includeObject") == "Object" {
			row.Object = runtime.RawExtension{Object: o}
		} else {
			row.Object = runtime.RawExtension{Object: &metav1.PartialObjectMetadata{
				TypeMeta:   metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"},
				ObjectMeta: partial(o),
			}}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func partial(o Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), Labels: o.GetLabels(), Annotations: o.GetAnnotations(),
		ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp(), OwnerReferences: o.GetOwnerReferences(),
		Generation: o.GetGeneration(), DeletionTimestamp: o.GetDeletionTimestamp(),
	}
}
