//go:build linux

package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/minisign"
)

// Limits. Whoever reaches one gets an Error that names it.
const (
	maxConnections = 16
	maxNotRoot     = 12 // of them, so that an app which runs with our uid leaves some to root
	maxAsk         = 64 << 10
	maxQueue       = 64 // lines that wait for a slow client
	patience       = 5 * time.Second
)

// Server accepts clients and hands their requests to the loop.
type Server struct {
	Address string // where it listens, as clients write it

	key      *minisign.PublicKey
	file     *os.File
	requests chan *Request
	closed   chan struct{}

	mu          sync.Mutex
	connections int
	notRoot     int           // of connections
	answering   int           // how many answers Close waits for; grows only while closed is open
	answered    chan struct{} // closed when none is left, after closed

	checking sync.Mutex // held while a binary is read: one at a time
}

// Listen opens the control socket at an address as Address takes it. With a key, only a binary with a signature
// of that key is taken.
func Listen(setting string, key *minisign.PublicKey) (*Server, error) {
	address := Address(setting)
	fd, err := open(address)
	if errors.Is(err, unix.EADDRINUSE) {
		err = fmt.Errorf("%w; give each init its own (--control)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Server{
		Address:  address,
		key:      key,
		file:     os.NewFile(uintptr(fd), address),
		requests: make(chan *Request),
		closed:   make(chan struct{}),
		answered: make(chan struct{}),
	}
	return s, nil
}

// Requests are those that are well-formed and allowed. Whoever receives one has to answer it by Send and to end
// it by Close.
func (s *Server) Requests() <-chan *Request { return s.requests }

// Close ends the server. What was sent before still goes out, but nobody is waited for longer than a second.
func (s *Server) Close() {
	s.mu.Lock()
	close(s.closed)
	wait := s.answering > 0
	s.mu.Unlock()
	_ = s.file.Close()
	if !abstract(s.Address) {
		_ = os.Remove(s.Address)
	}
	if !wait {
		return
	}
	select {
	case <-s.answered:
	case <-time.After(time.Second):
	}
}

// Serve accepts clients until Close.
func (s *Server) Serve() {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		var fd int
		var acceptErr error
		err := raw.Read(func(listener uintptr) bool {
			fd, _, acceptErr = unix.Accept4(int(listener), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return !errors.Is(acceptErr, unix.EAGAIN)
		})
		if err != nil {
			return // closed
		}
		if acceptErr != nil {
			// The client has gone, or there are no fds or no memory (accept(2)). The latter passes, and clients
			// wait in the queue until it has.
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s.admit(os.NewFile(uintptr(fd), s.Address))
	}
}

// admit serves a client if it may talk to us and there is room for it. That is decided before it has said
// anything, so that others take no room.
func (s *Server) admit(conn *os.File) {
	peer, err := peerOf(conn)
	if err == nil {
		err = allowed(peer, s.Address)
	}
	if err == nil {
		err = s.enter(peer)
	}
	if err != nil {
		refuse(conn, err)
		_ = conn.Close()
		return
	}
	go func() {
		defer s.leave(peer)
		s.serve(conn, peer)
	}()
}

// peerOf says who connected, as the kernel noted at connect(2).
func peerOf(conn *os.File) (peer *unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return peer, errors.Join(controlErr, err)
}

// allowed: root and our own user, who could send us any signal as well. An abstract name is within reach of
// every container in the network namespace, root or not, so there the client must also have a pid in our PID
// namespace; others have pid 0 here (pid_namespaces(7)). At a path the file's mode says who may connect.
func allowed(peer *unix.Ucred, address string) error {
	switch {
	case abstract(address) && peer.Pid == 0:
		return errors.New("not allowed: from outside the container")
	case peer.Uid != 0 && int(peer.Uid) != os.Geteuid():
		return fmt.Errorf("not allowed: uid %d is neither root nor the init's user", peer.Uid)
	}
	return nil
}

func (s *Server) enter(peer *unix.Ucred) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connections == maxConnections || peer.Uid != 0 && s.notRoot == maxNotRoot {
		return fmt.Errorf("busy: %d clients are connected", s.connections)
	}
	s.connections++
	if peer.Uid != 0 {
		s.notRoot++
	}
	return nil
}

func (s *Server) leave(peer *unix.Ucred) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connections--
	if peer.Uid != 0 {
		s.notRoot--
	}
}

// serve carries one request to the loop and its answer back.
func (s *Server) serve(conn *os.File, peer *unix.Ucred) {
	defer conn.Close()
	defer survive(conn)
	r, fds, err := readAsk(conn, patience)
	defer func() { closeAll(fds) }()
	if err != nil {
		refuse(conn, err)
		return
	}
	r.PID, r.UID = int(peer.Pid), int(peer.Uid)
	go func() {
		defer r.hangUp()
		defer survive(conn)
		awaitHangUp(conn) // at the latest until conn is closed
	}()
	if r.Binary >= 0 {
		if err := s.check(r); err != nil {
			r.Binary, r.Refused = -1, fmt.Errorf("binary refused: %w", err)
		}
	}
	if s.begin() {
		defer s.end()
		select {
		case s.requests <- r:
			if r.Binary >= 0 {
				fds = nil // the loop's
			}
			r.answer(conn, s.closed)
			return
		case <-s.closed:
		}
	}
	refuse(conn, errors.New("the init is ending"))
}

// begin reports whether the server is open, and if so has Close wait for end.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return false
	default:
		s.answering++
		return true
	}
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answering--
	select {
	case <-s.closed:
		if s.answering == 0 {
			close(s.answered)
		}
	default:
	}
}

// survive keeps a mistake of ours from ending the init: a panic ends only the connection.
func survive(conn *os.File) {
	if v := recover(); v != nil {
		refuse(conn, fmt.Errorf("a mistake in graceinit: %v", v))
		_ = conn.Close()
	}
}

// refuse sends an Error if that is possible at once: the queue of a socket on which nothing was sent yet has
// room for it.
func refuse(conn *os.File, reason error) {
	line, err := json.Marshal(Line{Error: &Error{Reason: reason.Error(), ExitCode: CodeRefused}})
	if err != nil {
		return
	}
	_ = conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = conn.Write(append(line, '\n'))
}
