// Command fdstore is a TCP server whose open connections survive an upgrade. It answers every line with how many lines
// the connection has sent so far, and its generation: "17 2".
//
// The connections survive in the FD store of whoever runs it, graceinit or systemd (sd_notify(3), FDSTORE=1): asked to
// stop, it puts them there together with what it knows of them, and exits; its successor finds them among the fds that
// it inherits (sd_listen_fds(3)). So the predecessor has to be gone before the successor starts: that is a restart in
// systemd's words, and --stop-first in graceinit's. Meanwhile the listeners are held open, and clients wait.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

func main() {
	address := flag.String("listen", ":7000", "address to listen on where no listeners are passed (LISTEN_FDS)")
	flag.Parse()
	if err := run(*address); err != nil {
		log.Fatal(err)
	}
}

func run(address string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)

	store, err := openStore()
	if err != nil {
		return err
	}
	s := &server{conns: map[int]*conn{}}
	names, err := s.inherit(activation.Files(true))
	if err != nil {
		return err
	}
	// They leave the store before a line is read. Were this process to crash later, its successor must not take them up
	// with counts that have been overtaken.
	if err := store.remove(names); err != nil {
		return err
	}
	if len(s.listeners) == 0 {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, l)
	}
	log.Printf("generation %d: %d connections inherited", s.state.Generation, len(s.conns))
	s.start()
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}

	<-stop
	if _, err := daemon.SdNotify(false, daemon.SdNotifyStopping); err != nil {
		log.Print(err)
	}
	s.stop()
	if err := store.add(s.state, s.conns); err != nil {
		return fmt.Errorf("cannot store %d connections, they end here: %w", len(s.conns), err)
	}
	log.Printf("generation %d: %d connections stored", s.state.Generation, len(s.conns))
	return nil
}

// server serves the connections of one generation.
type server struct {
	listeners []net.Listener
	accepting sync.WaitGroup
	serving   sync.WaitGroup

	mu    sync.Mutex
	state state
	conns map[int]*conn // by id
}

// inherit takes the listeners and what the predecessor has stored, and returns the names in the store.
func (s *server) inherit(files []*os.File) (stored []string, err error) {
	byName := map[string]net.Conn{}
	for _, f := range files {
		defer f.Close() // net makes copies
		switch name := f.Name(); {
		case name == stateName:
			stored = append(stored, name)
			if err := s.state.read(f); err != nil {
				return nil, err
			}
			continue
		case strings.HasPrefix(name, connPrefix):
			stored = append(stored, name)
			if byName[name], err = net.FileConn(f); err != nil {
				return nil, fmt.Errorf("stored fd %q: %w", name, err)
			}
			continue
		}
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("inherited fd %q: %w", f.Name(), err)
		}
		s.listeners = append(s.listeners, l)
	}
	for _, c := range s.state.Conns {
		name := connName(c.ID)
		if c.Conn = byName[name]; c.Conn == nil { // closed by its client meanwhile; systemd then drops it
			continue
		}
		delete(byName, name)
		s.conns[c.ID] = c
	}
	for name, c := range byName {
		log.Printf("nothing is known of %s, closing it", name)
		c.Close()
	}
	s.state.Generation++
	s.state.Conns = nil
	return stored, nil
}

func (s *server) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		s.serve(c)
	}
	for _, l := range s.listeners {
		s.accepting.Go(func() { s.accept(l) })
	}
}

func (s *server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // EMFILE and the like: others will end
			log.Print(err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s.mu.Lock()
		s.state.LastID++
		accepted := &conn{Conn: c, ID: s.state.LastID}
		s.conns[accepted.ID] = accepted
		s.mu.Unlock()
		s.serve(accepted)
	}
}

func (s *server) serve(c *conn) {
	s.serving.Go(func() {
		if err := c.serve(s.state.Generation); errors.Is(err, os.ErrDeadlineExceeded) {
			return // stop wants it
		}
		c.Close()
		s.mu.Lock()
		delete(s.conns, c.ID)
		s.mu.Unlock()
	})
}

// stop ends all work. Nothing touches the connections when it returns.
func (s *server) stop() {
	for _, l := range s.listeners {
		l.Close() // ours only: the init's copy keeps the queue of those who connect now
	}
	s.accepting.Wait() // what was accepted is in conns
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.SetDeadline(time.Unix(1, 0)) // whatever fails here fails in serve too
	}
	s.mu.Unlock()
	s.serving.Wait()
}
