// Package httpdown ends an http.Server without losing a request. It is for apps that run under graceinit, or under
// anything else that starts a successor on the same listening sockets and then asks the predecessor to stop:
//
//	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
//	defer cancel()
//	err := httpdown.Serve(ctx, &http.Server{Handler: app}, listeners...)
//
// # How a server stops
//
// It closes its listeners, waits for its connections until the stop timeout, closes those that are left, waits for
// their handlers until the kill timeout, and gives up. That is what facebookgo/httpdown did. The difference is in what
// becomes of keep-alive connections. There, and in http.Server.Shutdown, an idle one is closed at once, and so is one
// whose next request has just been read: a request crosses the close, and a client that does not send it again has lost
// it. Here
//
//   - every connection may send one more request. Its response, as every response that begins after the stop, says
//     "Connection: close", and the connection is closed after it;
//   - a connection that stays silent is closed after the grace period. Only a request that arrives in the same
//     microseconds can be lost, as to any server with an idle timeout (RFC 9112, 9.3.1);
//   - a request counts from its first byte: net/http has a connection for idle until it has read the head.
//
// The price is time: where clients keep idle connections, a stop takes the grace period, and up to twice that.
//
// # HTTP/2 and TLS
//
// Listeners are plain ones; with http.Server.TLSConfig set, TLS is spoken on all of them. In HTTP/2 net/http turns
// "Connection: close" into GOAWAY: streams that are open finish, and the client knows which requests to send elsewhere. A
// connection without a request in the grace period is closed without GOAWAY. What arrives inside TLS or HTTP/2 cannot be
// told from a request's first bytes, so there a client may not pause for longer than the grace period within a head.
//
// # What is not waited for
//
// Hijacked connections (WebSockets), as in http.Server.Shutdown: they can watch [Server.Stopping]. Functions of
// http.Server.RegisterOnShutdown are called at the end, not at the beginning.
package httpdown

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// HTTP says how servers stop. The zero value is ready for use.
type HTTP struct {
	// StopTimeout is how long Stop waits for connections to end by themselves; zero is one minute. graceinit's drain
	// timeout should be longer than this and KillTimeout.
	StopTimeout time.Duration

	// KillTimeout is how long Stop waits for the handlers of connections that it has closed; zero is one minute.
	KillTimeout time.Duration

	// Grace is how long a connection may be silent before it is closed without having been told; zero is two seconds, and
	// ten milliseconds are the least. It should be longer than a busy client's pause between two requests.
	Grace time.Duration

	// Clock is for tests; nil is the real one.
	Clock Clock
}

// Clock is a source of timers.
type Clock interface {
	After(time.Duration) <-chan time.Time
}

type realClock struct{}

func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func (h HTTP) withDefaults() HTTP {
	if h.StopTimeout == 0 {
		h.StopTimeout = time.Minute
	}
	if h.KillTimeout == 0 {
		h.KillTimeout = time.Minute
	}
	if h.Grace == 0 {
		h.Grace = 2 * time.Second
	}
	h.Grace = max(h.Grace, 10*time.Millisecond)
	if h.Clock == nil {
		h.Clock = realClock{}
	}
	return h
}

var (
	// ErrStopTimeout is returned when connections had to be closed that were still working.
	ErrStopTimeout = errors.New("connections were closed at the stop timeout")
	// ErrKillTimeout is returned when their handlers worked on even then.
	ErrKillTimeout = errors.New("handlers were left behind at the kill timeout")
)

// Serve serves until ctx is done, then stops, with the zero HTTP.
func Serve(ctx context.Context, server *http.Server, listeners ...net.Listener) error {
	return HTTP{}.Serve(ctx, server, listeners...)
}

// Serve serves until ctx is done, then stops. It returns early when a listener fails, after stopping.
func (h HTTP) Serve(ctx context.Context, server *http.Server, listeners ...net.Listener) error {
	s := h.Start(server, listeners...)
	select {
	case <-ctx.Done():
	case <-s.ended:
	}
	return s.Stop()
}

// Start serves in the background. The http.Server belongs to the Server from now on: its Handler and ConnState are
// wrapped, and its own Shutdown and Close must not be called.
func (h HTTP) Start(server *http.Server, listeners ...net.Listener) *Server {
	s := &Server{
		http:     server,
		settings: h.withDefaults(),
		changes:  make(chan change),
		asked:    make(chan chan Stats),
		served:   make(chan error),
		stopping: make(chan struct{}),
		ended:    make(chan struct{}),
		conns:    map[*conn]*open{},
		serving:  len(listeners),
	}
	server.Handler = s.announceEnd(server.Handler)
	server.ConnState = s.watch(server.ConnState)
	for _, l := range listeners {
		s.listeners = append(s.listeners, listener{l})
	}
	overTLS := server.TLSConfig != nil // asked before the first Serve, which sets one for HTTP/2
	for _, l := range s.listeners {
		go func() {
			serve := server.Serve
			if overTLS {
				serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
			}
			s.served <- serve(l)
		}()
	}
	go s.manage()
	return s
}

// Stop stops the server and waits until it has stopped: see the package's documentation. Later and concurrent calls wait
// for the first and return the same.
func (s *Server) Stop() error {
	s.stopOnce.Do(func() { close(s.stopping) })
	return s.Wait()
}

// Wait waits until the server has stopped: by Stop, or because a listener failed.
func (s *Server) Wait() error {
	<-s.ended
	return s.err
}

// Stopping is closed when the stop begins.
func (s *Server) Stopping() <-chan struct{} { return s.stopping }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	reply := make(chan Stats, 1)
	select {
	case s.asked <- reply:
		return <-reply
	case <-s.ended:
		return s.stats
	}
}

// Stats are counters of connections.
type Stats struct {
	New, Active, Idle int // open now, by http.ConnState

	Accepted, Closed, Hijacked int // since the start

	Silent       int // closed at the end of the grace period
	Killed       int // open at the stop timeout, and closed then
	KillTimeouts int // 1 if handlers were left behind
}
