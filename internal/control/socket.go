//go:build linux

package control

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/listen"
	"github.com/graceinit/graceinit/internal/procfs"
)

// Address is where clients connect: a path, or with @ in front a name in the abstract namespace (unix(7)),
// which needs no writable file system. The empty setting means a name that each PID namespace has for itself,
// since containers may share the network namespace that abstract names belong to.
func Address(setting string) string {
	if setting != "" {
		return setting
	}
	return fmt.Sprintf("@graceinit-%d", procfs.PIDNamespace())
}

func abstract(address string) bool { return strings.HasPrefix(address, "@") }

func sockaddr(address string) (*unix.SockaddrUnix, error) {
	if longest := len(unix.RawSockaddrUnix{}.Path) - 1; len(address) > longest {
		return nil, fmt.Errorf("the name is longer than %d bytes (unix(7))", longest)
	}
	return &unix.SockaddrUnix{Name: address}, nil
}

func newSocket() (int, error) {
	return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
}

// connect returns a connected socket. Where the server's queue is full, connect(2) does not wait, as the socket
// is non-blocking, but answers EAGAIN.
func connect(address string) (int, error) {
	sa, err := sockaddr(address)
	if err != nil {
		return -1, err
	}
	fd, err := newSocket()
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, sa); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// open returns a listening socket at the address.
func open(address string) (int, error) {
	url := "unix://" + address
	if !abstract(address) {
		url += ",mode=0600"
	}
	spec, err := listen.Parse(url)
	if err != nil {
		return -1, err
	}
	l, err := spec.Open()
	if err != nil {
		return -1, err
	}
	return l.FD, unix.SetNonblock(l.FD, true)
}

// receive reads once: text into b, and the fds that came with it, close-on-exec. Zero bytes are the end.
func receive(conn *os.File, b []byte) (n int, fds []int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	// Room for two: one is expected, and a second says that there were too many. The kernel closes the rest.
	control := make([]byte, unix.CmsgSpace(2*4))
	var controlLen, flags int
	var recvErr error
	err = raw.Read(func(fd uintptr) bool {
		n, controlLen, flags, _, recvErr = unix.Recvmsg(int(fd), b, control, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(recvErr, unix.EAGAIN)
	})
	if err == nil {
		err = recvErr
	}
	if err != nil {
		return 0, nil, err
	}
	fds, err = fdsIn(control[:controlLen])
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = errTruncated
	}
	if err != nil {
		closeAll(fds)
		return 0, nil, err
	}
	return n, fds, nil
}

var errTruncated = errors.New("too many file descriptors came along, or there was no room for one (RLIMIT_NOFILE)")

func fdsIn(control []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if more, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, more...)
		}
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// awaitHangUp returns when the other side has closed the socket, or sent what nobody asked for. A client that
// only closes its sending half (as nc and socat do at the end of their input) still wants its answer.
func awaitHangUp(conn *os.File) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, err := unix.Poll(poll, 0)
		for errors.Is(err, unix.EINTR) { // also where it does not wait, if a signal is pending
			_, err = unix.Poll(poll, 0)
		}
		if err != nil || poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
			return true
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return false
		}
		// POLLIN is either data or the end of the sending half, on which recv answers 0.
		var n int
		n, _, err = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return err != nil || n > 0
	})
}
