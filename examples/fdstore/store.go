package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Names of what is stored.
const (
	stateName  = "state"
	connPrefix = "conn-"
)

func connName(id int) string { return connPrefix + strconv.Itoa(id) }

// store is the FD store of the manager at NOTIFY_SOCKET (sd_notify(3)). Package net sends no fds over a connected
// datagram socket, so this one is bare.
type store struct {
	fd      int
	manager *unix.SockaddrUnix // nil where there is none
}

func openStore() (store, error) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return store{}, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return store{}, fmt.Errorf("cannot open a socket for NOTIFY_SOCKET: %w", err)
	}
	return store{fd, &unix.SockaddrUnix{Name: path}}, nil
}

// add stores the connections and the state, and returns when they have arrived.
func (s store) add(st state, conns map[int]*conn) error {
	if s.manager == nil {
		return errors.New("NOTIFY_SOCKET is not set")
	}
	for _, c := range conns {
		st.Conns = append(st.Conns, c)
	}
	f, err := stateFile(st)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.send(f, "FDSTORE=1\nFDNAME="+stateName); err != nil {
		return err
	}
	// A name is for all fds of a message, so there is one for each connection.
	for _, c := range st.Conns {
		raw, ok := c.Conn.(syscall.Conn)
		if !ok {
			return fmt.Errorf("a %T has no fd", c.Conn)
		}
		if err := s.send(raw, "FDSTORE=1\nFDNAME="+connName(c.ID)); err != nil {
			return err
		}
	}
	return s.barrier()
}

// stateFile writes the state to a file that exists in memory only.
func stateFile(st state) (*os.File, error) {
	fd, err := unix.MemfdCreate(stateName, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot create a memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), stateName)
	if err := json.NewEncoder(f).Encode(st); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// remove takes fds out of the store, where they have arrived in another process, and returns when that is done.
func (s store) remove(names []string) error {
	if len(names) == 0 || s.manager == nil {
		return nil
	}
	for _, name := range names {
		if err := unix.Sendmsg(s.fd, []byte("FDSTOREREMOVE=1\nFDNAME="+name), nil, s.manager, unix.MSG_NOSIGNAL); err != nil {
			return fmt.Errorf("cannot notify the manager: %w", err)
		}
	}
	return s.barrier()
}

// send sends a message together with an fd, which stays open here too.
func (s store) send(from syscall.Conn, message string) error {
	raw, err := from.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		sendErr = unix.Sendmsg(s.fd, []byte(message), unix.UnixRights(int(fd)), s.manager, unix.MSG_NOSIGNAL)
	})
	if err := errors.Join(err, sendErr); err != nil {
		return fmt.Errorf("cannot notify the manager: %w", err)
	}
	return nil
}

// barrier returns when all that was sent before has been processed: the manager then closes the fd that comes along.
func (s store) barrier() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	err = s.send(w, "BARRIER=1")
	w.Close()
	if err != nil {
		return err
	}
	if err := r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the manager does not answer BARRIER=1: %w", err)
	}
	return nil
}
