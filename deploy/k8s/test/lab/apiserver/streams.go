package apiserver

import (
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// stream connects the client of an exec or a port-forward with the runtime's streaming server. Websockets, which newer
// clients try first, are refused as by servers before 1.29: the client then takes SPDY, which that server speaks.
func (s *Server) stream(w http.ResponseWriter, q *request) error {
	pod, err := Get[*corev1.Pod](s.Store, q.namespace, q.name)
	if err != nil {
		return err
	}
	if q.Header.Get("Upgrade") != "SPDY/3.1" {
		return apierrors.NewBadRequest("unable to upgrade: " + strconv.Quote(q.Header.Get("Upgrade")) + " is not spoken here")
	}
	v := q.URL.Query()
	var target *url.URL
	if q.sub == "exec" {
		yes := func(name string) bool { return v.Get(name) == "true" || v.Get(name) == "1" }
		container, err := containerOf(pod, v.Get("container"))
		if err != nil {
			return err
		}
		target, err = s.Node.Exec(q.Context(), pod, container, v["command"], yes("stdin"), yes("stdout"), yes("stderr"), yes("tty"))
		if err != nil {
			return err
		}
	} else if target, err = s.Node.PortForward(q.Context(), pod); err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL, r.Out.Host = target, target.Host
			r.Out.Header.Del("Authorization")
		},
		// No proxy of the environment: this connection does not leave the machine.
		Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext},
		ErrorLog:  s.Log,
	}
	proxy.ServeHTTP(w, q.Request)
	return nil
}

func containerOf(pod *corev1.Pod, name string) (string, error) {
	if name == "" {
		if len(pod.Spec.Containers) == 1 {
			return pod.Spec.Containers[0].Name, nil
		}
		return "", apierrors.NewBadRequest("a container name must be specified for pod " + pod.Name)
	}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for _, c := range list {
			if c.Name == name {
				return name, nil
			}
		}
	}
	return "", apierrors.NewBadRequest("container " + name + " is not valid for pod " + pod.Name)
}

func (s *Server) logs(w http.ResponseWriter, q *request) error {
	pod, err := Get[*corev1.Pod](s.Store, q.namespace, q.name)
	if err != nil {
		return err
	}
	v := q.URL.Query()
	o := &corev1.PodLogOptions{
		Follow: v.Get("follow") == "true", Previous: v.Get("previous") == "true", Timestamps: v.Get("timestamps") == "true",
	}
	if o.Container, err = containerOf(pod, v.Get("container")); err != nil {
		return err
	}
	if n, err := strconv.ParseInt(v.Get("tailLines"), 10, 64); err == nil {
		o.TailLines = &n
	}
	if n, err := strconv.ParseInt(v.Get("sinceSeconds"), 10, 64); err == nil {
		o.SinceSeconds = &n
	}
	out := &flushed{w: w}
	if err := s.Node.Logs(q.Context(), pod, o, out); err != nil && !out.begun {
		return err
	}
	if !out.begun {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusOK)
	}
	return nil
}

// flushed sends every write on its way.
type flushed struct {
	w     http.ResponseWriter
	begun bool
}

func (f *flushed) Write(p []byte) (int, error) {
	if !f.begun {
		f.begun = true
		f.w.Header().Set("Content-Type", "text/plain")
	}
	n, err := f.w.Write(p)
	if fl, ok := f.w.(http.Flusher); ok {
		fl.Flush()
	}
	return n, err
}

var _ io.Writer = (*flushed)(nil)
