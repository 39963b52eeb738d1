package test

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The kinds of others. Their modules would bring in half of the world, so what our manifests use of them is described
// here; a field beyond that is an error, and then either the manifest is wrong or the description too short.
var foreign = map[schema.GroupVersionKind]runtime.Object{
	{Group: "apps.kruise.io", Version: "v1alpha1", Kind: "CloneSet"}:            &CloneSet{},
	{Group: "monitoring.coreos.com", Version: "v1", Kind: "PrometheusRule"}:     &PrometheusRule{},
	{Group: "monitoring.coreos.com", Version: "v1", Kind: "PodMonitor"}:         &Monitor{},
	{Group: "monitoring.coreos.com", Version: "v1", Kind: "ServiceMonitor"}:     &Monitor{},
	{Group: "kustomize.config.k8s.io", Version: "v1beta1", Kind: kustomization}: &Kustomization{},
	{Group: "kustomize.config.k8s.io", Version: "v1alpha1", Kind: "Component"}:  &Kustomization{},
}

const kustomization = "Kustomization"

// CloneSet is OpenKruise's Deployment. Its pod template is Kubernetes' own type, and decoded as strictly.
type CloneSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Replicas       *int32                 `json:"replicas"`
		Selector       *metav1.LabelSelector  `json:"selector"`
		Template       corev1.PodTemplateSpec `json:"template"`
		UpdateStrategy struct {
			Type                  string              `json:"type"`
			Partition             *intstr.IntOrString `json:"partition"`
			MaxUnavailable        *intstr.IntOrString `json:"maxUnavailable"`
			InPlaceUpdateStrategy struct {
				GracePeriodSeconds int32 `json:"gracePeriodSeconds"`
			} `json:"inPlaceUpdateStrategy"`
		} `json:"updateStrategy"`
	} `json:"spec"`
}

// PrometheusRule is the Prometheus operator's: groups of alerts and recordings.
type PrometheusRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Groups []struct {
			Name     string `json:"name"`
			Interval string `json:"interval"`
			Rules    []struct {
				Alert         string             `json:"alert"`
				Record        string             `json:"record"`
				Expr          intstr.IntOrString `json:"expr"`
				For           string             `json:"for"`
				KeepFiringFor string             `json:"keep_firing_for"`
				Labels        map[string]string  `json:"labels"`
				Annotations   map[string]string  `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

// Monitor is the Prometheus operator's PodMonitor or ServiceMonitor.
type Monitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		JobLabel            string               `json:"jobLabel"`
		PodTargetLabels     []string             `json:"podTargetLabels"`
		TargetLabels        []string             `json:"targetLabels"`
		Selector            metav1.LabelSelector `json:"selector"`
		PodMetricsEndpoints []monitorEndpoint    `json:"podMetricsEndpoints"`
		Endpoints           []monitorEndpoint    `json:"endpoints"`
	} `json:"spec"`
}

type monitorEndpoint struct {
	Port          string `json:"port"`
	Path          string `json:"path"`
	Scheme        string `json:"scheme"`
	Interval      string `json:"interval"`
	ScrapeTimeout string `json:"scrapeTimeout"`
	HonorLabels   bool   `json:"honorLabels"`
}

// Kustomization has what is followed here: what it is made of. Its other fields are kubectl's to check.
type Kustomization struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Resources         []string `json:"resources"`
	Components        []string `json:"components"`
	Patches           []struct {
		Path   string         `json:"path"`
		Target map[string]any `json:"target"`
	} `json:"patches"`
}

// DeepCopyObject makes it a runtime.Object; nothing here is copied.
func (c *CloneSet) DeepCopyObject() runtime.Object { return c }

// DeepCopyObject makes it a runtime.Object; nothing here is copied.
func (p *PrometheusRule) DeepCopyObject() runtime.Object { return p }

// DeepCopyObject makes it a runtime.Object; nothing here is copied.
func (m *Monitor) DeepCopyObject() runtime.Object { return m }

// DeepCopyObject makes it a runtime.Object; nothing here is copied.
func (k *Kustomization) DeepCopyObject() runtime.Object { return k }
