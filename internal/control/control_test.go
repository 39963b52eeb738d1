//go:build linux

package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/minisign"
)

// names keeps the sockets of tests apart.
var names atomic.Int64

// listenForTest opens a server that is closed when the test ends; fds and goroutines must be as before then.
func listenForTest(t *testing.T, key *minisign.PublicKey) *Server {
	t.Helper()
	goroutines, fds := runtime.NumGoroutine(), openFDs(t)
	s, err := Listen(fmt.Sprintf("@graceinit-test-%d-%d", os.Getpid(), names.Add(1)), key)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	t.Cleanup(func() {
		select {
		case <-s.closed: // by the test
		default:
			s.Close()
		}
		until(t, "all goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
		until(t, "all fds to be closed", func() bool { return openFDs(t) <= fds })
	})
	return s
}

func openFDs(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// until polls; the interval is no synchronisation.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("waited a minute for %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// loop answers as the init's loop would: a status, and an upgrade of three steps.
func loop(s *Server) {
	for {
		select {
		case <-s.closed:
			return
		case r := <-s.Requests():
			if r.Binary >= 0 {
				_ = unix.Close(r.Binary)
			}
			switch {
			case r.Refused != nil:
				r.Send(Line{Error: &Error{Reason: r.Refused.Error(), ExitCode: CodeRefused}})
				r.Close()
			case r.Op == OpStatus:
				r.Send(Line{Status: &Status{Version: "test", Generation: 7, Ready: true}})
				r.Close()
			case r.Op == OpUpgrade:
				r.Send(Line{Progress: &Progress{Upgrade: 1, Step: StepStarted}})
				r.Send(Line{Progress: &Progress{Upgrade: 1, Step: StepReady}})
				r.Send(Line{Progress: &Progress{Upgrade: 1, Step: StepForced, Reason: r.Digest, Final: true, ExitCode: CodeForced}})
				r.Close()
			case r.Op == OpWatch: // stays open
				r.Send(Line{Status: &Status{Generation: 1}})
			default:
				r.Send(Line{OK: true})
				r.Close()
			}
		}
	}
}

func dial(t *testing.T, s *Server) *Client {
	t.Helper()
	c, err := Dial(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// ask returns all lines of the answer.
func ask(t *testing.T, s *Server, a Ask, binary int) []Line {
	t.Helper()
	c := dial(t, s)
	defer c.Close()
	if err := c.Send(a, binary); err != nil {
		t.Fatal(err)
	}
	return rest(t, c)
}

func rest(t *testing.T, c *Client) (lines []Line) {
	t.Helper()
	for {
		line, err := c.Next(time.Minute)
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
}

// refusal is the reason of the one line that says no.
func refusal(t *testing.T, lines []Line) string {
	t.Helper()
	if len(lines) != 1 || lines[0].Error == nil || lines[0].Error.ExitCode != CodeRefused {
		t.Fatalf("not refused: %+v", lines)
	}
	return lines[0].Error.Reason
}

func TestAnswers(t *testing.T) {
	s := listenForTest(t, nil)
	go loop(s)
	lines := ask(t, s, Ask{Op: OpStatus}, -1)
	if len(lines) != 1 || lines[0].Status == nil || lines[0].Status.Generation != 7 {
		t.Errorf("status: %+v", lines)
	}
	lines = ask(t, s, Ask{Op: OpUpgrade}, -1)
	if len(lines) != 3 || !lines[2].Progress.Final || lines[2].Progress.ExitCode != CodeForced {
		t.Errorf("upgrade: %+v", lines)
	}
	if lines := ask(t, s, Ask{Op: OpStop}, -1); len(lines) != 1 || !lines[0].OK {
		t.Errorf("stop: %+v", lines)
	}
}

// The loop sees who asks, and that a client has gone; it may go on answering.
func TestAClientThatGoesAway(t *testing.T) {
	s := listenForTest(t, nil)
	c := dial(t, s)
	if err := c.Send(Ask{Op: OpUpgrade}, -1); err != nil {
		t.Fatal(err)
	}
	r := <-s.Requests()
	if r.PID != os.Getpid() || r.UID != os.Getuid() || r.Binary != -1 || r.Gone() {
		t.Errorf("%+v", r)
	}
	c.Close()
	<-r.Done()
	for range 2 * maxQueue {
		r.Send(Line{OK: true})
	}
	r.Close()
	r.Close()
	r.Send(Line{OK: true})
}

// A client that closes its sending half, as nc does, is still there.
func TestAHalfClosedClient(t *testing.T) {
	s := listenForTest(t, nil)
	c := dial(t, s)
	if err := c.Send(Ask{Op: OpStatus}, -1); err != nil {
		t.Fatal(err)
	}
	raw, _ := c.conn.SyscallConn()
	_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	r := <-s.Requests()
	r.Send(Line{OK: true})
	if line, err := c.Next(time.Minute); err != nil || !line.OK || r.Gone() {
		t.Errorf("%+v, %v, gone: %v", line, err, r.Gone())
	}
	c.Close()
	<-r.Done() // and its end is noticed all the same
}

// A client that does not read is dropped; Send never waits for it.
func TestASlowReader(t *testing.T) {
	s := listenForTest(t, nil)
	c := dial(t, s)
	if err := c.Send(Ask{Op: OpWatch}, -1); err != nil {
		t.Fatal(err)
	}
	r := <-s.Requests()
	long := Line{Progress: &Progress{Reason: strings.Repeat("x", 10000)}}
	for range 10 * maxQueue {
		r.Send(long)
	}
	if !r.Gone() {
		t.Error("the client is not dropped when the queue is full")
	}
	lines := rest(t, c)
	if len(lines) == 0 || len(lines) > 10*maxQueue {
		t.Errorf("%d lines came", len(lines))
	}
}

// What was sent before Close arrives, and watchers do not delay it.
func TestCloseFlushes(t *testing.T) {
	s := listenForTest(t, nil)
	c := dial(t, s)
	if err := c.Send(Ask{Op: OpWatch}, -1); err != nil {
		t.Fatal(err)
	}
	r := <-s.Requests()
	for i := range maxQueue {
		r.Send(Line{Progress: &Progress{Upgrade: i + 1}})
	}
	dial(t, s) // a client that says nothing is not waited for
	before := time.Now()
	s.Close()
	if took := time.Since(before); took > 900*time.Millisecond {
		t.Errorf("Close took %s", took)
	}
	if lines := rest(t, c); len(lines) != maxQueue || lines[maxQueue-1].Progress.Upgrade != maxQueue {
		t.Errorf("%d lines came", len(lines))
	}
}
