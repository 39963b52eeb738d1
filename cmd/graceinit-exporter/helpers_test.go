package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/testproc"
)

func TestMain(m *testing.M) {
	testproc.Main(map[string]func([]string) int{
		"exporter": func(args []string) int {
			os.Args = append([]string{"graceinit-exporter"}, args...)
			main()
			return 0
		},
		"app": func([]string) int {
			fmt.Println("app runs")
			testproc.AwaitEOF()
			return 0
		},
	})
	var err error
	if scratch, err = os.MkdirTemp("", "graceinit-exporter"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// scratch is a directory that is removed when the tests end.
var scratch string

// graceinit is the init as it ships: the binary named in GRACEINIT_BIN, or one that is built from this tree.
var graceinit = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("GRACEINIT_BIN"); bin != "" {
		return bin, nil
	}
	bin := filepath.Join(scratch, "graceinit")
	if out, err := exec.Command("make", "-C", "../..", "build", "OUT="+bin).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make build: %w\n%s", err, out)
	}
	return bin, nil
})

func initProgram(t *testing.T) string {
	t.Helper()
	bin, err := graceinit()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// socketPath is short enough for a Unix socket, which t.TempDir's may not be.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "control.sock")
}

// startInit runs an app under the init.
func startInit(t *testing.T, socket string) *testproc.Init {
	t.Helper()
	in := testproc.Start(t, testproc.Options{Args0: "graceinit"}, []string{initProgram(t)},
		append([]string{"--control", socket, "--settle", "10ms", "--termination-log", "", "--"}, testproc.Self("app")...)...)
	in.Await("app runs")
	return in
}

// startExporter starts it as a process and returns its URL.
func startExporter(t *testing.T, args ...string) (*testproc.Init, string) {
	t.Helper()
	self := testproc.Self("exporter", append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	p := testproc.Start(t, testproc.Options{Args0: self[0]}, self[:1], self[1:]...)
	p.Log("/metrics of the graceinit at")
	_, rest, _ := strings.Cut(p.Stderr(), "http://")
	address, _, _ := strings.Cut(rest, "/")
	return p, "http://" + address
}

// client keeps no connections, so that none of their goroutines is taken for a leak.
var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, body, err := fetch(http.MethodGet, url, "")
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

// fetch returns a response whose body has been read.
func fetch(method, url, accept string) (*http.Response, string, error) {
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Accept", accept)
	response, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(response.Body)
	return response, string(body), errors.Join(err, response.Body.Close())
}

// scrape returns the metrics, by family and labels.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	code, body := get(t, url+"/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, body)
	}
	return samples(t, parseText(t, body))
}

// serveHere runs an exporter in this process, and fails the test if it leaves goroutines behind.
func serveHere(t *testing.T, args ...string) (url string, logged *safeText) {
	t.Helper()
	before := runtime.NumGoroutine()
	reader, writer := io.Pipe()
	logged = &safeText{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int)
	go func() {
		code := run(ctx, append([]string{"--listen", "127.0.0.1:0"}, args...), func(string) string { return "" }, io.Discard,
			io.MultiWriter(logged, writer))
		_ = writer.Close()
		ended <- code
	}()
	lines := bufio.NewReader(reader)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("exit code %d", code)
		}
		testproc.Until(t, "no goroutine left behind", func() bool {
			if runtime.NumGoroutine() <= before {
				return true
			}
			runtime.Gosched()
			return false
		})
	})
	_, rest, _ := strings.Cut(first, "http://")
	address, _, _ := strings.Cut(rest, "/")
	return "http://" + address, logged
}

type safeText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *safeText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// fakeInit listens at a control socket and does with every request what it is told. The connection is closed after that.
func fakeInit(t *testing.T, socket string, serve func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				if _, err := conn.Read(make([]byte, 4096)); err == nil {
					serve(conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
}

func says(text string) func(net.Conn) {
	return func(conn net.Conn) { _, _ = io.WriteString(conn, text) }
}

func answers(t *testing.T, st *control.Status) func(net.Conn) {
	return says(string(lineOf(t, control.Line{Status: st})))
}

func lineOf(t *testing.T, line control.Line) []byte {
	t.Helper()
	text, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}
