// Package listen opens the sockets that graceinit holds for the app, or takes them from whoever started it, and says
// in the app's environment which they are.
//
// A listener is given as URL[,option...]:
//
//	tcp://:8080           every address, IPv4 and IPv6; also tcp://*:8080, tcp://[::]:8080, or just :8080
//	tcp://127.0.0.1:8080  one address; tcp://0.0.0.0:8080 is IPv4 only; also just 127.0.0.1:8080
//	tcp4:// tcp6://       one protocol only
//	udp:// udp4:// udp6://
//	unix:///run/app.sock  a stream socket in the file system; also just /run/app.sock
//	unix://@name          an abstract one (unix(7))
//	unixgram:// unixpacket://
//
// with the options name=NAME, backlog=N, reuseport, v6only, and for sockets in the file system mode=0660 and
// owner=USER[:GROUP]. An init resolves no names: addresses are numbers.
//
// Sockets are blocking, as systemd hands them out by default, and close-on-exec: whoever starts the app places its
// own copies at fd 3 and on.
package listen

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener is an open socket that the init holds.
type Listener struct {
	FD      int    // close-on-exec
	Name    string // for LISTEN_FDNAMES, or empty
	URL     string // as asked for; for an inherited one, what it turned out to be
	Address string // where it is bound: ADDRESS:PORT, PATH or @NAME
	Inode   uint64 // of the socket, as in /proc/PID/fd
}

// Close closes the socket. A socket in the file system leaves its file, which is stale from then on and will be
// replaced: removing it might hit a successor's.
func (l Listener) Close() { _ = unix.Close(l.FD) }

// OpenAll opens all of them or, with the first error, none.
func OpenAll(specs []Spec) ([]Listener, error) {
	opened := make([]Listener, 0, len(specs))
	for _, s := range specs {
		l, err := s.Open()
		if err != nil {
			for _, l := range opened {
				l.Close()
			}
			return nil, err
		}
		opened = append(opened, l)
	}
	return opened, nil
}

// Open opens the listener.
func (s Spec) Open() (Listener, error) {
	fd, err := s.open(s.family)
	if s.family == unix.AF_INET6 && s.dualStack && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
		s.addr.ip = fromIPv4([4]byte{}) // booted with ipv6.disable=1
		fd, err = s.open(unix.AF_INET)
	}
	if err != nil {
		return Listener{}, fmt.Errorf("cannot open listener %s: %w%s", s.URL, err, s.hint(err))
	}
	l := Listener{FD: fd, Name: s.Name, URL: s.URL}
	if _, err := l.look(); err != nil {
		l.Close()
		return Listener{}, fmt.Errorf("cannot open listener %s: %w", s.URL, err)
	}
	return l, nil
}

func (s Spec) open(family int) (int, error) {
	fd, err := unix.Socket(family, s.kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if family == unix.AF_UNIX {
		err = s.bindUnix(fd)
	} else {
		err = s.bindInternet(fd, family)
	}
	if err == nil && s.kind != unix.SOCK_DGRAM {
		err = unix.Listen(fd, s.backlog)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (s Spec) bindInternet(fd, family int) error {
	var sockaddr unix.Sockaddr
	if family == unix.AF_INET {
		sockaddr = &unix.SockaddrInet4{Port: int(s.addr.port), Addr: s.addr.ipv4()}
	} else {
		zone, err := zoneID(fd, s.addr.zone)
		if err != nil {
			return err
		}
		sockaddr = &unix.SockaddrInet6{Port: int(s.addr.port), Addr: s.addr.ip, ZoneId: zone}
		// Both ways, since net.ipv6.bindv6only chooses the default (ipv6(7)).
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, flag(!s.dualStack)); err != nil {
			return err
		}
	}
	if s.kind == unix.SOCK_STREAM {
		// Connections of a predecessor in TIME_WAIT must not be in the way (socket(7)). For UDP it would mean that two may bind.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	if s.reusePort {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return err
		}
	}
	return unix.Bind(fd, sockaddr)
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

// hint is the way out of an error, where there is one to name.
func (s Spec) hint(err error) string {
	switch {
	case s.family == unix.AF_UNIX && errors.Is(err, unix.ENOENT):
		return " (its directory must exist)"
	case s.family == unix.AF_UNIX && errors.Is(err, unix.EROFS):
		return " (mount a tmpfs there, or take an abstract name: unix://@app)"
	case s.family == unix.AF_UNIX:
	case errors.Is(err, unix.EACCES):
		return fmt.Sprintf(" (needs CAP_NET_BIND_SERVICE, or a port from %s on)", firstUnprivilegedPort())
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return " (no interface has this address)"
	case errors.Is(err, unix.EAFNOSUPPORT):
		return " (there is no IPv6 here)"
	}
	return ""
}

// firstUnprivilegedPort is ip(7)'s ip_unprivileged_port_start; Docker sets it to 0, Kubernetes leaves it at 1024.
func firstUnprivilegedPort() string {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return "1024"
	}
	return strings.TrimSpace(string(text))
}

// look fills in where the socket is bound, and its inode. It returns what the socket is, as a URL.
func (l *Listener) look() (url string, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(l.FD, &st); err != nil {
		return "", err
	}
	l.Inode = st.Ino
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK { // systemd passes FIFOs and files too
		l.Address, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", l.FD))
		return l.Address, err
	}
	kind, err := unix.GetsockoptInt(l.FD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return "", err
	}
	sockaddr, err := unix.Getsockname(l.FD)
	if err != nil && !errors.Is(err, syscall.EAFNOSUPPORT) { // a family that x/sys does not know
		return "", err
	}
	switch a := sockaddr.(type) {
	case *unix.SockaddrInet4:
		l.Address = address{ip: fromIPv4(a.Addr), port: uint16(a.Port)}.String()
		return schemeOf(internetSchemes, kind) + l.Address, nil
	case *unix.SockaddrInet6:
		bound := address{ip: a.Addr, port: uint16(a.Port)}
		if a.ZoneId != 0 {
			bound.zone = fmt.Sprint(a.ZoneId)
		}
		l.Address = bound.String()
		return schemeOf(internetSchemes, kind) + l.Address, nil
	case *unix.SockaddrUnix:
		l.Address = a.Name
		return schemeOf(unixSchemes, kind) + l.Address, nil
	}
	l.Address = fmt.Sprintf("socket:[%d]", st.Ino)
	return l.Address, nil
}
