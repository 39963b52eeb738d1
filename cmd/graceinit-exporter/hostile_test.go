package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graceinit/graceinit/internal/control"
)

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
