package procfs

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/internal/testproc"
)

const statLine = "42 (a) b (c) S 7 42 42 0 -1 4194368 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 10 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n"

func TestParseStat(t *testing.T) {
	p, err := ParseStat([]byte(statLine))
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != 42 || p.PPID != 7 || p.Start != 987654 || p.State != 'S' || !p.Forked || p.Comm != "a) b (c" {
		t.Errorf("%+v", p)
	}
	for _, bad := range []string{"", "42", "42 (x", "42 (x)", "42 (x) S", "x (x) S 1 1 1", ") ( S 1"} {
		if _, err := ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q was parsed", bad)
		}
	}
}

// twoListeners opens a TCP listener, which it returns, and a Unix one.
func twoListeners(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	u, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return l
}

func TestSelf(t *testing.T) {
	l := twoListeners(t)
	s, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	me := s.Get(os.Getpid())
	if me == nil || me.PPID != os.Getppid() || me.Forked || !s.Descends(os.Getpid(), os.Getppid()) {
		t.Fatalf("%+v", me)
	}
	if s.Processes[0].Start > me.Start || !s.Alive(me.ID) || s.Alive(ID{PID: me.PID, Start: me.Start + 1}) {
		t.Error("the table is not in order of age, or an ID does not tell processes apart")
	}
	Inspect(me)
	if !me.Caught.Has(signals.Signal(12)) || me.SignalsErr != nil || me.Image == (FileID{}) {
		t.Errorf("a Go program catches SIGUSR2: %+v", me)
	}
	s.Listening, s.ListeningErr = Listening()
	if n, known := s.Listeners(me); n != 2 || !known {
		t.Errorf("%d listeners, %v; want 2", n, known)
	}
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	Inspect(me)
	s.Established, s.EstablishedErr = Established()
	if n, known := s.Connections(me); n != 2 || !known {
		t.Errorf("%d connections, %v; want both ends", n, known)
	}
}

func TestUnknownIsNotNone(t *testing.T) {
	var s Snapshot
	p := &Process{FDsErr: os.ErrPermission}
	if _, known := s.Listeners(p); known {
		t.Error("the listeners of a process that cannot be read are known")
	}
	s.ListeningErr = errors.New("no sock_diag")
	if _, known := s.Listeners(&Process{}); known {
		t.Error("listeners are known without the list of sockets")
	}
}

// The text files and sock_diag must agree: the one stands in for the other.
func TestTextAgreesWithDiag(t *testing.T) {
	testproc.NotEmulated(t, "sock_diag; the text files are read in its place")
	twoListeners(t)
	list, err := sockets(os.Getpid(), never)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, family := range []uint8{2, 10, 1} { // AF_INET, AF_INET6, AF_UNIX
		q := query{family: family, states: 1 << tcpListen}
		byDiag, byText := map[uint64]bool{}, map[uint64]bool{}
		if err := q.diag(byDiag); err != nil {
			t.Fatal(err)
		}
		if err := q.text(byText); err != nil {
			t.Fatal(err)
		}
		for _, inode := range inodes(list) {
			if byDiag[inode] != byText[inode] {
				t.Errorf("family %d, inode %d: diag %v, text %v", family, inode, byDiag[inode], byText[inode])
			}
		}
	}
}

func TestProcessesThatComeAndGo(t *testing.T) {
	s := Snapshot{Processes: []Process{{ID: ID{PID: 2}, PPID: 3}, {ID: ID{PID: 3}, PPID: 2}}}
	if s.Descends(2, 1) {
		t.Error("a cycle descends from everything")
	}
	if _, err := Stat(1 << 30); err == nil {
		t.Error("a process that does not exist was read")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte("1 (init) S 0"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if p, err := ParseStat(line); err == nil && p.State == 0 {
			t.Errorf("%q: no state", line)
		}
	})
}

func FuzzParseSignals(f *testing.F) {
	f.Add([]byte("Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180004002\n"))
	f.Fuzz(func(t *testing.T, status []byte) {
		_, _, _ = ParseSignals(status)
	})
}

func FuzzParseDiag(f *testing.F) {
	message := make([]byte, 16+72)
	binary.NativeEndian.PutUint32(message, uint32(len(message)))
	binary.NativeEndian.PutUint16(message[4:], 20)
	message[16] = 2
	f.Add(message)
	f.Fuzz(func(t *testing.T, messages []byte) {
		_, _ = ParseDiag(messages, map[uint64]bool{})
	})
}

func FuzzParseNet(f *testing.F) {
	f.Add([]byte("  sl  local_address\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1\n"), false)
	f.Add([]byte("0000000000000000: 00000002 00000000 00010000 0001 01 4711 /run/x\n"), true)
	f.Fuzz(func(t *testing.T, text []byte, unixSockets bool) {
		inodes := map[uint64]bool{}
		ParseNet(text, unixSockets, 1<<tcpListen, inodes)
		if inodes[0] {
			t.Error("inode 0 is no socket")
		}
	})
}
