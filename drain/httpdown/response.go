package httpdown

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// announceEnd has every response that begins after the stop end its connection.
func (s *Server) announceEnd(next http.Handler) http.Handler {
	if next == nil {
		next = http.DefaultServeMux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor > 1 {
			// net/http makes GOAWAY of it. Of a stream's own end nothing needs to be said, so the decision can be made here.
			if s.isStopping() {
				w.Header().Set("Connection", "close")
			}
			next.ServeHTTP(w, r)
			return
		}
		announcing := &response{ResponseWriter: w, server: s}
		next.ServeHTTP(announcing, r)
		announcing.begin() // of a handler that wrote nothing
	})
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// response decides at a response's beginning, not at the request, whether it is the last: a slow one that was there
// before the stop is then the last of its connection too. It has what net/http's own HTTP/1 response has, and handlers
// look for.
type response struct {
	http.ResponseWriter
	server *Server
	begun  bool
}

func (r *response) begin() {
	if !r.begun && r.server.isStopping() {
		r.Header().Set("Connection", "close")
	}
	r.begun = true
}

func (r *response) WriteHeader(code int) {
	if code >= http.StatusOK { // not the informational ones, which precede it; 101 is followed by another protocol
		r.begin()
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *response) Write(b []byte) (int, error) {
	r.begin()
	return r.ResponseWriter.Write(b)
}

func (r *response) WriteString(s string) (int, error) {
	r.begin()
	return io.WriteString(r.ResponseWriter, s)
}

func (r *response) ReadFrom(from io.Reader) (int64, error) {
	r.begin()
	return io.Copy(r.ResponseWriter, from)
}

func (r *response) Flush() { _ = r.FlushError() }

func (r *response) FlushError() error {
	r.begin()
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Hijack gives the connection that was accepted, which handlers may want as a *net.TCPConn.
func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if own, ok := c.(*conn); ok {
		c = own.Conn
	}
	return c, rw, err
}

// CloseNotify is deprecated, but some frameworks insist on it (gin).
func (r *response) CloseNotify() <-chan bool {
	return r.ResponseWriter.(http.CloseNotifier).CloseNotify() //nolint:staticcheck,errcheck // net/http's own response has it
}

// Unwrap is for http.ResponseController.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }
