package notify

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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
		"RELOADING=1\nMONOTONIC_USEC=5":   {Reloading: true},
		"STOPPING=1\nERRNO=2":             {Stopping: true, Errno: 2},
		"WATCHDOG=1":                      {Watchdog: WatchdogAlive},
		"WATCHDOG=trigger":                {Watchdog: WatchdogTrigger},
		"WATCHDOG_USEC=1500":              {WatchdogInterval: 1500 * time.Microsecond},
		"EXTEND_TIMEOUT_USEC=2000000":     {ExtendTimeout: 2 * time.Second},
		"FDSTORE=1\nFDNAME=conn-1":        {FDStore: true, FDName: "conn-1"},
		"FDSTOREREMOVE=1\nFDNAME=conn-1":  {FDStoreRemove: true, FDName: "conn-1"},
	} {
		if want.FDName == "" {
			want.FDName = "stored"
		}
		if got, err := Parse([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"MAINPID=x", "MAINPID=0", "MAINPID=1", "MAINPID=-5", "MAINPID=99999999999", "ERRNO=x", "ERRNO=-1",
		"WATCHDOG_USEC=0", "EXTEND_TIMEOUT_USEC=18446744073709551615", "FDNAME=a:b", "FDNAME=\x01", "FDNAME=" + strings.Repeat("x", 256),
	} {
		if got, err := Parse([]byte(text)); err == nil || !reflect.DeepEqual(got, Message{}) {
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
	s, err := Listen("")
	if err != nil {
		t.Fatal(err)
	}
	send(t, s, "READY=1", nil)
	if m, err := s.Receive(); err != nil || !m.Ready || m.Sender != os.Getpid() {
		t.Errorf("%+v, %v", m, err)
	}
	send(t, s, strings.Repeat("X=y\n", MaxSize), nil)
	if _, err := s.Receive(); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a datagram that was cut: %v", err)
	}
	send(t, s, "READY=1\nMAINPID=nonsense", nil)
	if _, err := s.Receive(); err == nil {
		t.Error("nonsense was taken")
	}
	send(t, s, "READY=1", nil)
	if m, err := s.Receive(); err != nil || !m.Ready {
		t.Errorf("after hostile datagrams: %+v, %v", m, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A sender of BARRIER=1 waits until the fd that it sent is closed, which is up to the receiver; an fd in a datagram that
// is dropped is closed by itself.
func TestFDs(t *testing.T) {
	s, err := Listen("")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, c := range []struct {
		text string
		good bool
	}{{"BARRIER=1", true}, {"FDSTORE=1\nFDNAME=a:b", false}, {strings.Repeat("X=y\n", MaxSize), false}} {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		send(t, s, c.text, unix.UnixRights(pipe[1], pipe[1]))
		unix.Close(pipe[1])
		m, err := s.Receive()
		if c.good != (err == nil) || c.good && len(m.FDs) != 2 {
			t.Errorf("%.20q: %v, %v", c.text, m.FDs, err)
		}
		if c.good {
			if _, err := syscall.Read(pipe[0], make([]byte, 1)); !errors.Is(err, syscall.EAGAIN) {
				t.Errorf("the barrier fell before the fds were closed: %v", err)
			}
			Discard(m.FDs)
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(pipe[0])}}, 10_000) // until it hangs up
		if n, err := syscall.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("%.20q: an fd is still open: %d, %v", c.text, n, err)
		}
		unix.Close(pipe[0])
	}
}

func TestSend(t *testing.T) {
	for _, address := range []string{"", "@graceinit-test-send-" + strconv.Itoa(os.Getpid()), filepath.Join(t.TempDir(), "notify")} {
		testSend(t, address)
	}
}

func testSend(t *testing.T, address string) {
	s, err := Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := Send(s.Path, "READY=1"); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Receive(); err != nil || !m.Ready {
		t.Errorf("%+v, %v", m, err)
	}
	if err := Send("", "READY=1"); err != nil {
		t.Errorf("without a socket: %v", err)
	}
	if err := Send("@graceinit-nobody", "READY=1"); err == nil {
		t.Error("a socket that is not there is no error")
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"READY=1", "MAINPID=7\nSTATUS=x", "=\n", "A=\x00\xff"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil && !reflect.DeepEqual(m, Message{}) {
			t.Errorf("Parse(%q) = %+v and %v", text, m, err)
		}
		if m.MainPID < 0 || m.MainPID == 1 {
			t.Errorf("Parse(%q): MAINPID %d", text, m.MainPID)
		}
	})
}
