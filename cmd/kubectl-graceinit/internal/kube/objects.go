package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The objects have only the fields that are looked at. k8s.io/api would bring 17 modules for them.

// Meta is an object's metadata.
type Meta struct {
	Name              string            `json:"name"`
	UID               string            `json:"uid"`
	Generation        int64             `json:"generation"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	DeletionTimestamp *time.Time        `json:"deletionTimestamp"`
	OwnerReferences   []Owner           `json:"ownerReferences"`
}

// Owner is an object that another one belongs to.
type Owner struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Controller bool   `json:"controller"`
}

// Container is one of a pod's specification.
type Container struct {
	Name    string   `json:"name"`
	Image   string   `json:"image"`
	Command []string `json:"command"`
	all     map[string]any
}

// PodSpec is a pod's specification.
type PodSpec struct {
	Containers     []Container `json:"containers"`
	InitContainers []Container `json:"initContainers"`
}

// Container returns the container of that name, or nil.
func (s *PodSpec) Container(name string) *Container { return named(s.Containers, name) }

// InitContainer returns the init container of that name, or nil.
func (s *PodSpec) InitContainer(name string) *Container { return named(s.InitContainers, name) }

func named(list []Container, name string) *Container {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// ContainerStatus is what the kubelet says of a container.
type ContainerStatus struct {
	Name         string `json:"name"`
	Image        string `json:"image"`
	ImageID      string `json:"imageID"`
	ContainerID  string `json:"containerID"`
	Ready        bool   `json:"ready"`
	RestartCount int    `json:"restartCount"`
	State        struct {
		Running    *struct{}   `json:"running"`
		Waiting    *Waiting    `json:"waiting"`
		Terminated *Terminated `json:"terminated"`
	} `json:"state"`
}

// Waiting says why a container does not run yet.
type Waiting struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Terminated says how a container has ended.
type Terminated struct {
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	ExitCode int    `json:"exitCode"`
}

// Pod is a pod.
type Pod struct {
	Meta   Meta    `json:"metadata"`
	Spec   PodSpec `json:"spec"`
	Status struct {
		Phase      string `json:"phase"`
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
		ContainerStatuses []ContainerStatus `json:"containerStatuses"`
	} `json:"status"`
}

// Ready tells whether the cluster sends the pod requests.
func (p *Pod) Ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True" && p.Meta.DeletionTimestamp == nil
		}
	}
	return false
}

// Deleting tells whether the pod is on its way out.
func (p *Pod) Deleting() bool { return p.Meta.DeletionTimestamp != nil }

// Ended tells whether the pod has run to its end.
func (p *Pod) Ended() bool { return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" }

// Container returns what the kubelet says of a container; it says nothing at first.
func (p *Pod) Container(name string) ContainerStatus {
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == name {
			return c
		}
	}
	return ContainerStatus{Name: name}
}

// Able tells whether something can be done with that container of the pod.
func (p *Pod) Able(container string) bool {
	return !p.Deleting() && !p.Ended() && p.Container(container).State.Running != nil
}

// Controller returns what creates the pod anew when it has gone.
func (p *Pod) Controller() Owner {
	for _, o := range p.Meta.OwnerReferences {
		if o.Controller {
			return o
		}
	}
	return Owner{}
}

// StatefulSet returns the name of the pod's, or nothing.
func (p *Pod) StatefulSet() string {
	if o := p.Controller(); o.Kind == "StatefulSet" {
		return o.Name
	}
	return ""
}

// defaultContainer is kubectl's own word for which container is meant.
const defaultContainer = "kubectl.kubernetes.io/default-container"

// AppContainer finds the container in which graceinit runs the app: the one that kubectl takes by default, else "app",
// else the only one that can be it.
func (p *Pod) AppContainer(payload string) (string, error) {
	if name := p.Meta.Annotations[defaultContainer]; name != "" && p.Spec.Container(name) != nil {
		return name, nil
	}
	if p.Spec.Container("app") != nil {
		return "app", nil
	}
	var all, wrapped []string
	for _, c := range p.Spec.Containers {
		if c.Name == payload {
			continue
		}
		all = append(all, c.Name)
		if graceinitOf(&c) != "" {
			wrapped = append(wrapped, c.Name)
		}
	}
	switch {
	case len(wrapped) == 1:
		return wrapped[0], nil
	case len(all) == 1:
		return all[0], nil
	}
	return "", fmt.Errorf("pod %s has the containers %s, and none is named app: say which one runs graceinit by --container",
		p.Meta.Name, strings.Join(all, ", "))
}

// Graceinit returns the path of graceinit in a container: that of its command, else that of a baked image.
func (p *Pod) Graceinit(container string) string {
	if c := p.Spec.Container(container); c != nil {
		if path := graceinitOf(c); path != "" {
			return path
		}
	}
	return "/graceinit"
}

func graceinitOf(c *Container) string {
	if len(c.Command) > 0 && path.Base(c.Command[0]) == "graceinit" {
		return c.Command[0]
	}
	return ""
}

// Selection says which pods are meant: a selector, or names.
type Selection struct {
	Selector string
	Names    []string
}

func (s Selection) args() []string {
	if s.Selector != "" {
		return []string{"pods", "-l", s.Selector}
	}
	return append([]string{"pods"}, s.Names...)
}

// Pods returns the pods meant, in the order of a roll. With missingOK, pods that are not there are left out.
func (k *Kubectl) Pods(ctx context.Context, s Selection, missingOK bool) ([]Pod, error) {
	args := s.args()
	if missingOK && s.Selector == "" {
		args = append(args, "--ignore-not-found")
	}
	// kubectl prints a List, but for one name the pod itself.
	var list struct {
		Kind  string `json:"kind"`
		Items []Pod  `json:"items"`
	}
	var raw json.RawMessage
	found, err := k.get(ctx, &raw, args...)
	if err != nil || !found {
		return nil, err
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	if list.Kind == "Pod" {
		list.Items = make([]Pod, 1)
		if err := json.Unmarshal(raw, &list.Items[0]); err != nil {
			return nil, err
		}
	}
	Sort(list.Items)
	return list.Items, nil
}

// Pod returns a pod, or nil where there is none.
func (k *Kubectl) Pod(ctx context.Context, name string) (*Pod, error) {
	pods, err := k.Pods(ctx, Selection{Names: []string{name}}, true)
	if err != nil || len(pods) == 0 {
		return nil, err
	}
	return &pods[0], nil
}

// Sort sorts pods by name; those of a StatefulSet by their number, the highest first, as its controller updates them.
func Sort(pods []Pod) {
	group := func(p *Pod) string { return cmp.Or(p.StatefulSet(), p.Meta.Name) }
	slices.SortFunc(pods, func(a, b Pod) int {
		return cmp.Or(cmp.Compare(group(&a), group(&b)), cmp.Compare(ordinal(b.Meta.Name), ordinal(a.Meta.Name)),
			cmp.Compare(a.Meta.Name, b.Meta.Name))
	})
}

func ordinal(name string) int {
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil {
		return -1
	}
	return n
}

// StatefulSet is a StatefulSet.
type StatefulSet struct {
	Meta Meta `json:"metadata"`
	Spec struct {
		UpdateStrategy struct {
			Type string `json:"type"`
		} `json:"updateStrategy"`
		Template struct {
			Spec PodSpec `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64  `json:"observedGeneration"`
		UpdateRevision     string `json:"updateRevision"`
	} `json:"status"`
}

// StatefulSet returns a StatefulSet.
func (k *Kubectl) StatefulSet(ctx context.Context, name string) (*StatefulSet, error) {
	var set StatefulSet
	_, err := k.get(ctx, &set, "statefulset", name)
	return &set, err
}
