package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/testproc"
)

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
		{64, "like 5s", []string{"--timeout", "5"}, ""},
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
