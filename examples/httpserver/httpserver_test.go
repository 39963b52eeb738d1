package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds failures.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv("HTTPSERVER_SERVES") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The server takes its listener, says READY=1, and on SIGTERM answers once more on a connection that is open.
func TestUnderAnInit(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: fmt.Sprintf("@httpserver-test-%d", os.Getpid()), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = notify.Close() }()
	_ = notify.SetReadDeadline(time.Now().Add(patience))

	server := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	server.ExtraFiles = []*os.File{f}
	server.Env = append(os.Environ(), "HTTPSERVER_SERVES=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=http", "GRACEINIT_GENERATION=7",
		"NOTIFY_SOCKET="+notify.LocalAddr().String())
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill() }()
	text := make([]byte, 100)
	if n, err := notify.Read(text); err != nil || string(text[:n]) != "READY=1" {
		t.Fatalf("notification %q, %v", text[:n], err)
	}

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	for last := false; !last; {
		if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(resp.Body).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "hello from generation 7, ") {
			t.Errorf("%q, %v", line, err)
		}
		last = resp.Close
		if err := server.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}
