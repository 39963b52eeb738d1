package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// serve starts a server whose every connection is handled by f, for behaviour that net/http would not show.
func serve(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return l.Addr().String()
}

func answer(c net.Conn, header, body string) {
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s", len(body), header, body)
}

// request reads one request's head; false at the end of the stream.
func request(br *bufio.Reader) bool {
	r, err := http.ReadRequest(br)
	return err == nil && r.Method == http.MethodGet
}

func start(t *testing.T, cfg Config) *Run {
	t.Helper()
	r, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Abort() })
	return r
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20s", what)
		}
	}
}

// only is a load of one connection, so that a test knows which request is which.
func only(addr string) Config {
	return Config{Addr: addr, KeepAliveConns: 1, KeepAliveRate: 200, FreshRate: -1, SlowInFlight: -1}
}

func TestEveryRequestAnswered(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "pid 17") })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(500 * time.Millisecond):
		case <-r.Context().Done():
		}
		fmt.Fprintln(w, "pid 18")
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	r := start(t, Config{Addr: srv.Listener.Addr().String()})
	until(t, "sixteen slow requests in flight", func() bool { return r.InFlight(Slow) == 16 })
	until(t, "three seconds of load", func() bool { return r.Since() > 3*time.Second })
	r.DrainFast()
	until(t, "only slow requests in flight", func() bool {
		return r.InFlight(KeepAlive)+r.InFlight(Fresh) == 0 && r.InFlight(Slow) > 0
	})
	res := r.Stop()
	if got := r.Succeeded(); got != res.Requests {
		t.Errorf("%d succeeded of %d", got, res.Requests)
	}
	if len(res.Failures) != 0 {
		t.Fatalf("failures against a healthy server:\n%v", res)
	}
	// A shared machine may delay the schedule, it cannot hurry it.
	for k, want := range map[Kind]int{KeepAlive: 900, Fresh: 300, Slow: 96} {
		if got := res.ByKind[k]; got < want/2 || got > want*5/4 {
			t.Errorf("%d %s requests in %v, want about %d", got, k, res.Took, want)
		}
	}
	if sum := res.ByKind[KeepAlive] + res.ByKind[Fresh] + res.ByKind[Slow]; sum != res.Requests {
		t.Errorf("%d requests, the kinds add up to %d", res.Requests, sum)
	}
	if res.ByPID["17"]+res.ByPID["18"] != res.Requests || res.ByPID["18"] != res.ByKind[Slow] {
		t.Errorf("by pid %v of %d requests", res.ByPID, res.Requests)
	}
	inTimeline := 0
	for _, p := range res.Timeline {
		for _, n := range p.OK {
			inTimeline += n
		}
	}
	if inTimeline != res.Requests {
		t.Errorf("%d requests in the timeline, want %d", inTimeline, res.Requests)
	}
	if l := res.Latency[Slow]; l.P50 < 500*time.Millisecond || l.Max < l.P99 || l.P99 < l.P50 {
		t.Errorf("latency of slow requests %+v", l)
	}
}

// The proof that the load can fail: one request among many is read and dropped.
func TestOneDroppedRequestIsSeen(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	addr := serve(t, func(c net.Conn) {
		for br := bufio.NewReader(c); request(br); answer(c, "", "pid 1") {
			if n.Add(1) == 50 {
				return
			}
		}
	})
	r := start(t, only(addr))
	until(t, "100 requests", func() bool { return n.Load() > 100 })
	res := r.Stop()
	if len(res.Failures) != 1 {
		t.Fatalf("want exactly one failure:\n%v", res)
	}
	f := res.Failures[0]
	if f.Kind != KeepAlive || f.Stage != "response" || !f.Reused || !f.Crossed || f.Unread || f.At <= 0 || f.Reason == "" {
		t.Errorf("failure %+v", f)
	}
	if got := res.FailuresIn(f.At, f.At+1); len(got) != 1 {
		t.Errorf("FailuresIn does not find the failure at its time: %v", got)
	}
	// Written once and never again: the server has seen as many requests as were counted.
	if int(n.Load()) != res.Requests {
		t.Errorf("the server read %d requests, the load counted %d", n.Load(), res.Requests)
	}
	if !strings.Contains(res.String(), "1 of ") || !strings.Contains(res.String(), "not one byte") {
		t.Errorf("report does not show the failure:\n%v", res)
	}
}

// The close of an idle connection and a request cross: it is proven that nobody had read the request.
func TestCrossing(t *testing.T) {
	t.Parallel()
	arrived := func(c net.Conn) {
		raw, _ := tcp(c).SyscallConn()
		_ = raw.Read(func(fd uintptr) bool {
			var b [1]byte
			n, _, _ := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			return n > 0 // otherwise wait until readable
		})
	}
	for name, end := range map[string]func(net.Conn){
		"close after the request arrived": func(c net.Conn) { arrived(c); c.Close() },
		// The end of the stream gets there first, and the request meets a socket that nobody reads from.
		"end of stream, then close": func(c net.Conn) {
			arrived(c)
			_ = tcp(c).CloseWrite()
			time.Sleep(20 * time.Millisecond) // so that the client sees the two apart
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			addr := serve(t, func(c net.Conn) {
				for br := bufio.NewReader(c); request(br); {
					answer(c, "", "pid 1")
					if n.Add(1) == 20 {
						end(c)
						return
					}
				}
			})
			r := start(t, only(addr))
			until(t, "40 requests", func() bool { return n.Load() > 40 })
			res := r.Stop()
			if len(res.Failures) != 1 || !res.Failures[0].Crossed || !res.Failures[0].Unread {
				t.Errorf("want one crossing:\n%v", res)
			}
			if !strings.Contains(res.String(), "crossed") {
				t.Errorf("report does not show it:\n%v", res)
			}
		})
	}
}

func TestKindsOfFailure(t *testing.T) {
	t.Parallel()
	closed := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}()
	once := func(f func(net.Conn)) string {
		return serve(t, func(c net.Conn) {
			if request(bufio.NewReader(c)) {
				f(c)
			}
		})
	}
	for name, tc := range map[string]struct {
		addr, stage string
	}{
		"nobody listens":      {closed, "connect"},
		"closed unanswered":   {once(func(net.Conn) {}), "response"},
		"reset unanswered":    {once(func(c net.Conn) { _ = tcp(c).SetLinger(0) }), "response"},
		"body cut short":      {once(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npid 1") }), "body"},
		"chunk cut short":     {once(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\npid 1\r\n") }), "body"},
		"an error's status":   {once(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\npid 1") }), "status"},
		"nobody's answer":     {once(func(c net.Conn) { answer(c, "", "hello") }), "body"},
		"too slow":            {once(func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }), "response"},
		"not the HTTP we ask": {once(func(c net.Conn) { fmt.Fprint(c, "220 smtp.example ESMTP\r\n") }), "response"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, Config{Addr: tc.addr, KeepAliveRate: -1, SlowInFlight: -1, FreshRate: 50, FastTimeout: 300 * time.Millisecond})
			until(t, "a failure", func() bool { return r.Failed() > 0 })
			res := r.Stop()
			if len(res.Failures) != res.Requests {
				t.Errorf("some requests succeeded:\n%v", res)
			}
			for _, f := range res.Failures {
				if f.Stage != tc.stage || f.Crossed || f.Reused || f.Kind != Fresh {
					t.Fatalf("failure %+v, want stage %s on a new connection", f, tc.stage)
				}
			}
		})
	}
}

// What HTTP allows a server at the end of a keep-alive connection is no failure.
func TestLegalCloses(t *testing.T) {
	t.Parallel()
	t.Run("announced", func(t *testing.T) {
		t.Parallel()
		var n atomic.Int64
		addr := serve(t, func(c net.Conn) {
			for br := bufio.NewReader(c); request(br); answer(c, "", "pid 1") {
				if n.Add(1)%10 == 0 {
					answer(c, "Connection: close\r\n", "pid 1")
					return
				}
			}
		})
		r := start(t, only(addr))
		until(t, "100 requests", func() bool { return n.Load() > 100 })
		if res := r.Stop(); len(res.Failures) != 0 || res.IdleClosed != 0 {
			t.Errorf("%v", res)
		}
	})
	t.Run("while idle", func(t *testing.T) {
		t.Parallel()
		var n atomic.Int64
		addr := serve(t, func(c net.Conn) {
			if request(bufio.NewReader(c)) {
				answer(c, "", "pid 1")
				n.Add(1)
			}
		})
		cfg := only(addr)
		cfg.KeepAliveRate = 10 // the close is long there when the next request is due
		r := start(t, cfg)
		until(t, "10 requests", func() bool { return n.Load() > 10 })
		if res := r.Stop(); len(res.Failures) != 0 || res.IdleClosed < 9 {
			t.Errorf("%v", res)
		}
	})
	t.Run("at the end of the body", func(t *testing.T) {
		t.Parallel()
		addr := serve(t, func(c net.Conn) {
			if request(bufio.NewReader(c)) {
				fmt.Fprint(c, "HTTP/1.0 200 OK\r\n\r\npid 1")
			}
		})
		r := start(t, only(addr))
		until(t, "20 requests", func() bool { return r.Succeeded() > 20 })
		if res := r.Stop(); len(res.Failures) != 0 {
			t.Errorf("%v", res)
		}
	})
}

func TestDrainLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	addr := serve(t, func(c net.Conn) {
		if request(bufio.NewReader(c)) {
			<-release
			answer(c, "", "pid 1")
		}
	})
	r := start(t, Config{Addr: addr, KeepAliveRate: -1, FreshRate: -1, SlowInFlight: 5})
	until(t, "five in flight", func() bool { return r.InFlight(Slow) == 5 })
	r.Drain()
	if res := r.Result(); res.Requests != 0 {
		t.Errorf("ended before the server answered: %v", res)
	}
	close(release)
	if res := r.Stop(); res.ByKind[Slow] != 5 || len(res.Failures) != 0 {
		t.Errorf("%v", res)
	}
}

// A context that ends is our doing, not a failure of the server.
func TestCancelCountsNothing(t *testing.T) {
	t.Parallel()
	addr := serve(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<10)); _, _ = c.Read(make([]byte, 1)) })
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Start(ctx, Config{Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "requests in flight", func() bool { return r.InFlight(Slow) == 16 && r.InFlight(KeepAlive) > 0 })
	cancel()
	if res := r.Stop(); res.Requests != 0 {
		t.Errorf("%v", res)
	}
}

// A load that is bound to an interface must not get anywhere else.
func TestDevice(t *testing.T) {
	t.Parallel()
	addr := serve(t, func(c net.Conn) {
		if request(bufio.NewReader(c)) {
			answer(c, "", "pid 5")
		}
	})
	if pid, err := Get(t.Context(), Config{Addr: addr, Device: "lo"}, time.Second); errors.Is(err, syscall.EPERM) {
		t.Skip("binding to a device needs root")
	} else if pid != "5" || err != nil {
		t.Errorf("through lo: %q, %v", pid, err)
	}
	if pid, err := Get(t.Context(), Config{Addr: addr, Device: "gone0"}, time.Second); err == nil {
		t.Errorf("through an interface that does not exist: answered by %q", pid)
	}
}

func TestStartRefusesABadAddress(t *testing.T) {
	if _, err := Start(t.Context(), Config{Addr: "nowhere"}); err == nil {
		t.Error("an address without a port was taken")
	}
}

// tcp is a connection of the tests' own listeners.
func tcp(c net.Conn) *net.TCPConn {
	conn, ok := c.(*net.TCPConn)
	if !ok {
		panic(fmt.Sprintf("%T is no TCP connection", c))
	}
	return conn
}
