package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
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

func TestInitComesAndGoes(t *testing.T) {
	socket := socketPath(t)
	exporter, url := startExporter(t, "--control", socket)
	for range 3 {
		if got := scrape(t, url); got["graceinit_up"] != 0 || len(got) != 3 {
			t.Fatalf("without an init: %v", got)
		}
	}
	for life := 1; life <= 2; life++ {
		in := startInit(t, socket)
		testproc.Until(t, "graceinit_up 1", func() bool { return scrape(t, url)["graceinit_up"] == 1 })
		testproc.Until(t, "graceinit_ready 1", func() bool { return scrape(t, url)["graceinit_ready"] == 1 })
		if got := scrape(t, url); got["graceinit_generation"] != 1 || got[`graceinit_upgrades_total{outcome="forced"}`] != 0 {
			t.Errorf("life %d: %v", life, got)
		}
		in.Signal(syscall.SIGTERM)
		in.Wait()
		for range 3 {
			if got := scrape(t, url); got["graceinit_up"] != 0 {
				t.Fatalf("life %d is over: %v", life, got)
			}
		}
		if code, body := get(t, url+"/healthz"); code != http.StatusOK || body != "ok\n" {
			t.Errorf("healthz: %d %q", code, body)
		}
	}
	exporter.Signal(syscall.SIGTERM)
	if code := exporter.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	// A line for the start, the change to "no answer" (3), the change to "answers" (2) and the stop: none for a scrape.
	text := exporter.Stderr()
	if up, down := strings.Count(text, " answers\n"), strings.Count(text, "does not answer: "); up != 2 || down != 3 || strings.Count(text, "\n") != 7 {
		t.Errorf("%d times up, %d times down in the log:\n%s", up, down, text)
	}
}

// What was scraped when the exporter was asked to stop is still answered.
func TestStopDuringAScrape(t *testing.T) {
	socket := socketPath(t)
	reached, release := make(chan struct{}), make(chan struct{})
	fakeInit(t, socket, func(conn net.Conn) {
		close(reached)
		<-release
		_, _ = conn.Write(lineOf(t, control.Line{Status: fullStatus()}))
	})
	exporter, url := startExporter(t, "--control", socket, "--timeout", "50s")
	type result struct {
		code int
		err  error
	}
	results := make(chan result)
	go func() {
		response, _, err := fetch(http.MethodGet, url+"/metrics", "")
		if err != nil {
			results <- result{0, err}
			return
		}
		results <- result{response.StatusCode, nil}
	}()
	<-reached
	exporter.Signal(syscall.SIGTERM)
	// It has heard of it when it takes no more connections.
	testproc.Until(t, "the listener closed", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	close(release)
	if r := <-results; r.code != http.StatusOK {
		t.Errorf("%d, %v", r.code, r.err)
	}
	if code := exporter.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
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

// What sits at the socket may be anything: a scrape ends in time and says that the init does not answer.
func TestHostileServers(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for _, tt := range []struct {
		name, reason string
		serve        func(net.Conn)
	}{
		{"garbage", "does not understand", says("HTTP/1.1 400 Bad Request\r\n\r\n")},
		{"wrong types", "does not understand", says(`{"status":[]}` + "\n")},
		{"deep", "does not understand", says(`{"status":` + strings.Repeat(`{"main":`, 1000) + "\n")},
		{"another answer", "no status", says(`{"ok":true}` + "\n")},
		{"an error", "refused to answer: busy", says(`{"error":{"reason":"busy","exit_code":1}}` + "\n")},
		{"half a line", "hung up", says(`{"status":{`)},
		{"hang up", "hung up", says("")},
		{"endless line", "more than 1048576 bytes", func(conn net.Conn) {
			chunk := []byte(strings.Repeat("x", 64<<10))
			for err := error(nil); err == nil; {
				_, err = conn.Write(chunk)
			}
		}},
		{"silence", "no answer within 300ms", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }},
		{"trickle", "no answer within 300ms", func(conn net.Conn) {
			for err := error(nil); err == nil; time.Sleep(20 * time.Millisecond) {
				_, err = conn.Write([]byte(" "))
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			socket := socketPath(t)
			fakeInit(t, socket, tt.serve)
			url, logged := serveHere(t, "--control", socket, "--timeout", timeout.String())
			for range 3 {
				begin := time.Now()
				got := scrape(t, url)
				if got["graceinit_up"] != 0 || len(got) != 3 {
					t.Errorf("%v", got)
				}
				if d := got["graceinit_scrape_duration_seconds"]; d <= 0 || time.Since(begin) > 10*time.Second {
					t.Errorf("it took %v, and says %v s", time.Since(begin), d)
				}
			}
			if text := logged.String(); strings.Count(text, tt.reason) != 1 {
				t.Errorf("%q is not once in the log:\n%s", tt.reason, text)
			}
		})
	}
}

// A server that never accepts keeps a client that connects waiting for five seconds (control.Dial), but no scrape.
func TestFullQueue(t *testing.T) {
	socket := socketPath(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: socket}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	url, _ := serveHere(t, "--control", socket, "--timeout", "50ms")
	begin := time.Now()
	for range 10 {
		if got := scrape(t, url); got["graceinit_up"] != 0 {
			t.Errorf("%v", got)
		}
	}
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("ten scrapes took %v", d)
	}
}

func TestScrapesShareAQuestion(t *testing.T) {
	socket := socketPath(t)
	asked, release := make(chan struct{}, 99), make(chan struct{})
	fakeInit(t, socket, func(conn net.Conn) {
		asked <- struct{}{}
		<-release
		_, _ = conn.Write(lineOf(t, control.Line{Status: fullStatus()}))
	})
	a := &asker{address: socket, timeout: time.Minute, log: log.New(io.Discard, "", 0)}
	first := a.ask()
	<-asked
	for range 5 {
		if a.ask() != first {
			t.Error("a second question while the first was open")
		}
	}
	close(release)
	if st, err := a.status(); err != nil || st.Version != fullStatus().Version {
		t.Errorf("%v, %v", st, err)
	}
	<-first.done
	if a.ask() == first {
		t.Error("an old answer")
	}
	<-asked
}

func TestReasonsAreBounded(t *testing.T) {
	var text safeText
	a := &asker{log: log.New(&text, "", 0)}
	for i := range 100 {
		a.note(nil, fmt.Errorf("reason %d", i))
		a.note(nil, fmt.Errorf("reason %d", i))
	}
	if n := strings.Count(text.String(), "\n"); n != maxReasons {
		t.Errorf("%d lines", n)
	}
	a.note(&control.Status{}, nil)
	a.note(nil, errors.New("reason 1"))
	if n := strings.Count(text.String(), "\n"); n != maxReasons+2 {
		t.Errorf("%d lines after it was back", n)
	}
}

// What the exporter serves, and what not.
func TestEndpoints(t *testing.T) {
	socket := socketPath(t)
	fakeInit(t, socket, answers(t, fullStatus()))
	url, _ := serveHere(t, "--control", socket)
	for path, want := range map[string]string{
		"/": "/metrics", "/healthz": "ok\n", "/metrics": "graceinit_up 1\n",
	} {
		if code, body := get(t, url+path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/metrics/x", "/x", "/healthz/"} {
		if code, _ := get(t, url+path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	response, _, err := fetch(http.MethodPost, url+"/metrics", "")
	if err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %+v, %v", response, err)
	}
	response, body, err := fetch(http.MethodGet, url+"/metrics", "application/openmetrics-text; version=1.0.0; charset=utf-8")
	if err != nil {
		t.Fatal(err)
	}
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/openmetrics-text") || !strings.HasSuffix(body, "# EOF\n") {
		t.Errorf("OpenMetrics: %s\n%s", kind, body)
	}
}

func TestRuntimeMetrics(t *testing.T) {
	socket := socketPath(t)
	for _, on := range []bool{false, true} {
		url, _ := serveHere(t, "--control", socket, fmt.Sprintf("--runtime-metrics=%v", on))
		_, body := get(t, url+"/metrics")
		for _, name := range []string{"go_goroutines ", "process_open_fds "} {
			if strings.Contains(body, "\n"+name) != on {
				t.Errorf("runtime metrics %v:\n%s", on, body)
			}
		}
	}
}

func TestSettings(t *testing.T) {
	env := map[string]string{
		"GRACEINIT_CONTROL": "/grace/control.sock", "GRACEINIT_EXPORTER_LISTEN": ":1", "GRACEINIT_EXPORTER_TIMEOUT": "2s",
		"GRACEINIT_EXPORTER_RUNTIME_METRICS": "true",
	}
	getenv := func(name string) string { return env[name] }
	if s, err := parse(nil, getenv); err != nil || s != (settings{control: "/grace/control.sock", listen: ":1", timeout: 2 * time.Second, runtimeMetrics: true}) {
		t.Errorf("environment: %+v, %v", s, err)
	}
	if s, err := parse([]string{"--control=@x", "--listen", ":2", "--timeout", "3s", "--runtime-metrics=false"}, getenv); err != nil ||
		s != (settings{control: "@x", listen: ":2", timeout: 3 * time.Second}) {
		t.Errorf("flags: %+v, %v", s, err)
	}
	clear(env)
	if s, err := parse(nil, getenv); err != nil || s != (settings{listen: ":9464", timeout: 5 * time.Second}) {
		t.Errorf("defaults: %+v, %v", s, err)
	}
	for _, tt := range []struct {
		code int
		text string
		args []string
		env  string
	}{
		{0, "graceinit-exporter version devel\n", []string{"--version"}, ""},
		{0, "--control ADDRESS", []string{"--help"}, ""},
		{64, "-nosuch", []string{"--nosuch"}, ""},
		{64, `"arg"`, []string{"arg"}, ""},
		{64, "no time", []string{"--timeout", "0s"}, ""},
		{64, "switched off", []string{"--control", "off"}, ""},
		{64, "GRACEINIT_EXPORTER_TIMEOUT", nil, "GRACEINIT_EXPORTER_TIMEOUT=soon"},
		{64, "GRACEINIT_EXPORTER_RUNTIME_METRICS", nil, "GRACEINIT_EXPORTER_RUNTIME_METRICS=perhaps"},
		{1, "cannot listen", []string{"--listen", "nowhere"}, ""},
	} {
		name, value, _ := strings.Cut(tt.env, "=")
		var text safeText
		code := run(t.Context(), tt.args, func(n string) string {
			if n == name {
				return value
			}
			return ""
		}, &text, &text)
		if code != tt.code || !strings.Contains(text.String(), tt.text) {
			t.Errorf("%v %s: %d, %s", tt.args, tt.env, code, text.String())
		}
	}
}
