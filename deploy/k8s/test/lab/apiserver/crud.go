package apiserver

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

func (s *Server) create(w http.ResponseWriter, q *request) error {
	o, err := read(q)
	if err != nil {
		return err
	}
	if q.name != "" {
		return apierrors.NewMethodNotSupported(q.resource.gr(), "create")
	}
	if !q.resource.cluster {
		if o.GetNamespace() != "" && o.GetNamespace() != q.namespace {
			return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
		}
		o.SetNamespace(q.namespace)
		if _, err := s.Store.get(mustNamed("namespaces"), "", q.namespace); err != nil {
			return err
		}
	}
	o.SetUID("")
	o.SetResourceVersion("")
	complete(o)
	if status := reflect.ValueOf(o).Elem().FieldByName("Status"); status.IsValid() {
		status.SetZero()
	}
	if err := validate(q.resource, o, nil); err != nil {
		return err
	}
	if dry(q) {
		respond(w, http.StatusCreated, o)
		return nil
	}
	if o, err = s.Store.Create(o); err != nil {
		return err
	}
	respond(w, http.StatusCreated, o)
	return nil
}

func dry(q *request) bool { return q.URL.Query().Get("dryRun") != "" }

// errDry ends an update whose outcome was only asked for.
var errDry = errors.New("dry run")

func (s *Server) change(w http.ResponseWriter, q *request, by func(old Object) (Object, error)) error {
	var result Object
	o, err := s.Store.update(q.resource, q.namespace, q.name, func(old Object) (Object, error) {
		o, err := by(clone(old))
		if err != nil {
			return nil, err
		}
		if v := o.GetResourceVersion(); v != "" && v != old.GetResourceVersion() {
			return nil, apierrors.NewConflict(q.resource.gr(), q.name,
				errors.New("the object has been modified; please apply your changes to the latest version and try again"))
		}
		// What belongs to the server stays as it is.
		o.SetResourceVersion(old.GetResourceVersion())
		o.SetUID(old.GetUID())
		o.SetName(old.GetName())
		o.SetNamespace(old.GetNamespace())
		o.SetGeneration(old.GetGeneration())
		o.SetCreationTimestamp(old.GetCreationTimestamp())
		o.SetDeletionTimestamp(old.GetDeletionTimestamp())
		o.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
		o.GetObjectKind().SetGroupVersionKind(q.resource.gvk())
		if q.sub == "status" {
			keep(o, old, "Spec")
		} else {
			keep(o, old, "Status")
		}
		complete(o)
		if err := validate(q.resource, o, old); err != nil {
			return nil, err
		}
		if dry(q) {
			result = o
			return nil, errDry
		}
		return o, nil
	})
	if errors.Is(err, errDry) {
		o, err = result, nil
	}
	if err != nil {
		return err
	}
	return show(w, q, o)
}

func (s *Server) replace(w http.ResponseWriter, q *request) error {
	o, err := read(q)
	if err != nil {
		return err
	}
	return s.change(w, q, func(Object) (Object, error) { return o, nil })
}

func (s *Server) patch(w http.ResponseWriter, q *request) error {
	text, err := io.ReadAll(q.Body)
	if err != nil {
		return err
	}
	kind := types.PatchType(q.Header.Get("Content-Type"))
	if !slices.Contains([]types.PatchType{types.StrategicMergePatchType, types.MergePatchType, types.JSONPatchType}, kind) {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
			Message: "the lab's API server knows no patch of type " + string(kind),
		}}
	}
	if text, err = yaml.YAMLToJSON(text); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return s.change(w, q, func(old Object) (Object, error) {
		patched, err := patched(q.resource, encode(old), kind, text)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return decode(q.resource, patched)
	})
}

func patched(r resource, old []byte, kind types.PatchType, patch []byte) ([]byte, error) {
	switch kind {
	case types.StrategicMergePatchType:
		return strategicpatch.StrategicMergePatch(old, patch, r.new())
	case types.MergePatchType:
		return jsonpatch.MergePatch(old, patch)
	default:
		p, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, err
		}
		return p.Apply(old)
	}
}

func (s *Server) remove(w http.ResponseWriter, q *request) error {
	var options metav1.DeleteOptions
	text, err := io.ReadAll(q.Body)
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &options)
	}
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if q.verb == "deletecollection" {
		chosen, err := selection(q)
		if err != nil {
			return err
		}
		all, _ := s.Store.list(q.resource, q.namespace)
		for _, o := range all {
			if chosen(o) && !dry(q) {
				s.Store.Delete(o, options.GracePeriodSeconds)
			}
		}
		respond(w, http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess})
		return nil
	}
	o, err := s.Store.get(q.resource, q.namespace, q.name)
	if err != nil {
		return err
	}
	if p := options.Preconditions; p != nil && p.UID != nil && *p.UID != o.GetUID() {
		return apierrors.NewConflict(q.resource.gr(), q.name, errors.New("the UID in the precondition does not match"))
	}
	if !dry(q) {
		s.Store.Delete(o, options.GracePeriodSeconds)
	}
	if now, err := s.Store.get(q.resource, q.namespace, q.name); err == nil && now.GetUID() == o.GetUID() {
		respond(w, http.StatusOK, now)
		return nil
	}
	respond(w, http.StatusOK, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: q.name, Group: q.resource.group, Kind: q.resource.plural, UID: o.GetUID()},
	})
	return nil
}

// scale is the subresource of what has replicas.
func (s *Server) scale(w http.ResponseWriter, q *request) error {
	if q.verb == "get" {
		o, err := s.Store.get(q.resource, q.namespace, q.name)
		if err != nil {
			return err
		}
		respond(w, http.StatusOK, scaleOf(o))
		return nil
	}
	text, err := io.ReadAll(q.Body)
	if err != nil {
		return err
	}
	var result *autoscalingv1.Scale
	_, err = s.Store.update(q.resource, q.namespace, q.name, func(o Object) (Object, error) {
		sc := scaleOf(o)
		if q.verb == "patch" {
			kind := types.PatchType(q.Header.Get("Content-Type"))
			old := encode(sc)
			if kind == types.StrategicMergePatchType {
				kind = types.MergePatchType
			}
			if text, err = patched(q.resource, old, kind, text); err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
		}
		if err := json.Unmarshal(text, sc); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		reflect.ValueOf(o).Elem().FieldByName("Spec").FieldByName("Replicas").Set(reflect.ValueOf(&sc.Spec.Replicas))
		result = sc
		return o, nil
	})
	if err != nil {
		return err
	}
	respond(w, http.StatusOK, result)
	return nil
}

func scaleOf(o Object) *autoscalingv1.Scale {
	sc := &autoscalingv1.Scale{TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: "autoscaling/v1"}}
	sc.ObjectMeta = metav1.ObjectMeta{
		Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
		CreationTimestamp: o.GetCreationTimestamp(),
	}
	v := reflect.ValueOf(o).Elem()
	if n, ok := v.FieldByName("Spec").FieldByName("Replicas").Interface().(*int32); ok && n != nil {
		sc.Spec.Replicas = *n
	}
	sc.Status.Replicas = int32(v.FieldByName("Status").FieldByName("Replicas").Int())
	return sc
}

// issue answers `kubectl create token`.
func (s *Server) issue(w http.ResponseWriter, q *request) error {
	if _, err := Get[*corev1.ServiceAccount](s.Store, q.namespace, q.name); err != nil {
		return err
	}
	respond(w, http.StatusCreated, &authenticationv1.TokenRequest{
		TypeMeta: metav1.TypeMeta{Kind: "TokenRequest", APIVersion: "authentication.k8s.io/v1"},
		Status:   authenticationv1.TokenRequestStatus{Token: s.ServiceAccount(q.namespace, q.name)},
	})
	return nil
}

func mustNamed(plural string) resource {
	for _, r := range resources {
		if r.plural == plural {
			return r
		}
	}
	panic(plural)
}
