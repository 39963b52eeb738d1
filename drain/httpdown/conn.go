package httpdown

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// listener accepts connections that know whether they have been silent.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// conn is a connection that knows whether it has been silent, and that can be closed on condition that it stays so.
// http.ConnState does not tell: it is StateIdle until net/http has read a whole head.
type conn struct {
	net.Conn

	mu      sync.Mutex
	heard   bool // bytes have come since it was new, or became idle
	framed  bool // TLS or HTTP/2: not all bytes are a request's
	closing bool // the next Read is to fail, unless bytes come before
}

// ownConn finds the conn below what net/http passes to its hooks, or nil.
func ownConn(c net.Conn) *conn {
	switch c := c.(type) {
	case *conn:
		return c
	case *tls.Conn:
		if own, ok := c.NetConn().(*conn); ok {
			own.mu.Lock()
			defer own.mu.Unlock()
			own.framed = true
			return own
		}
	}
	return nil
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		n, err = c.lastLook(b, err)
	}
	if n > 0 {
		c.hear(b[:n])
	}
	return n, err
}

func (c *conn) hear(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = true
	if bytes.HasPrefix(b, []byte("PRI * HTTP/2")) { // HTTP/2 without TLS (RFC 9113, 3.4)
		c.framed = true
	}
	if c.closing {
		c.closing = false
		_ = c.Conn.SetReadDeadline(time.Time{}) // net/http sets the one that it wants for the rest
	}
}

// becomeIdle is called where net/http begins to wait for the next request, by the goroutine that will read it.
func (c *conn) becomeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = false
}

// silent tells whether nothing has come since the connection was new or became idle or, where bytes may be anything,
// since this was asked before.
func (c *conn) silent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	heard := c.heard
	if c.framed {
		c.heard = false
	}
	return !heard
}

// closeIfSilent has a waiting Read fail, whereupon net/http closes the connection. Close would do so even to a request
// that Read is about to return.
func (c *conn) closeIfSilent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard || c.closing {
		return false
	}
	c.closing = true
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // fails on a closed connection, which is what is wanted
	return true
}

// SetReadDeadline is net/http's, which would undo closeIfSilent.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// lastLook reads what has arrived while closeIfSilent's deadline ended a Read. A deadline that has passed lets no Read
// through, so this asks the kernel itself; Go's sockets do not block.
func (c *conn) lastLook(b []byte, timeout error) (int, error) {
	c.mu.Lock()
	closing := c.closing
	c.mu.Unlock()
	sc, ok := c.Conn.(syscall.Conn)
	if !closing || !ok || len(b) == 0 {
		return 0, timeout
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, timeout
	}
	var n int
	if err := raw.Control(func(fd uintptr) { n, err = syscall.Read(int(fd), b) }); err != nil {
		return 0, timeout
	}
	if err != nil || n <= 0 {
		return 0, timeout // EAGAIN, or the end of the stream
	}
	return n, nil
}

// What follows keeps what net/http looks for in a *net.TCPConn: sendfile(2), and the half-close that lets a client read
// an error response while it is still sending.

func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// NetConn returns the connection that was accepted, as tls.Conn's does; for hooks that want a *net.TCPConn.
func (c *conn) NetConn() net.Conn { return c.Conn }
