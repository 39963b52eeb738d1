package listen

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		listen  string
		network string // to connect by; empty for those that net cannot
		address string // of the listener, with a * for the port
	}{
		{"tcp://127.0.0.1:0", "tcp", "127.0.0.1:*"},
		{"tcp4://:0", "tcp4", "0.0.0.0:*"},
		{"tcp://:0", "tcp4", "[::]:*"},
		{"tcp://:0", "tcp6", "[::]:*"},
		{"tcp6://:0", "tcp6", "[::]:*"},
		{"tcp://[::1]:0,backlog=7,reuseport", "tcp6", "[::1]:*"},
		{"udp://127.0.0.1:0", "udp", "127.0.0.1:*"},
		{"udp://:0", "udp4", "[::]:*"},
		{"udp6://[::1]:0,reuseport", "udp6", "[::1]:*"},
		{"unix://" + dir + "/stream,mode=0600", "unix", dir + "/stream"},
		{dir + "/short", "unix", dir + "/short"},
		{"unixgram://" + dir + "/gram", "unixgram", dir + "/gram"},
		{"unixpacket://" + dir + "/packet", "unixpacket", dir + "/packet"},
		{"unix://@graceinit-test-" + strconv.Itoa(os.Getpid()), "unix", "@graceinit-test-" + strconv.Itoa(os.Getpid())},
	} {
		t.Run(tc.network+" to "+tc.listen, func(t *testing.T) {
			l := open(t, tc.listen)
			address := l.Address
			if host, _ := strings.CutSuffix(tc.address, "*"); host != tc.address && strings.HasPrefix(address, host) {
				address = tc.address
			}
			if address != tc.address {
				t.Errorf("bound to %s, want %s", l.Address, tc.address)
			}
			if flags, err := unix.FcntlInt(uintptr(l.FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("not close-on-exec (flags %#x, %v)", flags, err)
			}
			if flags, err := unix.FcntlInt(uintptr(l.FD), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
				t.Errorf("not blocking (flags %#x, %v)", flags, err)
			}
			if link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(l.FD)); err != nil || link != "socket:["+strconv.FormatUint(l.Inode, 10)+"]" {
				t.Errorf("inode %d, but the fd is %s (%v)", l.Inode, link, err)
			}
			connect(t, l, tc.network)
		})
	}
}

// connect shows that the listener can be reached.
func connect(t *testing.T, l Listener, network string) {
	t.Helper()
	address := l.Address
	switch network {
	case "tcp4", "udp4":
		address = strings.Replace(address, "[::]", "127.0.0.1", 1)
	case "tcp6", "udp6":
		address = strings.Replace(address, "[::]", "[::1]", 1)
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	fd := l.FD
	if !strings.HasPrefix(network, "udp") && network != "unixgram" {
		if fd, _, err = unix.Accept(l.FD); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	buf := make([]byte, 16)
	if n, err := unix.Read(fd, buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("received %q, %v", buf[:n], err)
	}
}

func TestOneProtocolOnly(t *testing.T) {
	for _, listen := range []string{"tcp6://:0", "tcp://[::]:0,v6only"} {
		l := open(t, listen)
		_, port, _ := net.SplitHostPort(l.Address)
		if conn, err := net.Dial("tcp4", "127.0.0.1:"+port); err == nil {
			conn.Close()
			t.Errorf("%s takes IPv4", listen)
		}
	}
}

func TestOpenAllOpensAllOrNothing(t *testing.T) {
	taken := open(t, "tcp://127.0.0.1:0")
	free := "@graceinit-all-" + strconv.Itoa(os.Getpid())
	specs := parse(t, free, "tcp://"+taken.Address)
	_, err := OpenAll(specs)
	want := "cannot open listener tcp://" + taken.Address + ": address already in use"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	all, err := OpenAll(specs[:1]) // it was closed again
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	all[0].Close()
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, "unix://"+dir+"/used")
	open(t, "unixgram://"+dir+"/datagrams")
	for listen, want := range map[string]string{
		"unix://" + file:                          "the file exists and is not a socket; remove it, or choose another path",
		"unix://" + dir + "/used":                 "address already in use: a process listens on it",
		"unix://" + dir + "/datagrams":            "address already in use: a process listens on it",
		"unixgram://" + dir + "/used":             "address already in use: a process listens on it",
		"unix://" + dir + "/no/such":              "no such file or directory (its directory must exist)",
		"tcp://192.0.2.1:0":                       "cannot assign requested address (no interface has this address)",
		"tcp://[fe80::1%nosuch0]:0":               `interface "nosuch0": no such device`,
		"unix://" + dir + "/u,owner=no-such-user": `no user "no-such-user" in /etc/passwd (a number needs no entry)`,
	} {
		s := parse(t, listen)[0]
		l, err := s.Open()
		if err == nil {
			l.Close()
			t.Errorf("%s: opened", listen)
		} else if want = "cannot open listener " + s.URL + ": " + want; err.Error() != want {
			t.Errorf("%s:\n%v\n%s", listen, err, want)
		}
	}
}

func TestPrivilegedPort(t *testing.T) {
	first, err := strconv.Atoi(firstUnprivilegedPort())
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, "tcp://127.0.0.1:1")[0]
	if got, want := s.hint(unix.EACCES), " (needs CAP_NET_BIND_SERVICE, or a port from "+strconv.Itoa(first)+" on)"; got != want {
		t.Errorf("hint %q, want %q", got, want)
	}
	if first <= 1 {
		t.Skip("no port is privileged here")
	}
	withoutCapabilities(t, func() {
		if l, err := s.Open(); !errors.Is(err, unix.EACCES) {
			l.Close()
			t.Errorf("opened a privileged port without a capability: %v", err)
		}
	})
}

// withoutCapabilities runs f on a thread without effective capabilities, which ends with it.
func withoutCapabilities(t *testing.T, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked: the thread must not be used again
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

func TestStaleSocketFileIsReplaced(t *testing.T) {
	for _, scheme := range []string{"unix://", "unixgram://", "unixpacket://"} {
		listen := scheme + filepath.Join(t.TempDir(), "app.sock")
		left, err := parse(t, listen)[0].Open()
		if err != nil {
			t.Fatal(err)
		}
		left.Close()
		open(t, listen)
	}
}

func TestModeAndOwner(t *testing.T) {
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	path := filepath.Join(t.TempDir(), "app.sock")
	listen := path + ",mode=0666"
	if os.Getuid() == 0 {
		listen += ",owner=1234:2345"
	}
	open(t, listen)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o777 != 0o666 {
		t.Errorf("mode %o", st.Mode&0o777)
	}
	if os.Getuid() == 0 && (st.Uid != 1234 || st.Gid != 2345) {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
}

func TestZone(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip(err)
	}
	l := open(t, "udp6://[::1]:0")
	for _, zone := range []string{"lo", strconv.Itoa(lo.Index)} {
		if id, err := zoneID(l.FD, zone); err != nil || int(id) != lo.Index {
			t.Errorf("zone %s is %d (%v), want %d", zone, id, err, lo.Index)
		}
	}
}

func parse(t *testing.T, values ...string) Specs {
	t.Helper()
	var specs Specs
	if err := specs.Set(strings.Join(values, " ")); err != nil {
		t.Fatal(err)
	}
	return specs
}

func open(t *testing.T, listen string) Listener {
	t.Helper()
	l, err := parse(t, listen)[0].Open()
	if err != nil {
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}
