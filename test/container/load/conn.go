package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"syscall"
	"time"
)

// conn is a connection to the server with what is needed to judge its end.
type conn struct {
	*net.TCPConn
	br   *bufio.Reader
	got  int64 // bytes of response received over the connection's life
	uses int
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.got += int64(n)
	return n, err
}

func (c *conn) close() {
	if c != nil {
		_ = c.TCPConn.Close()
	}
}

// ended looks, without waiting or taking anything, whether the server has closed the idle connection.
func (c *conn) ended() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		case err != nil, n == 0:
			ended = true
		}
		return true
	})
	return ended || err != nil
}

// exchange is one request.
type exchange struct {
	kind     Kind
	addr     string
	device   string
	path     string
	deadline time.Time
	pid      *regexp.Regexp
}

// perform writes the request once and reads the response. The connection comes back if it may be used again.
func (x exchange) perform(ctx context.Context, c *conn) (_ *conn, pid string, err error) {
	defer func() {
		if err != nil {
			c.close()
			c = nil
		}
	}()
	if c == nil {
		if c, err = dial(ctx, x.addr, x.device, x.deadline); err != nil {
			return c, "", &Failure{Stage: "connect", Reason: err.Error(), when: time.Now(), cause: err}
		}
	}
	reused := c.uses > 0
	c.uses++
	_ = c.SetDeadline(x.deadline)
	// Interrupts reads and writes when the load is cut.
	cut := context.AfterFunc(ctx, func() { _ = c.TCPConn.SetDeadline(time.Unix(1, 0)) })
	defer cut()

	before := c.got
	fail := func(stage string, err error) error {
		f := &Failure{Stage: stage, Reason: err.Error(), Reused: reused, when: time.Now(), cause: err}
		f.Crossed = reused && c.got == before && (ended(err) || reset(err))
		f.Unread = f.Crossed && c.unread(err)
		return f
	}

	connection := "keep-alive"
	if x.kind != KeepAlive {
		connection = "close"
	}
	req := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\nUser-Agent: graceinit-load\r\n\r\n",
		x.path, x.addr, connection)
	if _, err := io.WriteString(c.TCPConn, req); err != nil {
		return c, "", fail("write", err)
	}
	// Of net/http only the parser is used: it has no connection to dial and so nothing to retry.
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return c, "", fail("response", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return c, "", fail("body", err)
	}
	if resp.StatusCode != http.StatusOK {
		return c, "", fail("status", fmt.Errorf("status %s: %.80q", resp.Status, body))
	}
	m := x.pid.FindSubmatch(body)
	if len(m) < 2 {
		return c, "", fail("body", fmt.Errorf("no pid in %.80q", body))
	}
	if resp.Close || x.kind != KeepAlive {
		c.close()
		if x.kind == KeepAlive {
			return nil, string(m[1]), nil
		}
	}
	return c, string(m[1]), nil
}

func dial(ctx context.Context, addr, device string, deadline time.Time) (*conn, error) {
	d := net.Dialer{Deadline: deadline}
	if device != "" {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			if cerr := raw.Control(func(fd uintptr) { err = syscall.BindToDevice(int(fd), device) }); cerr != nil {
				return cerr
			}
			return err
		}
	}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("%T is no TCP connection", nc)
	}
	c := &conn{TCPConn: tcp}
	c.br = bufio.NewReader(c)
	return c, nil
}

// unread tells whether the peer's kernel has reset the connection. Linux does so when the socket was closed before
// the request arrived, or with the request still in its queue (net/ipv4/tcp.c, tcp_close): no process has read it.
// Where the end of the stream came first, the reset is a moment behind it.
func (c *conn) unread(err error) bool {
	if reset(err) {
		return true
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	for deadline := time.Now().Add(300 * time.Millisecond); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		var errno int
		if raw.Control(func(fd uintptr) {
			errno, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		}) != nil {
			return false
		}
		if errno != 0 {
			return reset(syscall.Errno(errno))
		}
	}
	return false
}

func reset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// Get performs one request on a connection of its own and returns the pid that answered. Of cfg it uses Addr, Device,
// FastPath and PID.
func Get(ctx context.Context, cfg Config, timeout time.Duration) (pid string, err error) {
	cfg = cfg.withDefaults()
	x := exchange{
		kind: Fresh, addr: cfg.Addr, device: cfg.Device, path: cfg.FastPath, pid: cfg.PID,
		deadline: time.Now().Add(timeout),
	}
	c, pid, err := x.perform(ctx, nil)
	c.close()
	return pid, err
}
