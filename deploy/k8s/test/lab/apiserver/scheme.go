// Package apiserver is as much of the Kubernetes API server as kubectl needs to work on a handful of pods: discovery,
// objects with versions, patches, watches, tables, exec and logs, and RBAC for service accounts. Objects live in memory.
// What it takes is decoded strictly.
package apiserver

import (
	"fmt"
	"reflect"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// Object is what the store keeps.
type Object interface {
	runtime.Object
	metav1.Object
}

// resource describes a kind of object to discovery.
type resource struct {
	group, version string
	plural, kind   string
	short          []string
	cluster        bool // not in a namespace
	subresources   []string
	all            bool // of "kubectl get all"
}

var resources = []resource{
	{version: "v1", plural: "pods", kind: "Pod", short: []string{"po"}, all: true,
		subresources: []string{"log", "exec", "portforward", "status"}},
	{version: "v1", plural: "services", kind: "Service", short: []string{"svc"}, all: true},
	{version: "v1", plural: "configmaps", kind: "ConfigMap", short: []string{"cm"}},
	{version: "v1", plural: "secrets", kind: "Secret"},
	{version: "v1", plural: "serviceaccounts", kind: "ServiceAccount", short: []string{"sa"}, subresources: []string{"token"}},
	{version: "v1", plural: "events", kind: "Event", short: []string{"ev"}},
	{version: "v1", plural: "namespaces", kind: "Namespace", short: []string{"ns"}, cluster: true},
	{version: "v1", plural: "nodes", kind: "Node", short: []string{"no"}, cluster: true},
	{group: "apps", version: "v1", plural: "deployments", kind: "Deployment", short: []string{"deploy"}, all: true,
		subresources: []string{"scale", "status"}},
	{group: "apps", version: "v1", plural: "replicasets", kind: "ReplicaSet", short: []string{"rs"}, all: true,
		subresources: []string{"scale", "status"}},
	{group: "apps", version: "v1", plural: "statefulsets", kind: "StatefulSet", short: []string{"sts"}, all: true,
		subresources: []string{"scale", "status"}},
	{group: "apps", version: "v1", plural: "controllerrevisions", kind: "ControllerRevision"},
	{group: "batch", version: "v1", plural: "jobs", kind: "Job", all: true, subresources: []string{"status"}},
	{group: "rbac.authorization.k8s.io", version: "v1", plural: "roles", kind: "Role"},
	{group: "rbac.authorization.k8s.io", version: "v1", plural: "rolebindings", kind: "RoleBinding"},
	{group: "rbac.authorization.k8s.io", version: "v1", plural: "clusterroles", kind: "ClusterRole", cluster: true},
	{group: "rbac.authorization.k8s.io", version: "v1", plural: "clusterrolebindings", kind: "ClusterRoleBinding", cluster: true},
	{group: "networking.k8s.io", version: "v1", plural: "networkpolicies", kind: "NetworkPolicy", short: []string{"netpol"}},
	{group: "policy", version: "v1", plural: "poddisruptionbudgets", kind: "PodDisruptionBudget", short: []string{"pdb"}},
	{group: "authorization.k8s.io", version: "v1", plural: "selfsubjectaccessreviews", kind: "SelfSubjectAccessReview", cluster: true},
	{group: "authorization.k8s.io", version: "v1", plural: "subjectaccessreviews", kind: "SubjectAccessReview", cluster: true},
}

func (r resource) gv() schema.GroupVersion {
	return schema.GroupVersion{Group: r.group, Version: r.version}
}

func (r resource) gvk() schema.GroupVersionKind { return r.gv().WithKind(r.kind) }

func (r resource) gr() schema.GroupResource {
	return schema.GroupResource{Group: r.group, Resource: r.plural}
}

// new returns an empty object of the resource.
func (r resource) new() Object {
	o, err := scheme.New(r.gvk())
	typed, ok := o.(Object)
	if err != nil || !ok {
		panic(fmt.Sprint(r.kind, " is no kind of object: ", err))
	}
	return typed
}

var (
	scheme = runtime.NewScheme()
	strict runtime.Decoder
)

func init() {
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme, networkingv1.AddToScheme,
		policyv1.AddToScheme, authorizationv1.AddToScheme, authenticationv1.AddToScheme, autoscalingv1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	strict = serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}

// named finds the resource of an API path.
func named(group, version, plural string) (resource, bool) {
	for _, r := range resources {
		if r.group == group && r.version == version && r.plural == plural {
			return r, true
		}
	}
	return resource{}, false
}

// of tells the resource of a Go object.
func of(o runtime.Object) resource {
	kind := reflect.TypeOf(o).Elem().Name()
	pkg := reflect.TypeOf(o).Elem().PkgPath()
	for _, r := range resources {
		short, _, _ := strings.Cut(r.group, ".")
		if short == "" {
			short = "core"
		}
		if r.kind == kind && strings.HasSuffix(pkg, "/"+short+"/"+r.version) {
			return r
		}
	}
	panic(fmt.Sprintf("the API server knows no resource for %T", o))
}
