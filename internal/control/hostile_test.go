//go:build linux

package control

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/testproc"
)

// rawConnect is a client without manners.
func rawConnect(t testing.TB, s *Server) int {
	t.Helper()
	for {
		fd, err := connect(s.Address)
		if err == nil {
			return fd
		}
		if !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

func sendRaw(fd int, text string, fds ...int) {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_ = unix.Sendmsg(fd, []byte(text), rights, nil, unix.MSG_NOSIGNAL)
}

// answerTo sends text and fds as they are and returns what comes back.
func answerTo(t *testing.T, s *Server, text string, fds ...int) []Line {
	t.Helper()
	fd := rawConnect(t, s)
	c := &Client{address: s.Address, conn: os.NewFile(uintptr(fd), s.Address)}
	defer c.Close()
	sendRaw(fd, text, fds...)
	return rest(t, c)
}

func TestRefusedRequests(t *testing.T) {
	testproc.NotEmulated(t, "way to close the fds of SCM_RIGHTS that a buffer has no room for")
	s := listenForTest(t, nil)
	go loop(s)
	fd := memfd(t, "\x7fELF", immutable)
	for _, c := range []struct {
		text string
		fds  int
		want string
	}{
		{"\n", 0, "cannot be understood"},
		{"garbage\n", 0, "cannot be understood"},
		{"[]\n", 0, "cannot be understood"},
		{"null\n", 0, `there is no op ""`},
		{"{}\n", 0, `there is no op ""`},
		{`{"op":"fly"}` + "\n", 0, `there is no op "fly"`},
		{`{"op":1}` + "\n", 0, "cannot be understood"},
		{`{"op":"status","verbose":true}` + "\n", 0, `unknown field "verbose"`},
		{`{"op":"status"} {"op":"stop"}` + "\n", 0, "follows the JSON value"},
		{`{"op":"status"}}` + "\n", 0, "follows the JSON value"},
		{`{"op":"status"}` + "\n" + `{"op":"stop"}` + "\n", 0, "follows the request"},
		{strings.Repeat("[", 20000) + "\n", 0, "max depth"},
		{strings.Repeat(`{"op":`, 10500) + "\n", 0, "max depth"},
		{strings.Repeat("x", maxAsk+1), 0, "longer than 65536"},
		{`{"op":"upgrade","sha256":"` + strings.Repeat("0", 64) + `"}` + "\n", 0, "without a binary"},
		{`{"op":"upgrade","signature":"x"}` + "\n", 0, "without a binary"},
		{`{"op":"stop","binary":true}` + "\n", 1, `nothing to op "stop"`},
		{`{"op":"upgrade","binary":true}` + "\n", 0, "no file descriptor"},
		{`{"op":"upgrade"}` + "\n", 1, "has no binary"},
		{`{"op":"upgrade","binary":true}` + "\n", 2, "more than one"},
		{`{"op":"upgrade","binary":true}` + "\n", 3, "too many"},
		{`{"op":"upgrade","binary":true}` + "\n", 253, "too many"},
	} {
		fds := make([]int, c.fds)
		for i := range fds {
			fds[i] = fd
		}
		if got := refusal(t, answerTo(t, s, c.text, fds...)); !strings.Contains(got, c.want) {
			t.Errorf("%.60q with %d fds: %s; want %q in it", c.text, c.fds, got, c.want)
		}
	}
}

// Clients beyond the limit are told so, and do not disturb those that are there.
func TestBusy(t *testing.T) {
	s := listenForTest(t, nil)
	go loop(s)
	var watchers []*Client
	limit := maxConnections
	if os.Geteuid() != 0 {
		limit = maxNotRoot
	}
	for range limit {
		c := dial(t, s)
		if err := c.Send(Ask{Op: OpWatch}, -1); err != nil {
			t.Fatal(err)
		}
		if line, err := c.Next(time.Minute); err != nil || line.Status == nil {
			t.Fatalf("%+v, %v", line, err)
		}
		watchers = append(watchers, c)
	}
	if got := refusal(t, ask(t, s, Ask{Op: OpStatus}, -1)); !strings.Contains(got, "busy") {
		t.Error(got)
	}
	watchers[0].Close()
	until(t, "the place to be free", func() bool {
		lines := ask(t, s, Ask{Op: OpStatus}, -1)
		return len(lines) == 1 && lines[0].Status != nil
	})
}

// The limit for the init's own user leaves places to root.
func TestRootIsNotKeptOut(t *testing.T) {
	s := &Server{}
	for range maxNotRoot {
		if err := s.enter(&unix.Ucred{Uid: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.enter(&unix.Ucred{Uid: 1000}); err == nil {
		t.Error("our own user may take all places")
	}
	if err := s.enter(&unix.Ucred{}); err != nil {
		t.Errorf("root: %v", err)
	}
}

// Ten thousand hostile messages change nothing: a good client is served all the while, and afterwards there are
// as many fds and goroutines as before (listenForTest).
func TestHostileClients(t *testing.T) {
	testproc.NotEmulated(t, "way to close the fds of SCM_RIGHTS that a buffer has no room for")
	s := listenForTest(t, nil)
	go loop(s)
	messages := 10000
	if testing.Short() {
		messages = 1000
	}
	fd := memfd(t, "\x7fELF", immutable)
	const attackers = 4
	var attacks sync.WaitGroup
	for a := range attackers {
		attacks.Go(func() {
			random := rand.New(rand.NewPCG(uint64(a), 1))
			var open []int
			for range messages / attackers {
				conn := rawConnect(t, s)
				attack(random, conn, fd)
				// Most close at once, before there is an answer; some stay and say no more.
				open = append(open, conn)
				if len(open) > random.IntN(4) {
					for _, conn := range open {
						_ = unix.Close(conn)
					}
					open = open[:0]
				}
			}
			for _, conn := range open {
				_ = unix.Close(conn)
			}
		})
	}
	attacked := make(chan struct{})
	go func() { attacks.Wait(); close(attacked) }()
	served, busy := 0, 0
	for done := false; !done; {
		select {
		case <-attacked:
			done = true
		default:
		}
		lines := ask(t, s, Ask{Op: OpUpgrade}, -1)
		switch {
		case len(lines) == 3 && lines[2].Progress.Final:
			served++
		case len(lines) == 1 && lines[0].Error != nil && strings.Contains(lines[0].Error.Reason, "busy"):
			busy++
		default:
			t.Fatalf("the good client got %+v", lines)
		}
	}
	t.Logf("%d hostile messages; the good client was served %d times and found the server busy %d times", messages, served, busy)
	if served == 0 {
		t.Error("the good client was never served")
	}
}

func attack(random *rand.Rand, conn, fd int) {
	garbage := make([]byte, random.IntN(300))
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	switch random.IntN(12) {
	case 0: // nothing
	case 1:
		sendRaw(conn, string(garbage)+"\n")
	case 2:
		sendRaw(conn, `{"op":"sta`) // half a line
	case 3:
		for range 20 {
			sendRaw(conn, strings.Repeat("x", 8192)) // no end
		}
	case 4:
		sendRaw(conn, `{"op":"upgrade","binary":true}`+"\n", fd, fd, fd, fd, fd, fd, fd)
	case 5:
		for range 10 {
			sendRaw(conn, "x", fd)
		}
	case 6:
		sendRaw(conn, `{"op":"upgrade","binary":true}`+"\n", fd)
	case 7:
		sendRaw(conn, `{"op":"watch"}`+"\n")
	case 8:
		sendRaw(conn, `{"op":"status"}`+"\n")
		sendRaw(conn, string(garbage), fd) // behind the request
	case 9:
		_ = unix.Shutdown(conn, unix.SHUT_WR)
	case 10:
		sendRaw(conn, strings.Repeat(`{"a":`, 5000)+"\n")
	case 11:
		sendRaw(conn, fmt.Sprintf(`{"op":"upgrade","binary":true,"sha256":%q}`, garbage)+"\n", conn) // the socket itself
	}
}

// A panic of ours ends the connection, not the init, and the client hears of it.
func TestAPanicIsSurvived(t *testing.T) {
	s := listenForTest(t, nil)
	close(s.requests) // sending there panics
	if got := refusal(t, ask(t, s, Ask{Op: OpUpgrade, Binary: true}, memfd(t, "\x7fELF", immutable))); !strings.Contains(got, "a mistake in graceinit") {
		t.Error(got)
	}
}

// A client that says nothing, or half of what it wants, is not waited for.
func TestSlowRequests(t *testing.T) {
	for _, text := range []string{"", `{"op":"sta`} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		sendRaw(pair[1], text)
		conn := os.NewFile(uintptr(pair[0]), "server")
		if _, _, err := readAsk(conn, 10*time.Millisecond); err == nil || !strings.Contains(err.Error(), "within 10ms") {
			t.Errorf("after %q: %v", text, err)
		}
		conn.Close()
		_ = unix.Close(pair[1])
	}
}

func FuzzAsk(f *testing.F) {
	for _, text := range []string{
		`{"op":"status"}`, `{"op":"upgrade","binary":true,"sha256":"` + strings.Repeat("0a", 32) + `"}`, `{"op":"stop","x":1}`, "[[[[", `{"op":"\ud800"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parseAsk(text)
		if err != nil && a != (Ask{}) {
			t.Errorf("parseAsk(%q) = %+v and %v", text, a, err)
		}
		if err != nil {
			return
		}
		if a.SHA256 != "" && len(a.SHA256) != 64 || !a.Binary && a.Signature != "" {
			t.Errorf("parseAsk(%q) = %+v", text, a)
		}
	})
}
