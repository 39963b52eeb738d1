package httpdown

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is an http.Server that serves.
type Server struct {
	http      *http.Server
	settings  HTTP
	listeners []net.Listener

	changes  chan change
	asked    chan chan Stats
	served   chan error // one for each listener
	stopOnce sync.Once
	stopping chan struct{} // closed when the stop begins
	ended    chan struct{} // closed when it is over: err and stats are final

	// Only manage touches these.
	conns                           map[*conn]*open
	serving                         int // listeners
	grace, stopTimeout, killTimeout <-chan time.Time
	stats                           Stats
	err                             error
}

// change is a connection's new state.
type change struct {
	conn  *conn
	state http.ConnState
}

// open is an open connection.
type open struct {
	state http.ConnState
	aged  bool // was silent when the grace period began
}

// watch reports the connections' states to manage, before it calls the app's own hook.
func (s *Server) watch(next func(net.Conn, http.ConnState)) func(net.Conn, http.ConnState) {
	return func(c net.Conn, state http.ConnState) {
		if own := ownConn(c); own != nil {
			if state == http.StateIdle {
				own.becomeIdle()
			}
			select {
			case s.changes <- change{own, state}:
			case <-s.ended:
			}
		}
		if next != nil {
			next(c, state)
		}
	}
}

// manage owns the connections' states. It ends when the server was stopped and the last connection has ended, or when
// it gives up.
func (s *Server) manage() {
	defer close(s.ended)
	begin := s.stopping
	for begin != nil || s.serving > 0 || len(s.conns) > 0 {
		select {
		case c := <-s.changes:
			s.change(c.conn, c.state)
		case reply := <-s.asked:
			reply <- s.stats
		case err := <-s.served:
			s.serving--
			if begin != nil { // nobody closed it
				s.err = fmt.Errorf("cannot accept connections: %w", err)
				s.stopOnce.Do(func() { close(s.stopping) })
			}
		case <-begin:
			begin = nil
			s.beginStop()
		case <-s.grace:
			s.closeSilent()
		case <-s.stopTimeout:
			s.kill()
		case <-s.killTimeout:
			s.stats.KillTimeouts++
			s.err = fmt.Errorf("%d %w", len(s.conns), ErrKillTimeout)
			return
		}
	}
	// Nothing is left to shut down: this calls what RegisterOnShutdown was given.
	if err := s.http.Shutdown(context.Background()); s.err == nil {
		s.err = err
	}
}

func (s *Server) change(c *conn, state http.ConnState) {
	if state == http.StateNew {
		s.stats.Accepted++
	} else if o := s.conns[c]; o != nil {
		*s.count(o.state)--
	}
	*s.count(state)++
	if state == http.StateClosed || state == http.StateHijacked {
		delete(s.conns, c)
		return
	}
	s.conns[c] = &open{state: state}
}

func (s *Server) count(state http.ConnState) *int {
	switch state {
	case http.StateNew:
		return &s.stats.New
	case http.StateActive:
		return &s.stats.Active
	case http.StateIdle:
		return &s.stats.Idle
	case http.StateHijacked:
		return &s.stats.Hijacked
	}
	return &s.stats.Closed
}

func (s *Server) beginStop() {
	for _, l := range s.listeners {
		l.Close()
	}
	for c, o := range s.conns {
		o.aged = c.silent()
	}
	s.stopTimeout = s.settings.Clock.After(s.settings.StopTimeout)
	s.grace = s.settings.Clock.After(s.settings.Grace)
}

// closeSilent closes, at the end of a grace period, the connections that were silent for the whole of it. The next one
// begins: connections that answer a request that was there before the stop may become idle without having been told.
func (s *Server) closeSilent() {
	for c, o := range s.conns {
		switch {
		case o.state == http.StateActive:
		case !c.silent():
			o.aged = false
		case !o.aged:
			o.aged = true
		case c.closeIfSilent():
			s.stats.Silent++
		}
	}
	s.grace = s.settings.Clock.After(s.settings.Grace)
}

func (s *Server) kill() {
	s.stats.Killed = len(s.conns)
	s.err = fmt.Errorf("%d %w", len(s.conns), ErrStopTimeout)
	_ = s.http.Close() // every connection, busy or not; an error of closing one leaves nothing to do
	s.grace = nil
	s.killTimeout = s.settings.Clock.After(s.settings.KillTimeout)
}
