package proc

import (
	"net"
	"os"
	"slices"
	"testing"
)

func TestParseStat(t *testing.T) {
	p, err := parseStat([]byte("42 (a) b (c)) Z 7 42 42 0 -1 4228100 0 0 0 0 1 2 0 0 20 0 1 0 987654 0 0\n"))
	if want := (Process{PID: 42, PPID: 7, State: 'Z', Comm: "a) b (c)", Start: 987654}); err != nil || p != want {
		t.Errorf("got %+v, %v; want %+v", p, err, want)
	}
	p, err = parseStat([]byte("43 (x) S 7 42 42 0 -1 1077936192 0 0 0 0 1 2 0 0 20 0 1 0 5 0 0\n"))
	if err != nil || !p.Forked || p.Zombie() {
		t.Errorf("a fork without an exec: %+v, %v", p, err)
	}
	if p.State = 'Z'; !p.Zombie() {
		t.Error("a Z is a zombie")
	}
	for _, bad := range []string{"", "42", "42 (x", "x (y) S 1", "1 (y) S 1", ") 1 ( S"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestField(t *testing.T) {
	status := []byte("Name:\tx\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\nRss:    1234 kB\nEmpty:\n")
	for name, want := range map[string]uint64{"voluntary_ctxt_switches": 3, "nonvoluntary_ctxt_switches": 4, "Rss": 1234} {
		if got, err := field(status, name); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"Nothing", "Empty", "Name"} {
		if _, err := field(status, name); err == nil {
			t.Errorf("%s was found", name)
		}
	}
}

func TestThisProcess(t *testing.T) {
	pid := os.Getpid()
	list, err := List("/proc")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(p Process) bool { return p.PID == pid })
	if i < 0 || list[i].PPID != os.Getppid() {
		t.Errorf("process %d is not in the table with parent %d", pid, os.Getppid())
	}
	if m, err := ReadMemory("/proc", pid); err != nil || m.RSS < 1<<20 || m.Anonymous >= m.RSS || m.PSS > m.RSS || m.PSS == 0 ||
		m.PrivateDirty > m.RSS || m.PrivateDirty == 0 {
		t.Errorf("memory %+v, %v", m, err)
	}
	if s, err := ReadSwitches("/proc", pid); err != nil || s.Threads < 2 || s.Voluntary == 0 {
		t.Errorf("switches %+v, %v", s, err)
	}
	if n, err := FDs("/proc", pid); err != nil || n < 3 {
		t.Errorf("fds %d, %v", n, err)
	}
	if d, err := CPU("/proc", pid); err != nil || d <= 0 {
		t.Errorf("CPU %v, %v", d, err)
	}
	if _, err := ReadSwitches("/proc", 1<<30); err == nil {
		t.Error("a process that does not exist was read")
	}
}

func TestSocketsOfThisProcess(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	served, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()

	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("%v is no TCP address", ln.Addr())
	}
	s, err := TCP("/proc", addr.Port)
	if err != nil {
		t.Fatal(err)
	}
	own, err := SocketsOf("/proc", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if l, e := Count(own, s.Listening), Count(own, s.Established); l != 1 || e != 1 {
		t.Errorf("%d listening and %d established sockets, want one of each", l, e)
	}
}

func TestParseSockets(t *testing.T) {
	s := Sockets{Listening: map[uint64]bool{}, Established: map[uint64]bool{}}
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	err := s.parse(head+"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0\n"+
		"   1: 0100007F:1F90 0100007F:AAAA 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0\n"+
		"   2: 0100007F:1F91 0100007F:AAAA 01 00000000:00000000 00:00000000 00000000     0        0 79 1 0\n", 8080)
	if err != nil || len(s.Listening) != 1 || !s.Listening[77] || len(s.Established) != 1 || !s.Established[78] {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, bad := range []string{"x\n", "0: nothing 0 0A 0 0 0 0 0 1\n"} {
		if err := s.parse(head+bad, 1); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
