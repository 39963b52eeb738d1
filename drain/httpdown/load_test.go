package httpdown

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cycles is how many successors follow each other under load.
const cycles = 50

func TestNoRequestIsLost(t *testing.T) {
	lost, answered := underLoad(t, func(l net.Listener, work http.HandlerFunc) (stop func() error) {
		return HTTP{Grace: patience}.Start(&http.Server{Handler: work}, l).Stop
	})
	if len(lost) > 0 {
		t.Errorf("lost %d of %d requests, the first: %v", len(lost), answered+len(lost), lost[0])
	}
	t.Logf("%d requests answered in %d upgrades, %d lost", answered, cycles, len(lost))
}

// TestShutdownLosesRequests shows why this package exists. How many are lost is a matter of luck, so it only tells.
func TestShutdownLosesRequests(t *testing.T) {
	lost, answered := underLoad(t, func(l net.Listener, work http.HandlerFunc) (stop func() error) {
		server := &http.Server{Handler: work}
		go func() { _ = server.Serve(l) }()
		return func() error { return server.Shutdown(context.Background()) }
	})
	t.Logf("%d requests answered in %d upgrades, %d lost", answered, cycles, len(lost))
}

func work(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/slow" {
		time.Sleep(20 * time.Millisecond) // is the load
	}
	_, _ = io.WriteString(w, "done")
}

// underLoad has servers follow each other on one listening socket, while clients of several kinds send requests which
// they never send again.
func underLoad(t *testing.T, start func(net.Listener, http.HandlerFunc) (stop func() error)) (lost []error, answered int) {
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	var (
		answers atomic.Int64
		mu      sync.Mutex
		clients sync.WaitGroup
		end     = make(chan struct{})
	)
	client := func(send func(net.Conn, string) error, head string, perConnection int) {
		clients.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				n, err := session(listening.Addr().String(), send, head, perConnection, end)
				answers.Add(int64(n))
				if err != nil {
					mu.Lock()
					lost = append(lost, err)
					mu.Unlock()
				}
			}
		})
	}
	const kept = 1 << 30
	for range 6 {
		client(sendAtOnce, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", kept)
		client(sendInPieces, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", kept)
	}
	for range 3 {
		client(sendAtOnce, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1)
		client(sendAtOnce, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", kept)
		client(sendAtOnce, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", kept)
	}
	served := make(chan struct{})
	serve := func(w http.ResponseWriter, r *http.Request) {
		work(w, r)
		select {
		case served <- struct{}{}:
		default:
		}
	}
	stop := start(share(t, listening), serve)
	for range cycles {
		for range 50 {
			receive(t, served)
		}
		successor := start(share(t, listening), serve)
		if err := stop(); err != nil {
			t.Error(err)
		}
		stop = successor
	}
	close(end)
	clients.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	return lost, int(answers.Load())
}

// share opens the listening socket once more, as a successor does with an inherited fd.
func share(t *testing.T, l net.Listener) net.Listener {
	t.Helper()
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		t.Fatalf("%T", l)
	}
	f, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	shared, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return shared
}

// session sends requests on one connection until the server says that it is the last, or n times.
func session(address string, send func(net.Conn, string) error, head string, n int, end <-chan struct{}) (answered int, err error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	for answered < n {
		select {
		case <-end:
			return answered, nil
		case <-time.After(rand.N(3 * time.Millisecond)): // is the load
		}
		if err := send(c, head); err != nil {
			return answered, fmt.Errorf("request %d: %w", answered+1, err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return answered, fmt.Errorf("request %d: %w", answered+1, err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
			return answered, fmt.Errorf("request %d: body %q, %w", answered+1, body, err)
		}
		answered++
		if resp.Close {
			return answered, nil
		}
	}
	return answered, nil
}

func sendAtOnce(c net.Conn, head string) error {
	_, err := io.WriteString(c, head)
	return err
}

func sendInPieces(c net.Conn, head string) error {
	for _, piece := range strings.SplitAfter(head, " ") {
		if _, err := io.WriteString(c, piece); err != nil {
			return err
		}
		time.Sleep(time.Millisecond) // is the load
	}
	return nil
}

// In HTTP/2 a client is told by GOAWAY, and sends again only what the server says it has not processed.
func TestHTTP2(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	certified.Close()
	serverTLS, clientTLS := &tls.Config{Certificates: certified.TLS.Certificates}, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}
	clientTLS.RootCAs.AddCert(certified.Certificate())
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	start := func() *Server {
		server := &http.Server{Handler: http.HandlerFunc(work), TLSConfig: serverTLS.Clone()}
		return HTTP{Grace: patience}.Start(server, share(t, listening))
	}
	transport := &http.Transport{TLSClientConfig: clientTLS, ForceAttemptHTTP2: true}
	client := &http.Client{Transport: transport, Timeout: patience}
	var clients sync.WaitGroup
	var answers atomic.Int64
	end := make(chan struct{})
	for _, path := range []string{"/", "/", "/", "/slow", "/slow"} {
		clients.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				resp, err := client.Get("https://" + listening.Addr().String() + path)
				if err != nil {
					t.Error(err)
					return
				}
				if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" || resp.ProtoMajor != 2 {
					t.Errorf("%s: %q, %v", resp.Proto, body, err)
				}
				_ = resp.Body.Close()
				answers.Add(1)
			}
		})
	}
	server := start()
	for range 5 {
		successor := start()
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		server = successor
	}
	close(end)
	clients.Wait()
	transport.CloseIdleConnections()
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	t.Logf("%d requests answered", answers.Load())
}
