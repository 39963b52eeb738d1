package main

import (
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// idleLimit is how long a drain waits for a connection on which nothing happens.
const idleLimit = 5 * time.Second

// server is an http.Server that ends without losing a request. http.Server.Shutdown closes idle keep-alive connections
// without a warning, and a request that is on its way at that moment is lost. Here every connection is answered once
// more, with "Connection: close".
type server struct {
	http      http.Server
	listeners []net.Listener
	serving   sync.WaitGroup
	draining  atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]time.Time // since when it has been idle; zero: busy
}

func (s *server) serve(h http.Handler, listeners ...net.Listener) {
	s.listeners, s.conns = listeners, map[net.Conn]time.Time{}
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&response{ResponseWriter: w, s: s}, r)
	})
	s.http.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch state {
		case http.StateClosed, http.StateHijacked:
			delete(s.conns, c)
		case http.StateActive:
			s.conns[c] = time.Time{}
		default:
			s.conns[c] = time.Now()
		}
	}
	for _, l := range listeners {
		s.serving.Go(func() {
			if err := s.http.Serve(l); !s.draining.Load() {
				log.Fatal(err)
			}
		})
	}
}

// drain returns when every connection has ended.
func (s *server) drain() {
	s.draining.Store(true)
	for _, l := range s.listeners {
		l.Close()
	}
	s.serving.Wait()
	for s.open() > 0 {
		time.Sleep(50 * time.Millisecond)
	}
	s.http.Close()
}

// open counts the connections that are still worth waiting for.
func (s *server) open() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, idle := range s.conns {
		if idle.IsZero() || time.Since(idle) < idleLimit {
			n++
		}
	}
	return n
}

// response announces the connection's end when its first byte is written: of a request that came before the drain too.
type response struct {
	http.ResponseWriter
	s     *server
	begun bool
}

func (r *response) WriteHeader(code int) {
	if !r.begun && r.s.draining.Load() {
		r.Header().Set("Connection", "close")
	}
	r.begun = true
	r.ResponseWriter.WriteHeader(code)
}

func (r *response) Write(b []byte) (int, error) {
	if !r.begun {
		r.WriteHeader(http.StatusOK)
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush and hijack.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }
