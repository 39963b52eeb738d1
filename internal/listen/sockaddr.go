package listen

import "golang.org/x/sys/unix"

// TCPPort is the port that the listener is to have, or zero for one that is not TCP.
func (s Spec) TCPPort() int {
	if s.family == unix.AF_UNIX || s.kind != unix.SOCK_STREAM {
		return 0
	}
	return int(s.addr.port)
}

// Sockaddr is where a client would connect to. A zone is left out.
func (s Spec) Sockaddr() unix.Sockaddr {
	if s.dualStack {
		return &unix.SockaddrInet4{Port: int(s.addr.port), Addr: [4]byte{127, 0, 0, 1}}
	}
	switch s.family {
	case unix.AF_UNIX:
		return &unix.SockaddrUnix{Name: s.path}
	case unix.AF_INET:
		return &unix.SockaddrInet4{Port: int(s.addr.port), Addr: s.addr.ipv4()}
	}
	return &unix.SockaddrInet6{Port: int(s.addr.port), Addr: s.addr.ip}
}
