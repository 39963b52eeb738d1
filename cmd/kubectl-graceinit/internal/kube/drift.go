package kube

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
)

// UnmarshalJSON keeps all that a container has, beside the fields that are looked at.
func (c *Container) UnmarshalJSON(text []byte) error {
	type plain Container
	if err := json.Unmarshal(text, (*plain)(c)); err != nil {
		return err
	}
	return json.Unmarshal(text, &c.all)
}

// Drift says in which containers and fields a pod lacks what a template has. The images of the containers named are
// left out: they are what is rolled. What a pod has beside is no difference, since webhooks and defaults of a namespace
// add to it: what a template has lost is therefore not seen.
func Drift(pod, template *PodSpec, rolled ...string) (found []string) {
	for _, lists := range [][2][]Container{{pod.InitContainers, template.InitContainers}, {pod.Containers, template.Containers}} {
		for _, want := range lists[1] {
			have := named(lists[0], want.Name)
			if have == nil {
				found = append(found, "container "+want.Name)
				continue
			}
			for _, field := range slices.Sorted(maps.Keys(want.all)) {
				switch {
				case field == "imagePullPolicy": // an admission plugin's business
				case field == "image" && slices.Contains(rolled, want.Name):
				case !covers(have.all[field], want.all[field]):
					found = append(found, want.Name+"'s "+field)
				}
			}
		}
	}
	return found
}

// covers tells whether all that is wanted is there.
func covers(have, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		have, _ := have.(map[string]any)
		for key, value := range want {
			if !covers(have[key], value) {
				return false
			}
		}
		return true
	case []any:
		have, _ := have.([]any)
		if len(want) > 0 {
			if _, objects := want[0].(map[string]any); !objects {
				return reflect.DeepEqual(have, want)
			}
		}
		for _, w := range want {
			if !slices.ContainsFunc(have, func(h any) bool { return covers(h, w) }) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(have, want)
}
