package apiserver

import (
	"encoding/json"
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

// Event records an event about an object; the same one again counts up.
func (s *Store) Event(o Object, kind, reason, message, fieldPath string) {
	r := of(o)
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	name := o.GetName() + "." + Hash(o.GetUID(), reason, message, fieldPath)
	_, err := Update(s, namespace, name, func(e *corev1.Event) error {
		e.Count++
		e.LastTimestamp = metav1.Now()
		return nil
	})
	if !apierrors.IsNotFound(err) {
		return
	}
	_, _ = s.Create(&corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: r.gv().String(), Kind: r.kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(),
			FieldPath: fieldPath,
		},
		Type: kind, Reason: reason, Message: message, Count: 1,
		Source:         corev1.EventSource{Component: "lab"},
		FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(),
	})
}

// Hash is a short name for values, of the letters that Kubernetes uses for its own.
func Hash(values ...any) string {
	h := fnv.New32a()
	for _, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		_, _ = h.Write(text)
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}
