package notify

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Message{
		"READY=1":                         {Ready: true},
		"READY=1\n":                       {Ready: true},
		"READY=0":                         {},
		"STATUS=a=b\nREADY=1\nMAINPID=42": {Ready: true, Status: "a=b", MainPID: 42},
		"X_UNKNOWN=1\n\nREADY=1":          {Ready: true},
		"":                                {},
		"READY=1\nSTATUS=a\njunk":         {Ready: true, Status: "a"},
		"READY":                           {},
	} {
		if got, err := Parse([]byte(text)); err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"MAINPID=x", "MAINPID=0", "MAINPID=1", "MAINPID=-5", "MAINPID=99999999999"} {
		if got, err := Parse([]byte(text)); err == nil || got != (Message{}) {
			t.Errorf("Parse(%q) = %+v, %v; want an error and nothing else", text, got, err)
		}
	}
}

func send(t *testing.T, to *Socket, text string, oob []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendmsg(fd, []byte(text), oob, &unix.SockaddrUnix{Name: to.Path}, 0); err != nil {
		t.Fatal(err)
	}
}

func TestReceive(t *testing.T) {
	s, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	send(t, s, "READY=1", nil)
	if m, err := s.Receive(func(int) {}); err != nil || !m.Ready || m.Sender != os.Getpid() {
		t.Errorf("%+v, %v", m, err)
	}
	send(t, s, strings.Repeat("X=y\n", MaxSize), nil)
	if _, err := s.Receive(func(int) {}); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a datagram that was cut: %v", err)
	}
	send(t, s, "READY=1\nMAINPID=nonsense", nil)
	if _, err := s.Receive(func(int) {}); err == nil {
		t.Error("nonsense was taken")
	}
	send(t, s, "READY=1", nil)
	if m, err := s.Receive(func(int) {}); err != nil || !m.Ready {
		t.Errorf("after hostile datagrams: %+v, %v", m, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(func(int) {}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// BARRIER=1 comes with the write end of a pipe, and whoever sent it waits until that is closed.
func TestFDsAreClosed(t *testing.T) {
	s, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	send(t, s, "BARRIER=1", unix.UnixRights(pipe[1]))
	_ = unix.Close(pipe[1])
	if _, err := s.Receive(func(int) {}); err != nil {
		t.Fatal(err)
	}
	if n, err := syscall.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the barrier is still up: %d, %v", n, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"READY=1", "MAINPID=7\nSTATUS=x", "=\n", "A=\x00\xff"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil && m != (Message{}) {
			t.Errorf("Parse(%q) = %+v and %v", text, m, err)
		}
		if m.MainPID < 0 || m.MainPID == 1 {
			t.Errorf("Parse(%q): MAINPID %d", text, m.MainPID)
		}
	})
}
