package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// An object is one document, decoded.
type object struct {
	where string // its file, or the kustomization that it comes from
	typed runtime.Object
	meta  metav1.Object
}

// The kinds that Kubernetes' own packages know. Those of others are in kinds.go, with what is known of them: a kind that is
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
