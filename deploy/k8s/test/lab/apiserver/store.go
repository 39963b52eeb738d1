package apiserver

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
)

// Store keeps the objects, and everything that ever happened to them: a lab is short, and so every watch can begin
// wherever it likes.
type Store struct {
	mu      sync.Mutex
	objects map[key]Object
	log     []change
	more    chan struct{} // closed when the log has grown
}

type key struct{ plural, namespace, name string }

// change is one thing that happened; its index in the log, plus one, is its resource version.
type change struct {
	kind          watch.EventType
	resource      resource
	object, prior Object
}

// NewStore returns a store with nothing in it.
func NewStore() *Store {
	return &Store{objects: map[key]Object{}, more: make(chan struct{})}
}

func keyOf(r resource, namespace, name string) key {
	if r.cluster {
		namespace = ""
	}
	return key{r.plural, namespace, name}
}

// Get returns a copy of an object; o says which kind is meant.
func Get[T Object](s *Store, namespace, name string) (T, error) {
	o, err := s.get(kindOf[T](), namespace, name)
	return as[T](o), err
}

// kindOf is the resource of a Go type.
func kindOf[T Object]() resource {
	var zero T
	return of(reflect.New(reflect.TypeOf(zero).Elem()).Interface().(Object)) //nolint:errcheck // T is one
}

// as returns an object as what it is known to be, and nil for nil: the store files objects by their kind.
func as[T Object](o Object) T {
	typed, _ := o.(T)
	return typed
}

// List returns copies of all objects of a kind in a namespace, or in all for "", in the order of their names.
func List[T Object](s *Store, namespace string) []T {
	all, _ := s.list(kindOf[T](), namespace)
	typed := make([]T, len(all))
	for i, o := range all {
		typed[i] = as[T](o)
	}
	return typed
}

func (s *Store) get(r resource, namespace, name string) (Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[keyOf(r, namespace, name)]
	if !ok {
		return nil, apierrors.NewNotFound(r.gr(), name)
	}
	return clone(o), nil
}

func (s *Store) list(r resource, namespace string) ([]Object, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Object
	for k, o := range s.objects {
		if k.plural == r.plural && (namespace == "" || k.namespace == namespace) {
			all = append(all, clone(o))
		}
	}
	slices.SortFunc(all, func(a, b Object) int {
		return compare(a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName())
	})
	return all, uint64(len(s.log))
}

// Create adds an object and returns it as it is stored.
func (s *Store) Create(o Object) (Object, error) {
	r := of(o)
	o = clone(o)
	o.GetObjectKind().SetGroupVersionKind(r.gvk())
	if o.GetName() == "" && o.GetGenerateName() != "" {
		o.SetName(o.GetGenerateName() + rand.String(5))
	}
	if o.GetName() == "" {
		return nil, apierrors.NewBadRequest("name or generateName is required")
	}
	if o.GetUID() == "" {
		o.SetUID(uuid.NewUUID())
	}
	o.SetCreationTimestamp(metav1.Now())
	o.SetGeneration(1)
	o.SetDeletionTimestamp(nil)
	complete(o)

	s.mu.Lock()
	defer s.mu.Unlock()
	k := keyOf(r, o.GetNamespace(), o.GetName())
	if _, ok := s.objects[k]; ok {
		return nil, apierrors.NewAlreadyExists(r.gr(), o.GetName())
	}
	s.objects[k] = o
	s.record(watch.Added, r, o, nil)
	return clone(o), nil
}

// Update changes an object by a function that gets a copy of it.
func Update[T Object](s *Store, namespace, name string, by func(T) error) (T, error) {
	o, err := s.update(kindOf[T](), namespace, name, func(o Object) (Object, error) { return o, by(as[T](o)) })
	return as[T](o), err
}

func (s *Store) update(r resource, namespace, name string, by func(Object) (Object, error)) (Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := keyOf(r, namespace, name)
	old, ok := s.objects[k]
	if !ok {
		return nil, apierrors.NewNotFound(r.gr(), name)
	}
	o, err := by(clone(old))
	if err != nil {
		return nil, err
	}
	if same(old, o) {
		return clone(old), nil
	}
	if !same(part(old, "Spec"), part(o, "Spec")) || old.GetDeletionTimestamp() == nil && o.GetDeletionTimestamp() != nil {
		o.SetGeneration(old.GetGeneration() + 1)
	}
	s.objects[k] = o
	s.record(watch.Modified, r, o, old)
	return clone(o), nil
}

// Remove takes an object away, if it is still the one meant; "" is any. What depends on it is deleted.
func (s *Store) Remove(o Object) {
	r := of(o)
	s.mu.Lock()
	k := keyOf(r, o.GetNamespace(), o.GetName())
	old, ok := s.objects[k]
	if !ok || o.GetUID() != "" && old.GetUID() != o.GetUID() {
		s.mu.Unlock()
		return
	}
	delete(s.objects, k)
	s.record(watch.Deleted, r, clone(old), old)
	dependents := s.dependents(old)
	s.mu.Unlock()
	for _, d := range dependents {
		s.Delete(d, nil)
	}
}

func (s *Store) dependents(o Object) []Object {
	var all []Object
	for k, d := range s.objects {
		owned := slices.ContainsFunc(d.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == o.GetUID() })
		if owned || of(o).plural == "namespaces" && k.namespace == o.GetName() {
			all = append(all, clone(d))
		}
	}
	return all
}

// Delete begins the deletion of an object: a pod gets the time to end, anything else goes at once.
func (s *Store) Delete(o Object, grace *int64) {
	r := of(o)
	if r.plural != "pods" {
		s.Remove(o)
		return
	}
	_, _ = s.update(r, o.GetNamespace(), o.GetName(), func(o Object) (Object, error) {
		seconds := int64(30)
		if spec := part(o, "Spec"); spec != nil {
			if g, ok := reflect.ValueOf(spec).FieldByName("TerminationGracePeriodSeconds").Interface().(*int64); ok && g != nil {
				seconds = *g
			}
		}
		if grace != nil {
			seconds = *grace
		}
		if o.GetDeletionTimestamp() != nil && o.GetDeletionGracePeriodSeconds() != nil && seconds >= *o.GetDeletionGracePeriodSeconds() {
			return o, nil
		}
		at := metav1.NewTime(time.Now().Add(time.Duration(seconds) * time.Second))
		o.SetDeletionTimestamp(&at)
		o.SetDeletionGracePeriodSeconds(&seconds)
		return o, nil
	})
}

// record is called with mu held.
func (s *Store) record(kind watch.EventType, r resource, o, prior Object) {
	o.SetResourceVersion(strconv.Itoa(len(s.log) + 1))
	s.log = append(s.log, change{kind: kind, resource: r, object: o, prior: prior})
	close(s.more)
	s.more = make(chan struct{})
}

// since returns what has happened after a version, and a channel that is closed when there is more.
func (s *Store) since(version uint64) ([]change, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	version = min(version, uint64(len(s.log)))
	return s.log[version:len(s.log):len(s.log)], s.more
}

// Follow calls a function with every object of a kind, as it is and whenever it changes, until ctx ends. Objects are
// shared and not to be changed.
func Follow[T Object](ctx context.Context, s *Store, each func(kind watch.EventType, o T)) {
	r := kindOf[T]()
	for version := uint64(0); ; {
		changes, more := s.since(version)
		for _, c := range changes {
			version++
			if c.resource.plural == r.plural {
				each(c.kind, as[T](c.object))
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// Changed returns a channel that is closed at the next change of anything.
func (s *Store) Changed() <-chan struct{} {
	_, more := s.since(0)
	return more
}

func clone[T Object](o T) T {
	c, _ := o.DeepCopyObject().(T)
	return c
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// part returns a field of an object, and nil where it has none.
func part(o Object, name string) any {
	f := reflect.ValueOf(o).Elem().FieldByName(name)
	if !f.IsValid() {
		return nil
	}
	return f.Interface()
}

// keep puts a field back as it was.
func keep(o, old Object, name string) {
	if f := reflect.ValueOf(o).Elem().FieldByName(name); f.IsValid() {
		f.Set(reflect.ValueOf(old).Elem().FieldByName(name))
	}
}

// same compares as clients see it.
func same(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && string(x) == string(y)
}

// Version is how much has happened so far.
func (s *Store) Version() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.log)
}

// History returns every state of the objects of a kind that a certain change has led to since a version, in order. They
// are shared and not to be changed.
func History[T Object](s *Store, kind watch.EventType, from int) []T {
	r := kindOf[T]()
	changes, _ := s.since(uint64(from))
	var all []T
	for _, c := range changes {
		if c.resource.plural == r.plural && c.kind == kind {
			all = append(all, as[T](c.object))
		}
	}
	return all
}
