package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
)

// seedContainer puts the first version in its place, in a pod that is new.
const seedContainer = "seed"

// sets are the StatefulSets of the pods, by name.
type sets map[string]*set

// set is a StatefulSet, whose template is patched before its pods: one that is replaced then comes back with the new image.
type set struct {
	*kube.StatefulSet
	payload  string // the container's name
	image    string // what the template is to name for it
	revision string // of the template, known once the controller has seen it
}

// findSets reads the StatefulSets of the pods. One that would replace pods by itself is refused: a change of its
// template would do so at once.
func (f *Fleet) findSets(ctx context.Context, pods []kube.Pod, image string) (sets, error) {
	found := sets{}
	for _, p := range pods {
		name := p.StatefulSet()
		if name == "" || found[name] != nil {
			continue
		}
		read, err := f.Kube.StatefulSet(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("StatefulSet %s of pod %s cannot be read: %w", name, p.Meta.Name, err)
		}
		if strategy := read.Spec.UpdateStrategy.Type; strategy != "OnDelete" {
			return nil, fmt.Errorf("StatefulSet %s has the update strategy %s: it would replace its pods as soon as its template "+
				"changes. Let it wait: kubectl patch statefulset %s -p '{\"spec\":{\"updateStrategy\":{\"type\":\"OnDelete\",\"rollingUpdate\":null}}}'",
				name, strategy, name)
		}
		if read.Spec.Template.Spec.Container(f.Payload) == nil {
			return nil, fmt.Errorf("the template of StatefulSet %s has no container %s: --payload names another", name, f.Payload)
		}
		s := &set{StatefulSet: read, payload: f.Payload, image: image}
		if s.settled() && !s.old() {
			s.revision = read.Status.UpdateRevision
		}
		found[name] = s
	}
	return found, nil
}

// old tells whether the template names another image.
func (s *set) old() bool { return s.Spec.Template.Spec.Container(s.payload).Image != s.image }

// settled tells whether the controller has seen the template as it is.
func (s *set) settled() bool {
	return s.Status.ObservedGeneration >= s.Meta.Generation && s.Status.UpdateRevision != ""
}

// all returns the sets in a fixed order.
func (s sets) all() []*set {
	var list []*set
	for _, name := range slices.Sorted(maps.Keys(s)) {
		list = append(list, s[name])
	}
	return list
}

func (s sets) names() string { return strings.Join(slices.Sorted(maps.Keys(s)), ", ") }

// current tells whether a pod needs no other revision label.
func (s sets) current(pod *kube.Pod) bool {
	set := s[pod.StatefulSet()]
	return set == nil || set.revision != "" && pod.Meta.Labels[revisionLabel] == set.revision
}

// patch patches the templates that name another image. With dryRun the server only checks.
func (s sets) patch(ctx context.Context, m *Image, dryRun bool) error {
	for _, set := range s.all() {
		if !set.old() {
			continue
		}
		name, err := set.Meta.Name, m.Kube.Patch(ctx, "statefulset", set.Meta.Name, set.templatePatch(), dryRun)
		switch {
		case err != nil && dryRun && kube.Unsupported(err):
		case err != nil && dryRun:
			return fmt.Errorf("the template of StatefulSet %s could not be patched (the server was only asked): %w", name, err)
		case err != nil:
			return fmt.Errorf("the template of StatefulSet %s could not be patched: %w", name, err)
		case !dryRun:
			m.touched = true
			m.Report.Say(Line{Event: EventTemplate, Object: "statefulset/" + name, Reason: "its template names " + m.Image + " now"})
		}
	}
	return nil
}

// templatePatch sets the payload's image, and that of the container that puts the first version there, where they were
// the same.
func (s *set) templatePatch() any {
	was := s.Spec.Template.Spec.Container(s.payload).Image
	spec := map[string]any{"containers": []any{map[string]any{"name": s.payload, "image": s.image}}}
	if seed := s.Spec.Template.Spec.InitContainer(seedContainer); seed != nil && seed.Image == was {
		spec["initContainers"] = []any{map[string]any{"name": seedContainer, "image": s.image}}
	}
	return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}}
}

// settle waits until the controllers have seen the templates, and takes their revisions.
func (s sets) settle(ctx context.Context, m *Image) error {
	ctx, cancel := m.within(ctx)
	defer cancel()
	for _, set := range s.all() {
		for {
			read, err := m.Kube.StatefulSet(ctx, set.Meta.Name)
			if err == nil {
				set.StatefulSet = read
				if read.Spec.Template.Spec.Container(set.payload) == nil || set.old() {
					return fmt.Errorf("somebody else has changed the template of StatefulSet %s meanwhile", read.Meta.Name)
				}
				if set.settled() {
					set.revision = read.Status.UpdateRevision
					break
				}
				err = fmt.Errorf("its controller has seen generation %d, not %d", read.Status.ObservedGeneration, read.Meta.Generation)
			}
			if !m.pause(ctx) {
				return fmt.Errorf("the revision of StatefulSet %s's new template is not known: %w: %w", set.Meta.Name, context.Cause(ctx), err)
			}
		}
	}
	return nil
}
