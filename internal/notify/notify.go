// Package notify receives what an app says of itself by sd_notify(3): a datagram of NAME=VALUE lines to
// the socket named in NOTIFY_SOCKET.
package notify

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/listen"
	"github.com/graceinit/graceinit/internal/procfs"
)

// Message is what one datagram said, by the names of sd_notify(3). Names that mean nothing here are passed over, as
// systemd does.
type Message struct {
	Sender int   // pid of the sender in our PID namespace, vouched for by the kernel (SCM_CREDENTIALS)
	FDs    []int // came along; the receiver owns them, and a sender of BARRIER=1 waits until they are closed

	Ready, Reloading, Stopping bool
	MainPID                    int    // the process that is the app from now on, or zero
	Status                     string // a line for people
	Errno                      int    // why the app fails, or zero
	Watchdog                   Watchdog
	WatchdogInterval           time.Duration // WATCHDOG_USEC=, or zero
	ExtendTimeout              time.Duration // EXTEND_TIMEOUT_USEC=: the current step may last so long from now on
	FDStore, FDStoreRemove     bool
	FDName                     string // valid; "stored" where none was given
}

// Watchdog is what a WATCHDOG= line says.
type Watchdog uint8

const (
	WatchdogSilent  Watchdog = iota
	WatchdogAlive            // WATCHDOG=1
	WatchdogTrigger          // WATCHDOG=trigger: act as if the app had been silent for too long
)

// MaxSize is the size up to which a datagram is read; a longer one is dropped whole, since its last line
// may be cut. systemd reads one page.
const MaxSize = 4096

// Parse reads the text of a datagram. A line that is not NAME=VALUE is passed over, as systemd does; a value
// that is not what its name demands makes the whole datagram an error.
func Parse(text []byte) (Message, error) {
	m := Message{FDName: "stored"}
	for line := range bytes.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		if !ok {
			continue
		}
		if err := m.set(name, value); err != nil {
			return Message{}, fmt.Errorf("notification %s=%.20q %w", name, value, err)
		}
	}
	return m, nil
}

func (m *Message) set(name, value string) (err error) {
	var n uint64
	switch name {
	case "READY":
		m.Ready = value == "1"
	case "RELOADING":
		m.Reloading = value == "1"
	case "STOPPING":
		m.Stopping = value == "1"
	case "STATUS":
		m.Status = value
	case "MAINPID":
		n, err = number(value, 2, math.MaxInt32, "pid")
		m.MainPID = int(n)
	case "ERRNO":
		n, err = number(value, 0, math.MaxInt16, "errno")
		m.Errno = int(n)
	case "WATCHDOG":
		switch value {
		case "1":
			m.Watchdog = WatchdogAlive
		case "trigger":
			m.Watchdog = WatchdogTrigger
		}
	case "WATCHDOG_USEC":
		n, err = number(value, 1, maxMicroseconds, "number of microseconds")
		m.WatchdogInterval = time.Duration(n) * time.Microsecond
	case "EXTEND_TIMEOUT_USEC":
		n, err = number(value, 0, maxMicroseconds, "number of microseconds")
		m.ExtendTimeout = time.Duration(n) * time.Microsecond
	case "FDSTORE":
		m.FDStore = value == "1"
	case "FDSTOREREMOVE":
		m.FDStoreRemove = value == "1"
	case "FDNAME":
		if !validFDName(value) {
			return errors.New("is not a name for an fd (up to 255 printable characters without a colon)")
		}
		m.FDName = value
	}
	return err
}

// maxMicroseconds is a year: no app means more, and it overflows nothing.
const maxMicroseconds = uint64(365 * 24 * time.Hour / time.Microsecond)

func number(value string, least, most uint64, what string) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("is not a %s", what)
	}
	return n, nil
}

// validFDName is sd_listen_fds_with_names(3)'s rule: the names are passed on with colons between them.
func validFDName(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return len(name) <= 255
}

// Socket receives datagrams.
type Socket struct {
	Path string // the value for NOTIFY_SOCKET
	file *os.File

	text    [MaxSize]byte
	control [2048]byte // credentials and maxFDs fds
}

// Listen opens the socket at an address: a path, or @name in the abstract namespace (unix(7)). The empty address
// means a path below /dev/shm, which engines mount even where the rest is read-only, since there are apps that take
// every NOTIFY_SOCKET for a path and end where it is none (Ruby's sd_notify, and so puma); where that cannot be had,
// an abstract name. Both carry the number of the PID namespace and our pid, since containers may share them.
func Listen(address string) (*Socket, error) {
	if address != "" {
		return open(address)
	}
	name := fmt.Sprintf("graceinit-notify-%d-%d", procfs.PIDNamespace(), os.Getpid())
	if s, err := open("/dev/shm/" + name); err == nil {
		return s, nil
	}
	return open("@" + name)
}

func open(address string) (*Socket, error) {
	url := "unixgram://" + address
	if address[0] == '/' {
		url += ",mode=0666" // whoever may speak is told by their place in the process tree
	}
	spec, err := listen.Parse(url)
	if err != nil {
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	l, err := spec.Open()
	if err == nil {
		err = errors.Join(unix.SetNonblock(l.FD, true), unix.SetsockoptInt(l.FD, unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
	}
	if err != nil {
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	return &Socket{Path: address, file: os.NewFile(uintptr(l.FD), address)}, nil
}

// Close ends Receive and removes the socket's file.
func (s *Socket) Close() error {
	if s.Path[0] == '/' {
		_ = os.Remove(s.Path)
	}
	return s.file.Close()
}

// Receive waits for the next datagram. An error that is not os.ErrClosed concerns that datagram only.
func (s *Socket) Receive() (Message, error) {
	awaitDiscarder()
	raw, err := s.file.SyscallConn()
	if err != nil {
		return Message{}, err
	}
	var n, oobn, flags int
	var recvErr error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, flags, _, recvErr = unix.Recvmsg(int(fd), s.text[:], s.control[:], unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(recvErr, unix.EAGAIN) && !errors.Is(recvErr, unix.EINTR)
	})
	if err != nil {
		return Message{}, os.ErrClosed
	}
	if recvErr != nil {
		return Message{}, fmt.Errorf("cannot receive a notification: %w", recvErr)
	}
	sender, fds, err := parseControl(s.control[:oobn])
	var m Message
	switch {
	case err != nil:
	case sender == 0:
		err = fmt.Errorf("notification from outside the container dropped: %w", syscall.EPERM)
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = fmt.Errorf("notification of pid %d dropped: longer than %d bytes or with more than %d fds", sender, MaxSize, maxFDs)
	default:
		m, err = Parse(s.text[:n])
	}
	if err != nil {
		Discard(fds) // an fd that came uninvited must not pile up
		return Message{}, err
	}
	m.Sender, m.FDs = sender, fds
	return m, nil
}

// maxFDs is SCM_MAX_FD, the most that one datagram can carry (unix(7)).
const maxFDs = 253

// parseControl returns the sender's pid, zero where it cannot be seen from here, and all fds that came along.
func parseControl(control []byte) (pid int, fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot receive a notification: %w", err)
	}
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			pid = int(cred.Pid)
		}
		if rights, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, rights...)
		}
	}
	return pid, fds, nil
}

// Send sends a datagram to a notification socket, as sd_notify(3) does. It never blocks. An empty path is no error:
// nobody listens.
func Send(path, text string) error {
	if path == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot notify %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, []byte(text), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: path}); err != nil {
		return fmt.Errorf("cannot notify %s: %w", path, err)
	}
	return nil
}
