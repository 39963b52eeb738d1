//go:build linux

package control

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAddresses(t *testing.T) {
	if a := Address(""); !strings.HasPrefix(a, "@graceinit-") || a == "@graceinit-0" {
		t.Errorf("default address %q", a)
	}
	path := filepath.Join(t.TempDir(), "control")
	if Address(path) != path {
		t.Error("a path is not its own address")
	}
	_, err := Dial(path)
	for _, want := range []string{"no graceinit answers at " + path, "no such file", "GRACEINIT_CONTROL"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Dial: %v; want %q in it", err, want)
		}
	}
	s, err := Listen(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	go loop(s)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := Listen(path, nil); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "--control") {
		t.Errorf("a second server: %v", err)
	}
	if lines := ask(t, s, Ask{Op: OpStatus}, -1); len(lines) != 1 {
		t.Errorf("at a path: %+v", lines)
	}
	s.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// A socket file of a server that was killed is replaced, a file that is none is not.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	fd, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	s, err := Listen(path, nil)
	if err != nil {
		t.Fatalf("the stale socket was not replaced: %v", err)
	}
	s.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, nil); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("over a file: %v", err)
	}
	for _, name := range []string{strings.Repeat("x", 108), "@" + strings.Repeat("x", 108), "/nonexistent/dir/socket"} {
		if s, err := Listen(name, nil); err == nil {
			s.Close()
			t.Errorf("listens at %q", name)
		}
	}
}

func TestAllowed(t *testing.T) {
	us := uint32(os.Geteuid())
	for _, c := range []struct {
		peer    unix.Ucred
		address string
		ok      bool
	}{
		{unix.Ucred{Pid: 5, Uid: 0}, "@x", true},
		{unix.Ucred{Pid: 5, Uid: us}, "@x", true},
		{unix.Ucred{Pid: 5, Uid: us + 1}, "@x", false},
		{unix.Ucred{Pid: 0, Uid: 0}, "@x", false},
		{unix.Ucred{Pid: 0, Uid: 0}, "/run/x", true},
		{unix.Ucred{Pid: 0, Uid: us + 1}, "/run/x", false},
	} {
		if err := allowed(&c.peer, c.address); (err == nil) != c.ok {
			t.Errorf("%+v at %s: %v", c.peer, c.address, err)
		}
	}
}
