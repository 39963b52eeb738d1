//go:build linux

package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxLine bounds what a client reads: a Status has a few hundred bytes, and some for each listener.
const maxLine = 1 << 20

// Client is a connection to an init, for one request.
type Client struct {
	PID     int // the init's in our PID namespace, zero where that cannot see it
	address string
	conn    *os.File
	text    []byte // received, not yet returned
}

// Dial connects to the init at an address as Address takes it.
func Dial(setting string) (*Client, error) {
	address := Address(setting)
	fd, err := connect(address)
	// EAGAIN: the queue is full. It moves fast, or not at all.
	for deadline := time.Now().Add(patience); errors.Is(err, unix.EAGAIN) && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
		fd, err = connect(address)
	}
	if err != nil {
		return nil, fmt.Errorf("no graceinit answers at %s: %w (is it PID 1 of this container, with the same "+
			"GRACEINIT_CONTROL or --control as here?)", address, err)
	}
	c := &Client{address: address, conn: os.NewFile(uintptr(fd), address)}
	server, err := peerOf(c.conn)
	if err == nil {
		err = believable(server, address)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("what answers at %s is not believed: %w", address, err)
	}
	c.PID = int(server.Pid)
	return c, nil
}

// believable: an abstract name is anybody's who takes it first, also in another container of the network
// namespace. An init is seen by who is in its PID namespace, and runs as root or as we do, unless we are root.
func believable(server *unix.Ucred, address string) error {
	us := os.Geteuid()
	switch {
	case abstract(address) && server.Pid == 0:
		return errors.New("it is outside of this container")
	case us != 0 && server.Uid != 0 && int(server.Uid) != us:
		return fmt.Errorf("it runs as uid %d, which is neither root nor ours", server.Uid)
	}
	return nil
}

// Send sends the request, and the binary along with it where it has one.
func (c *Client) Send(ask Ask, binary int) error {
	line, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	var rights []byte
	if ask.Binary {
		rights = unix.UnixRights(binary)
	}
	if len(line) > maxAsk {
		return fmt.Errorf("the request is longer than %d bytes", maxAsk)
	}
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return err
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		// The whole line has room in the queue of a new socket, so that nothing is sent in part.
		sendErr = unix.Sendmsg(int(fd), line, rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	err = errors.Join(err, sendErr)
	if err == nil || errors.Is(err, unix.EPIPE) {
		return nil // refused without having been asked: Next says why
	}
	return fmt.Errorf("cannot send to the graceinit at %s: %w", c.address, err)
}

// Next returns the next line, and io.EOF behind the last. It waits for as long as it is told, zero being for ever;
// os.ErrDeadlineExceeded then says that nothing has come yet.
func (c *Client) Next(wait time.Duration) (Line, error) {
	var deadline time.Time
	if wait > 0 {
		deadline = time.Now().Add(wait)
	}
	_ = c.conn.SetReadDeadline(deadline)
	chunk := make([]byte, 4096)
	for {
		if text, rest, complete := bytes.Cut(c.text, []byte("\n")); complete {
			var line Line
			if err := json.Unmarshal(text, &line); err != nil {
				return Line{}, fmt.Errorf("the graceinit at %s says what this version does not understand: %w", c.address, err)
			}
			c.text = rest
			return line, nil
		}
		if len(c.text) > maxLine {
			return Line{}, fmt.Errorf("the graceinit at %s sends a line of more than %d bytes", c.address, maxLine)
		}
		n, err := c.conn.Read(chunk)
		c.text = append(c.text, chunk[:n]...)
		switch {
		case err == nil, errors.Is(err, unix.EINTR):
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF):
			return Line{}, err
		case errors.Is(err, unix.ECONNRESET): // it closed the connection without having read our request
			return Line{}, io.EOF
		default:
			return Line{}, fmt.Errorf("cannot read from the graceinit at %s: %w", c.address, err)
		}
	}
}

// Close ends the connection, which changes nothing for the init.
func (c *Client) Close() { _ = c.conn.Close() }
