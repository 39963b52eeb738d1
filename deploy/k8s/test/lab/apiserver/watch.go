package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
)

// selection returns the test of ?labelSelector and ?fieldSelector.
func selection(q *request) (func(Object) bool, error) {
	l, err := labels.Parse(q.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	f, err := fields.ParseSelector(q.URL.Query().Get("fieldSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return func(o Object) bool {
		if q.name != "" && o.GetName() != q.name || q.namespace != "" && !q.resource.cluster && o.GetNamespace() != q.namespace {
			return false
		}
		if !l.Matches(labels.Set(o.GetLabels())) {
			return false
		}
		if f.Empty() {
			return true
		}
		m := asMap(o)
		for _, r := range f.Requirements() {
			if (lookup(m, r.Field) == r.Value) == (r.Operator == "!=") {
				return false
			}
		}
		return true
	}, nil
}

// lookup finds a field by its path; what is not there is "".
func lookup(m map[string]any, path string) string {
	var v any = m
	for name := range strings.SplitSeq(path, ".") {
		inner, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = inner[name]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func asMap(o any) map[string]any {
	text, err := json.Marshal(o)
	m := map[string]any{}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		panic(fmt.Sprintf("%T: %v", o, err))
	}
	return m
}

func (s *Server) list(w http.ResponseWriter, q *request) error {
	chosen, err := selection(q)
	if err != nil {
		return err
	}
	all, version := s.Store.list(q.resource, q.namespace)
	items := []Object{}
	for _, o := range all {
		if chosen(o) {
			items = append(items, o)
		}
	}
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatUint(version, 10)}
	if wantsTable(q) {
		respond(w, http.StatusOK, table(q, meta, items...))
		return nil
	}
	respond(w, http.StatusOK, map[string]any{
		"kind": q.resource.kind + "List", "apiVersion": q.resource.gv().String(), "metadata": meta, "items": items,
	})
	return nil
}

// show answers with one object.
func show(w http.ResponseWriter, q *request, o Object) error {
	if wantsTable(q) {
		respond(w, http.StatusOK, table(q, metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}, o))
		return nil
	}
	respond(w, http.StatusOK, o)
	return nil
}

func (s *Server) watch(w http.ResponseWriter, q *request) error {
	chosen, err := selection(q)
	if err != nil {
		return err
	}
	flush, ok := w.(http.Flusher)
	if !ok {
		return apierrors.NewInternalError(fmt.Errorf("%T cannot flush", w))
	}
	values := q.URL.Query()
	var timeout <-chan time.Time
	if n, err := strconv.Atoi(values.Get("timeoutSeconds")); err == nil && n > 0 {
		timeout = time.After(time.Duration(n) * time.Second)
	}
	version, err := strconv.ParseUint(values.Get("resourceVersion"), 10, 64)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush.Flush()
	out := json.NewEncoder(w)
	send := func(kind watch.EventType, o Object) error {
		body := any(o)
		if wantsTable(q) {
			body = table(q, metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}, o)
		}
		err := out.Encode(map[string]any{"type": kind, "object": body})
		flush.Flush()
		return err
	}
	if err != nil || version == 0 { // from what is there now
		var all []Object
		all, version = s.Store.list(q.resource, q.namespace)
		for _, o := range all {
			if chosen(o) && send(watch.Added, o) != nil {
				return nil //nolint:nilerr // the client has gone
			}
		}
	}
	for {
		changes, more := s.Store.since(version)
		for _, c := range changes {
			version++
			if c.resource.plural != q.resource.plural {
				continue
			}
			is, was := chosen(c.object), c.prior != nil && chosen(c.prior)
			kind := c.kind
			switch {
			case !is && !was:
				continue
			case kind == watch.Modified && is && !was:
				kind = watch.Added
			case kind == watch.Modified && !is:
				kind = watch.Deleted
			}
			if send(kind, c.object) != nil {
				return nil //nolint:nilerr // the client has gone
			}
		}
		select {
		case <-more:
		case <-timeout:
			return nil
		case <-q.Context().Done():
			return nil
		}
	}
}
