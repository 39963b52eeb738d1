//go:build linux

package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A server can be as hostile: its client ends, and does not take all the memory.
func TestHostileServers(t *testing.T) {
	for what, text := range map[string]string{
		"garbage":     "HTTP/1.1 400 Bad Request\r\n\r\n",
		"no end":      strings.Repeat("x", 2*maxLine),
		"wrong types": `{"status":[]}` + "\n",
	} {
		address := fmt.Sprintf("@graceinit-test-%d-%d", os.Getpid(), names.Add(1))
		listener, err := open(address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Dial(address)
		if err != nil {
			t.Fatal(err)
		}
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		conn := os.NewFile(uintptr(fd), "server")
		var writing sync.WaitGroup
		writing.Go(func() {
			_, _ = io.WriteString(conn, text)
			conn.Close()
		})
		if line, err := c.Next(time.Minute); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %+v, %v", what, line, err)
		}
		c.Close()
		writing.Wait()
		_ = unix.Close(listener)
	}
}

// A newer init may say more than this client knows of: the two come from different images where one is a sidecar.
func TestANewerServer(t *testing.T) {
	address := fmt.Sprintf("@graceinit-test-%d-%d", os.Getpid(), names.Add(1))
	listener, err := open(address)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listener)
	c, err := Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(`{"status":{"state":"running","mood":{"is":["good"]}},"more":1}`+"\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := c.Next(time.Minute); err != nil || line.Status == nil || line.Status.State != "running" {
		t.Errorf("%+v, %v", line, err)
	}
}

func TestASilentServer(t *testing.T) {
	s := listenForTest(t, nil)
	c := dial(t, s)
	if err := c.Send(Ask{Op: OpStatus}, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(10 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Next: %v", err)
	}
	r := <-s.Requests()
	r.Send(Line{OK: true})
	if line, err := c.Next(time.Minute); err != nil || !line.OK {
		t.Errorf("after a deadline: %+v, %v", line, err)
	}
	r.Close()
}
