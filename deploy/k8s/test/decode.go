package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// An object is one document, decoded.
type object struct {
	where string // its file, or the kustomization that it comes from
	typed runtime.Object
	meta  metav1.Object
}

// The kinds that Kubernetes' own packages know. Kinds of others are below, each with what is known of it: a kind that is
// in neither list is an error, so that no manifest goes unchecked by accident.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme, policyv1.AddToScheme,
		networkingv1.AddToScheme, autoscalingv2.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	for kind, typed := range foreign {
		s.AddKnownTypeWithName(kind, typed)
	}
	return s
}()

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

var (
	strict = serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme, scheme,
		serializer.SerializerOptions{Yaml: true, Strict: true})
	lenient = serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme, scheme,
		serializer.SerializerOptions{Yaml: true})
)

// decode reads every document of a stream of YAML, strictly: an unknown or repeated field is an error, as is a value of
// another type, and a kind that is not listed above.
func decode(where string, text []byte) ([]object, error) {
	documents, err := split(text)
	var list []object
	errs := []error{err}
	for i, document := range documents {
		typed, err := decodeOne(document)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s, document %d: %w", where, i+1, err))
			continue
		}
		meta, ok := typed.(metav1.Object)
		if !ok {
			errs = append(errs, fmt.Errorf("%s, document %d: a %T has no metadata", where, i+1, typed))
			continue
		}
		list = append(list, object{where: where, typed: typed, meta: meta})
	}
	return list, errors.Join(errs...)
}

func decodeOne(document []byte) (runtime.Object, error) {
	typed, kind, err := strict.Decode(document, nil, nil)
	if runtime.IsMissingKind(err) || runtime.IsMissingVersion(err) { // their text is the whole document
		return nil, errors.New("it has no kind, or no apiVersion")
	}
	if kind != nil && (kind.Kind == kustomization || kind.Kind == "Component") {
		typed, _, err = lenient.Decode(document, nil, nil)
	}
	return typed, err
}

// split cuts a stream of YAML into its documents, and drops those that have nothing but comments.
func split(text []byte) ([][]byte, error) {
	var list [][]byte
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		content := slices.ContainsFunc(strings.Split(string(document), "\n"), func(line string) bool {
			line = strings.TrimSpace(line)
			return line != "" && line != "---" && !strings.HasPrefix(line, "#")
		})
		if content {
			list = append(list, document)
		}
	}
}

// decodePatch decodes a strategic merge patch as the kind that it patches: the fields must be that kind's, and no more
// than what a patch says of its own ($patch: delete) goes with it.
func decodePatch(where string, text []byte) error {
	documents, err := split(text)
	errs := []error{err}
	for _, document := range documents {
		plain, err := yaml.ToJSON(document)
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		var tree any
		if err := json.Unmarshal(plain, &tree); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		plain, err = json.Marshal(withoutDirectives(tree))
		if err != nil {
			return err
		}
		if _, err := decodeOne(plain); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	return errors.Join(errs...)
}

func withoutDirectives(tree any) any {
	switch t := tree.(type) {
	case map[string]any:
		for name, value := range t {
			if strings.HasPrefix(name, "$") {
				delete(t, name)
				continue
			}
			t[name] = withoutDirectives(value)
		}
	case []any:
		for i := range t {
			t[i] = withoutDirectives(t[i])
		}
	}
	return tree
}

// A tree is what there is below a directory of manifests, this module excepted.
type tree struct {
	root           string
	manifests      []string // files of objects, relative to root
	kustomizations []string // directories
	components     []string // directories of parts of kustomizations, which are nothing by themselves
	patches        []string // files
	other          []string // everything else: text, pictures, dashboards
}

// look finds the manifests below a directory, and tells what each file is by the kustomizations that name it.
func look(root string) (*tree, error) {
	t := &tree{root: root}
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		relative, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (relative == filepath.Join("k8s", "test") || relative == "test"):
			return filepath.SkipDir
		case entry.IsDir():
		case entry.Name() == "kustomization.yaml":
			k, err := readKustomization(path)
			if err != nil {
				return err
			}
			dir := filepath.Dir(relative)
			if k.Kind == "Component" {
				t.components = append(t.components, dir)
			} else {
				t.kustomizations = append(t.kustomizations, dir)
			}
			for _, patch := range k.Patches {
				if patch.Path != "" {
					t.patches = append(t.patches, filepath.Join(dir, patch.Path))
				}
			}
		default:
			files = append(files, relative)
		}
		return nil
	})
	for _, file := range files {
		yaml := strings.HasSuffix(file, ".yaml") || strings.HasSuffix(file, ".yml")
		switch {
		case slices.Contains(t.patches, file):
		case yaml:
			t.manifests = append(t.manifests, file)
		default:
			t.other = append(t.other, file)
		}
	}
	return t, err
}

func readKustomization(path string) (*Kustomization, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list, err := decode(path, text)
	if err != nil {
		return nil, err
	}
	if len(list) == 1 {
		if k, ok := list[0].typed.(*Kustomization); ok {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%s is no kustomization", path)
}

// A workload is an object that makes pods.
type workload struct {
	object
	kind     string
	selector *metav1.LabelSelector
	template *corev1.PodTemplateSpec
}

// workloadOf returns the pods that an object makes, or nil.
func workloadOf(o object) *workload {
	switch t := o.typed.(type) {
	case *appsv1.Deployment:
		return &workload{o, "Deployment", t.Spec.Selector, &t.Spec.Template}
	case *appsv1.StatefulSet:
		return &workload{o, "StatefulSet", t.Spec.Selector, &t.Spec.Template}
	case *appsv1.DaemonSet:
		return &workload{o, "DaemonSet", t.Spec.Selector, &t.Spec.Template}
	case *CloneSet:
		return &workload{o, "CloneSet", t.Spec.Selector, &t.Spec.Template}
	case *batchv1.Job:
		return &workload{o, "Job", t.Spec.Selector, &t.Spec.Template}
	case *batchv1.CronJob:
		return &workload{o, "CronJob", t.Spec.JobTemplate.Spec.Selector, &t.Spec.JobTemplate.Spec.Template}
	case *corev1.Pod:
		return &workload{o, "Pod", nil, &corev1.PodTemplateSpec{ObjectMeta: t.ObjectMeta, Spec: t.Spec}}
	}
	return nil
}
