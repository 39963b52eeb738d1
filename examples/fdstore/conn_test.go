package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
)

// limited is a connection on which the deadline passes after so many bytes.
type limited struct {
	net.Conn
	input, output string
	bytes         int
}

func (l *limited) take(n int) (int, error) {
	n = min(n, l.bytes)
	l.bytes -= n
	if l.bytes == 0 {
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

func (l *limited) Read(b []byte) (int, error) {
	if l.input == "" {
		return 0, io.EOF
	}
	n, err := l.take(min(len(b), len(l.input)))
	copy(b, l.input[:n])
	l.input = l.input[n:]
	return n, err
}

func (l *limited) Write(b []byte) (int, error) {
	n, err := l.take(len(b))
	l.output += string(b[:n])
	return n, err
}

func TestServeMayBeInterruptedAnywhere(t *testing.T) {
	input := strings.Repeat("one\ntwo and a half\n\n", 50)
	for step := 1; step < 60; step++ {
		wire := &limited{input: input}
		c := &conn{}
		var err error
		for err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			c.Conn, wire.bytes = wire, step
			err = c.serve(1)
			if seen := input[:len(input)-len(wire.input)]; !strings.HasSuffix(seen, string(c.In)) ||
				strings.Count(seen, "\n") != c.Count+strings.Count(string(c.In), "\n") {
				t.Fatalf("step %d: after %d bytes the count is %d, and %q is left", step, len(seen), c.Count, c.In)
			}
			c = inherited(t, c)
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		var want strings.Builder
		for n := range 150 {
			fmt.Fprintf(&want, "%d 1\n", n+1)
		}
		if wire.output != want.String() {
			t.Errorf("step %d: answers\n%s", step, wire.output)
		}
	}
}

// inherited is what the next generation gets.
func inherited(t *testing.T, c *conn) *conn {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	next := new(conn)
	if err := json.Unmarshal(text, next); err != nil {
		t.Fatal(err)
	}
	return next
}
