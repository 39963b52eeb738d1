package procfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listening returns the inodes of all listening TCP and Unix sockets of the network namespace.
func Listening() (map[uint64]bool, error) {
	inodes := map[uint64]bool{}
	for _, q := range []query{
		{family: unix.AF_INET, states: 1 << tcpListen},
		{family: unix.AF_INET6, states: 1 << tcpListen},
		{family: unix.AF_UNIX, states: 1 << tcpListen},
	} {
		if err := q.add(inodes); err != nil {
			return nil, fmt.Errorf("cannot list listening sockets: %w", err)
		}
	}
	return inodes, nil
}

// Established returns the inodes of all established TCP connections of the network namespace.
func Established() (map[uint64]bool, error) {
	inodes := map[uint64]bool{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := (query{family: family, states: 1 << tcpEstablished}).add(inodes); err != nil {
			return nil, fmt.Errorf("cannot list connections: %w", err)
		}
	}
	return inodes, nil
}

// include/net/tcp_states.h; unix_diag uses the same numbers.
const (
	tcpEstablished = 1
	tcpListen      = 10
)

// query asks for the sockets of one family that are in one of some states.
type query struct {
	family uint8
	states uint32 // bit n for state n
}

// add adds the inodes of the sockets found. The kernel is asked by sock_diag(7), which filters; where it
// cannot (no module for it, gVisor) the text files of /proc/net are read.
func (q query) add(inodes map[uint64]bool) error {
	err := q.diag(inodes)
	if err == nil {
		return nil
	}
	if textErr := q.text(inodes); textErr != nil {
		return errors.Join(err, textErr)
	}
	return nil
}

func (q query) diag(inodes map[uint64]bool) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("cannot open sock_diag: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, q.request(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("cannot query sock_diag: %w", err)
	}
	buf := make([]byte, 32<<10) // the kernel fills at most 32 KiB a message (netlink(7))
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read sock_diag: %w", err)
		}
		done, err := ParseDiag(buf[:n], inodes)
		if done || err != nil {
			return err
		}
	}
}

// request builds struct nlmsghdr followed by struct inet_diag_req_v2 or struct unix_diag_req.
func (q query) request() []byte {
	const sockDiagByFamily, unixDiagReqLen, inetDiagReqLen = 20, 24, 56
	length := inetDiagReqLen
	if q.family == unix.AF_UNIX {
		length = unixDiagReqLen
	}
	req := make([]byte, unix.NLMSG_HDRLEN+length)
	order := binary.NativeEndian
	order.PutUint32(req[0:], uint32(len(req)))
	order.PutUint16(req[4:], sockDiagByFamily)
	order.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := req[unix.NLMSG_HDRLEN:]
	body[0] = q.family
	if q.family != unix.AF_UNIX {
		body[1] = unix.IPPROTO_TCP
	}
	order.PutUint32(body[4:], q.states)
	return req
}

// ParseDiag reads netlink messages of sock_diag and adds the inodes in them. It reports whether the dump
// has ended.
func ParseDiag(messages []byte, inodes map[uint64]bool) (done bool, err error) {
	order := binary.NativeEndian
	for len(messages) >= unix.NLMSG_HDRLEN {
		length := int(order.Uint32(messages))
		if length < unix.NLMSG_HDRLEN || length > len(messages) {
			return false, fmt.Errorf("cannot parse sock_diag: message of %d bytes in %d", length, len(messages))
		}
		body := messages[unix.NLMSG_HDRLEN:length]
		switch order.Uint16(messages[4:]) {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if len(body) < 4 {
				return false, errors.New("cannot parse sock_diag: truncated error")
			}
			return false, fmt.Errorf("cannot query sock_diag: %w", unix.Errno(-int32(order.Uint32(body))))
		default:
			if inode, ok := diagInode(body); ok {
				inodes[inode] = true
			}
		}
		messages = messages[min((length+3)&^3, len(messages)):]
	}
	return false, nil
}

// diagInode takes the inode out of struct inet_diag_msg or struct unix_diag_msg.
func diagInode(body []byte) (uint64, bool) {
	if len(body) == 0 {
		return 0, false
	}
	offset := int(unsafe.Offsetof(inetDiagMsg{}.inode))
	if body[0] == unix.AF_UNIX {
		offset = int(unsafe.Offsetof(unixDiagMsg{}.inode))
	}
	if len(body) < offset+4 {
		return 0, false
	}
	return uint64(binary.NativeEndian.Uint32(body[offset:])), true
}

// linux/inet_diag.h
type inetDiagMsg struct {
	_     [4]uint8  // family, state, timer, retrans
	_     [48]byte  // id
	_     [4]uint32 // expires, rqueue, wqueue, uid
	inode uint32
}

// linux/unix_diag.h
type unixDiagMsg struct {
	_     [4]uint8 // family, type, state, padding
	inode uint32
}

// text reads the family's file below /proc/net (proc_net(5)).
func (q query) text(inodes map[uint64]bool) error {
	name := map[uint8]string{unix.AF_INET: "tcp", unix.AF_INET6: "tcp6", unix.AF_UNIX: "unix"}[q.family]
	text, err := os.ReadFile("/proc/self/net/" + name)
	if os.IsNotExist(err) && q.family == unix.AF_INET6 {
		return nil // a kernel without IPv6
	}
	if err != nil {
		return err
	}
	ParseNet(text, q.family == unix.AF_UNIX, q.states, inodes)
	return nil
}

// ParseNet adds the inodes of those sockets in the text of /proc/net/tcp, tcp6 or unix that are in one of
// the states. Lines it cannot read, like the heading, are passed over.
func ParseNet(text []byte, unixSockets bool, states uint32, inodes map[uint64]bool) {
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		var state uint64
		var inode []byte
		switch {
		case unixSockets && len(f) >= 7:
			const acceptsConnections = 1 << 16 // __SO_ACCEPTCON
			if flags, err := strconv.ParseUint(string(f[3]), 16, 32); err == nil && flags&acceptsConnections != 0 {
				state, inode = tcpListen, f[6]
			}
		case !unixSockets && len(f) >= 10:
			state, _ = strconv.ParseUint(string(f[3]), 16, 5)
			inode = f[9]
		}
		if n, err := strconv.ParseUint(string(inode), 10, 64); err == nil && n != 0 && states&(1<<state) != 0 {
			inodes[n] = true
		}
	}
}
