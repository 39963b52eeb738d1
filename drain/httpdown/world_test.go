package httpdown

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

const (
	stopTimeout = time.Hour + iota
	killTimeout
	grace
)

// patience bounds failures; nothing waits for it to pass.
const patience = 30 * time.Second

// fakeClock hands its timers to the test, which decides when they fire.
type fakeClock chan timer

type timer struct {
	d    time.Duration
	fire chan time.Time
}

func (c fakeClock) After(d time.Duration) <-chan time.Time {
	t := timer{d, make(chan time.Time, 1)}
	c <- t
	return t.fire
}

// next waits until the server has set its next timer, which must be for d.
func (c fakeClock) next(t *testing.T, d time.Duration) timer {
	t.Helper()
	got := receive(t, c)
	if got.d != d {
		t.Fatalf("timer for %v, want %v", got.d, d)
	}
	return got
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("nothing happens")
	}
	return v
}

// world is a server, its clock, and what is known of it.
type world struct {
	*testing.T
	*Server
	clock   fakeClock
	states  chan http.ConnState
	conns   chan *conn
	entered chan struct{} // a handler of /slow runs
	release chan struct{} // it may go on
	address string
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, clock: make(fakeClock, 100), states: make(chan http.ConnState, 100), conns: make(chan *conn, 100),
		entered: make(chan struct{}), release: make(chan struct{})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/slow", func(rw http.ResponseWriter, r *http.Request) {
		if r.FormValue("flush") != "" {
			if err := http.NewResponseController(rw).Flush(); err != nil {
				t.Error(err)
			}
		}
		w.entered <- struct{}{}
		<-w.release
	})
	mux.HandleFunc("/hijack", func(rw http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if _, ok := c.(*net.TCPConn); !ok {
			t.Errorf("hijacked a %T", c)
		}
		<-w.Stopping()
		c.Close()
	})
	w.Server = HTTP{StopTimeout: stopTimeout, KillTimeout: killTimeout, Grace: grace, Clock: w.clock}.Start(&http.Server{
		Handler:     mux,
		ConnState:   func(_ net.Conn, s http.ConnState) { w.states <- s },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { w.conns <- ownConn(c); return ctx },
	}, l)
	return w
}

// state waits until a connection has changed to this state.
func (w *world) state(want http.ConnState) {
	w.Helper()
	if got := receive(w.T, w.states); got != want {
		w.Fatalf("state %v, want %v", got, want)
	}
}

// stop begins to stop the server, and returns when it has begun.
func (w *world) stop() (stopTimer, graceTimer timer, stopped <-chan error) {
	w.Helper()
	done := make(chan error, 1)
	go func() { done <- w.Stop() }()
	return w.clock.next(w.T, stopTimeout), w.clock.next(w.T, grace), done
}

func (w *world) hasStopped(stopped <-chan error, want error, stats Stats) {
	w.Helper()
	if err := receive(w.T, stopped); !errors.Is(err, want) {
		w.Errorf("Stop: %v, want %v", err, want)
	}
	if got := w.Stats(); got != stats {
		w.Errorf("stats\n%+v, want\n%+v", got, stats)
	}
	if c, err := net.Dial("tcp", w.address); err == nil {
		c.Close()
		w.Error("the listener is still there")
	}
}

// client is a raw connection, which never sends a request again.
type client struct {
	*world
	net.Conn
	r *bufio.Reader
}

func (w *world) connect() *client {
	w.Helper()
	c, err := net.Dial("tcp", w.address)
	if err != nil {
		w.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	w.Cleanup(func() { c.Close() })
	w.state(http.StateNew)
	return &client{w, c, bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.Fatal(err)
	}
}

// answer reads a response and tells whether it is the connection's last.
func (c *client) answer() (last bool) {
	c.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		c.Fatal(err)
	}
	return resp.Close
}

func (c *client) get(path string) (last bool) {
	c.Helper()
	c.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
	return c.answer()
}

// ended waits for the connection's end.
func (c *client) ended() {
	c.Helper()
	if b, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		c.Errorf("not closed: %q, %v", b, err)
	}
}
