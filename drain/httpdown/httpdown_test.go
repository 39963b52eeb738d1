package httpdown

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestEveryConnectionMaySendOneMoreRequest(t *testing.T) {
	w := newWorld(t)
	idle, fresh := w.connect(), w.connect()
	if idle.get("/") {
		t.Error("closed before the stop")
	}
	w.state(http.StateActive)
	w.state(http.StateIdle)
	if got, want := w.Stats(), (Stats{New: 1, Idle: 1, Accepted: 2}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
	_, _, stopped := w.stop()
	for _, c := range []*client{idle, fresh} {
		if !c.get("/") {
			t.Error("not told that it is the last")
		}
		c.ended()
	}
	w.hasStopped(stopped, nil, Stats{Accepted: 2, Closed: 2})
}

func TestSilentConnectionsAreClosedAfterTheGracePeriod(t *testing.T) {
	w := newWorld(t)
	idle, fresh := w.connect(), w.connect()
	idle.get("/")
	w.state(http.StateActive)
	w.state(http.StateIdle)
	_, g, stopped := w.stop()
	g.fire <- time.Time{}
	idle.ended()
	fresh.ended()
	w.hasStopped(stopped, nil, Stats{Accepted: 2, Closed: 2, Silent: 2})
}

func TestHalfARequestIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	own := receive(t, w.conns)
	c.send("GET / HT")
	for deadline := time.Now().Add(patience); own.silent() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	_, g, stopped := w.stop()
	for range 3 {
		g.fire <- time.Time{}
		g = w.clock.next(t, grace)
	}
	c.send("TP/1.1\r\nHost: x\r\n\r\n")
	if !c.answer() {
		t.Error("not told that it is the last")
	}
	w.hasStopped(stopped, nil, Stats{Accepted: 1, Closed: 1})
}

func TestSlowRequestIsTheLastOfItsConnection(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	receive(t, w.entered)
	_, g, stopped := w.stop()
	g.fire <- time.Time{}
	w.clock.next(t, grace)
	if got, want := w.Stats(), (Stats{Active: 1, Accepted: 1}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
	close(w.release)
	if !c.answer() {
		t.Error("not told that it is the last")
	}
	w.hasStopped(stopped, nil, Stats{Accepted: 1, Closed: 1})
}

func TestConnectionThatCouldNotBeToldGetsAWholeGracePeriod(t *testing.T) {
	w := newWorld(t)
	one, two := w.connect(), w.connect()
	for _, c := range []*client{one, two} {
		c.send("GET /slow?flush=1 HTTP/1.1\r\nHost: x\r\n\r\n")
		receive(t, w.entered)
		w.state(http.StateActive)
	}
	_, g, stopped := w.stop()
	close(w.release)
	for _, c := range []*client{one, two} {
		if c.answer() {
			t.Error("told after its head was sent")
		}
		w.state(http.StateIdle)
	}
	g.fire <- time.Time{}
	g = w.clock.next(t, grace)
	if !two.get("/") {
		t.Error("not told that it is the last")
	}
	g.fire <- time.Time{}
	one.ended()
	w.hasStopped(stopped, nil, Stats{Accepted: 2, Closed: 2, Silent: 1})
}

func TestStopTimeout(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	receive(t, w.entered)
	s, _, stopped := w.stop()
	s.fire <- time.Time{}
	w.clock.next(t, killTimeout)
	c.ended()
	close(w.release)
	w.hasStopped(stopped, ErrStopTimeout, Stats{Accepted: 1, Closed: 1, Killed: 1})
	if err := w.Wait(); err == nil || err.Error() != "1 connections were closed at the stop timeout" {
		t.Error(err)
	}
}

func TestKillTimeout(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	receive(t, w.entered)
	s, _, stopped := w.stop()
	s.fire <- time.Time{}
	k := w.clock.next(t, killTimeout)
	c.ended()
	k.fire <- time.Time{}
	w.hasStopped(stopped, ErrKillTimeout, Stats{Active: 1, Accepted: 1, Killed: 1, KillTimeouts: 1})
	close(w.release)
}

func TestHijackedConnectionsAreNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	called := make(chan struct{})
	w.http.RegisterOnShutdown(func() { close(called) })
	c := w.connect()
	c.send("GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
	w.state(http.StateActive)
	w.state(http.StateHijacked)
	_, _, stopped := w.stop()
	w.hasStopped(stopped, nil, Stats{Accepted: 1, Hijacked: 1})
	c.ended()
	receive(t, called)
}

func TestListenerThatFails(t *testing.T) {
	w := newWorld(t)
	w.listeners[0].Close()
	err := w.Wait()
	if !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(err.Error(), "cannot accept connections: ") {
		t.Errorf("error %v", err)
	}
}

func TestServeStopsWhenItsContextIsDone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, &http.Server{}, l) }()
	cancel()
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}

// The first Serve of an http.Server sets a TLSConfig in it, for HTTP/2: the other listeners are not to take that for
// the app's wish to speak TLS.
func TestListenersArePlainWithoutTLSConfig(t *testing.T) {
	var listeners []net.Listener
	for range 8 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	s := HTTP{Grace: time.Millisecond}.Start(&http.Server{Handler: http.NotFoundHandler()}, listeners...)
	for _, l := range listeners {
		response, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			t.Error(err)
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s instead of the app's answer", response.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// What has arrived when the deadline of closeIfSilent ends a Read is not lost.
func TestLastLook(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	accepted, err := listener{l}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	c, ok := accepted.(*conn)
	if !ok || !c.closeIfSilent() {
		t.Fatal("a silent connection was not closed")
	}
	buf := make([]byte, 4)
	if n, err := c.Read(buf); err == nil {
		t.Errorf("read %q", buf[:n])
	}
	_ = c.SetReadDeadline(time.Now().Add(patience)) // net/http's: does not undo it
	fmt.Fprint(far, "GET / HTTP/1.1")
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "GET " {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	if rest, err := io.ReadAll(io.LimitReader(c, 10)); err != nil || string(rest) != "/ HTTP/1.1" {
		t.Errorf("read %q, %v", rest, err) // the deadline is gone
	}
	if c.closeIfSilent() {
		t.Error("closed in the middle of a request")
	}
}
