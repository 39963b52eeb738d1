// Package notify receives what an app says of itself by sd_notify(3): a datagram of NAME=VALUE lines to
// the socket named in NOTIFY_SOCKET.
package notify

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Message is what one datagram said. Names that mean nothing here are passed over, as systemd does.
type Message struct {
	Sender  int    // pid of the sender in our PID namespace, vouched for by the kernel (SCM_CREDENTIALS)
	Ready   bool   // READY=1: start-up has finished
	MainPID int    // MAINPID=: the process that is the app from now on, or zero
	Status  string // STATUS=: a line for people
}

// MaxSize is the size up to which a datagram is read; a longer one is dropped whole, since its last line
// may be cut. systemd reads one page.
const MaxSize = 4096

// Parse reads the text of a datagram. A line that is not NAME=VALUE is passed over, as systemd does; a value
// that is not what its name demands makes the whole datagram an error.
func Parse(text []byte) (Message, error) {
	var m Message
	for line := range bytes.Lines(text) {
		name, value, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("="))
		if !ok {
			continue
		}
		switch string(name) {
		case "READY":
			m.Ready = string(value) == "1"
		case "STATUS":
			m.Status = string(value)
		case "MAINPID":
			pid, err := strconv.ParseUint(string(value), 10, 31)
			if err != nil || pid < 2 {
				return Message{}, fmt.Errorf("notification MAINPID=%.20q is not a pid", value)
			}
			m.MainPID = int(pid)
		}
	}
	return m, nil
}

// Socket receives datagrams.
type Socket struct {
	Path string // the value for NOTIFY_SOCKET
	file *os.File
}

// Listen opens an abstract socket (unix(7)), which needs no writable file system. Its name carries the
// number of the PID namespace and our pid, since containers may share a network namespace.
func Listen() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the notification socket: %w", err)
	}
	var st unix.Stat_t
	_ = unix.Stat("/proc/self/ns/pid", &st) // without /proc the pid has to do
	path := fmt.Sprintf("@graceinit-notify-%d-%d", st.Ino, os.Getpid())
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1),
		unix.Bind(fd, &unix.SockaddrUnix{Name: path}),
	); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot open the notification socket %s: %w", path, err)
	}
	return &Socket{Path: path, file: os.NewFile(uintptr(fd), path)}, nil
}

// Close ends Receive.
func (s *Socket) Close() error { return s.file.Close() }

// Receive waits for the next datagram. An error that is not os.ErrClosed concerns that datagram only. look is
// called with the sender's pid before the datagram's fds are closed: a sender that waits for that (BARRIER=1)
// is then still there to be looked at.
func (s *Socket) Receive(look func(sender int)) (Message, error) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return Message{}, err
	}
	text, control := make([]byte, MaxSize), make([]byte, 512)
	var n, oobn, flags int
	var recvErr error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, flags, _, recvErr = unix.Recvmsg(int(fd), text, control, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(recvErr, unix.EAGAIN) && !errors.Is(recvErr, unix.EINTR)
	})
	if err != nil {
		return Message{}, os.ErrClosed
	}
	if recvErr != nil {
		return Message{}, fmt.Errorf("cannot receive a notification: %w", recvErr)
	}
	sender, err := senderOf(control[:oobn], look)
	if err != nil {
		return Message{}, err
	}
	if flags&unix.MSG_TRUNC != 0 {
		return Message{}, fmt.Errorf("notification of pid %d is longer than %d bytes", sender, MaxSize)
	}
	m, err := Parse(text[:n])
	m.Sender = sender
	return m, err
}

// senderOf returns the pid in the control messages, has it looked at, and closes every fd in them. Closing is
// all that BARRIER=1 asks for, and an fd that came uninvited must not pile up.
func senderOf(control []byte, look func(int)) (pid int, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, fmt.Errorf("cannot receive a notification: %w", err)
	}
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			pid = int(cred.Pid)
		}
	}
	if pid != 0 {
		look(pid)
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
	}
	if pid == 0 {
		return 0, fmt.Errorf("notification from outside the container dropped: %w", syscall.EPERM)
	}
	return pid, nil
}
