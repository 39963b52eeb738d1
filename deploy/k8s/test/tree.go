package test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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
