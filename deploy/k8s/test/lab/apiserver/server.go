package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"
)

// Node is where pods run: what the API server asks the kubelet for.
type Node interface {
	// Exec prepares a command in a container, and returns where its streams are.
	Exec(ctx context.Context, pod *corev1.Pod, container string, command []string, stdin, stdout, stderr, tty bool) (*url.URL, error)
	// PortForward prepares the forwarding of ports, and returns where its streams are.
	PortForward(ctx context.Context, pod *corev1.Pod) (*url.URL, error)
	// Logs writes a container's log.
	Logs(ctx context.Context, pod *corev1.Pod, o *corev1.PodLogOptions, to io.Writer) error
}

// Server answers kubectl.
type Server struct {
	Store *Store
	Node  Node
	Log   *log.Logger

	mu     sync.Mutex
	tokens map[string]*user
}

// New returns a server in whose store are the namespaces that every cluster has.
func New(l *log.Logger) *Server {
	s := &Server{Store: NewStore(), Log: l, tokens: map[string]*user{}}
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem} {
		_, _ = s.Store.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return s
}

// Admin returns a token that may do everything.
func (s *Server) Admin() string { return s.token(&user{name: "admin", admin: true}) }

// ServiceAccount returns a token of a service account.
func (s *Server) ServiceAccount(namespace, name string) string {
	return s.token(serviceAccount(namespace, name))
}

func (s *Server) token(u *user) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := rand.String(40)
	s.tokens[t] = u
	return t
}

// request is what a URL asks for.
type request struct {
	*http.Request
	user            *user
	verb            string
	resource        resource
	namespace, name string
	sub             string
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // it is a value, compared as net/http does
			s.Log.Printf("PANIC %s %s: %v", r.Method, r.URL, p)
			panic(p)
		}
	}()
	if err := s.serve(w, r); err != nil {
		s.fail(w, r, err)
	}
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	st := status.Status()
	st.Kind, st.APIVersion = "Status", "v1"
	s.Log.Printf("%s %s: %d %s", r.Method, r.URL, st.Code, st.Message)
	respond(w, int(st.Code), st)
}

func respond(w http.ResponseWriter, code int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n'))
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	u := s.tokens[bearer]
	s.mu.Unlock()
	if u == nil {
		return apierrors.NewUnauthorized("Unauthorized")
	}
	if name := r.Header.Get("Impersonate-User"); name != "" {
		if !u.admin {
			return forbidden(u, "impersonate", resource{plural: "users"}, "", "", name)
		}
		u = impersonated(name, r.Header.Values("Impersonate-Group"))
	}
	if answered := discover(w, r); answered {
		return nil
	}
	q, err := parse(r)
	if err != nil {
		return err
	}
	q.user = u
	s.Log.Printf("%s %s %s (%s)", u.name, q.verb, r.URL, r.UserAgent())
	if !s.allowed(u, q.verb, q.resource, q.sub, q.namespace, q.name) {
		return forbidden(u, q.verb, q.resource, q.sub, q.namespace, q.name)
	}
	switch {
	case strings.HasSuffix(q.resource.plural, "subjectaccessreviews"):
		return s.review(w, q)
	case q.sub == "log":
		return s.logs(w, q)
	case q.sub == "exec" || q.sub == "portforward":
		return s.stream(w, q)
	case q.sub == "scale":
		return s.scale(w, q)
	case q.sub == "token":
		return s.issue(w, q)
	case q.sub != "" && q.sub != "status":
		return apierrors.NewNotFound(q.resource.gr(), q.name)
	}
	switch q.verb {
	case "get":
		o, err := s.Store.get(q.resource, q.namespace, q.name)
		if err != nil {
			return err
		}
		return show(w, q, o)
	case "list":
		return s.list(w, q)
	case "watch":
		return s.watch(w, q)
	case "create":
		return s.create(w, q)
	case "update":
		return s.replace(w, q)
	case "patch":
		return s.patch(w, q)
	case "delete", "deletecollection":
		return s.remove(w, q)
	}
	return apierrors.NewMethodNotSupported(q.resource.gr(), q.verb)
}

// parse finds out what a path asks for: /api/v1 or /apis/GROUP/VERSION, and then
// [namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]].
func parse(r *http.Request) (*request, error) {
	q := &request{Request: r}
	missing := &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource",
	}}
	p := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var group, version string
	switch {
	case len(p) >= 3 && p[0] == "api":
		version, p = p[1], p[2:]
	case len(p) >= 4 && p[0] == "apis":
		group, version, p = p[1], p[2], p[3:]
	default:
		return nil, missing
	}
	if p[0] == "namespaces" && len(p) >= 3 && !slices.Contains([]string{"status", "finalize"}, p[2]) {
		q.namespace, p = p[1], p[2:]
	}
	var ok bool
	if q.resource, ok = named(group, version, p[0]); !ok || len(p) > 3 {
		return nil, missing
	}
	if len(p) > 1 {
		q.name = p[1]
	}
	if len(p) > 2 {
		q.sub = p[2]
	}
	watching := r.URL.Query().Get("watch")
	switch r.Method {
	case http.MethodGet:
		switch {
		case q.name != "":
			q.verb = "get"
		case watching == "true" || watching == "1":
			q.verb = "watch"
		default:
			q.verb = "list"
		}
	case http.MethodPost:
		q.verb = "create"
	case http.MethodPut:
		q.verb = "update"
	case http.MethodPatch:
		q.verb = "patch"
	case http.MethodDelete:
		q.verb = "delete"
		if q.name == "" {
			q.verb = "deletecollection"
		}
	default:
		return nil, missing
	}
	return q, nil
}

// read decodes a request's body, strictly, whatever ?fieldValidation says.
func read(q *request) (Object, error) {
	text, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	return decode(q.resource, text)
}

func decode(r resource, text []byte) (Object, error) {
	gvk := r.gvk()
	o, got, err := strict.Decode(text, &gvk, nil)
	if err != nil {
		return nil, apierrors.NewBadRequest(strings.Replace(err.Error(), "strict decoding error", "error when creating: strict decoding error", 1))
	}
	typed, ok := o.(Object)
	if !ok || *got != gvk {
		return nil, apierrors.NewBadRequest("the object is a " + got.String() + ", not a " + gvk.String())
	}
	return typed, nil
}

func encode(o runtime.Object) []byte {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return text
}
