//go:build linux

package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Request is what a client asks the loop for.
type Request struct {
	Op Op
	// Binary is a sealed memfd to execute, which belongs to the receiver, or -1 where none was sent.
	Binary int
	// Digest is the binary's SHA-256 in hexadecimal, and Signed the trusted comment of its signature, if that
	// was verified. For the log.
	Digest, Signed string
	Refused        error // what is wrong with the binary; the receiver says so and does nothing else
	PID, UID       int   // who asks; pid 0 is outside of our PID namespace

	ask  Ask
	gone chan struct{} // closed when the client has gone
	once sync.Once     // closes it

	mu     sync.Mutex
	queue  chan []byte
	closed bool
}

// readAsk reads a client's line, which must come within the time given. The fds that it returns with an error are the caller's to close; without one
// they are those in the request.
func readAsk(conn *os.File, within time.Duration) (*Request, []int, error) {
	_ = conn.SetReadDeadline(time.Now().Add(within))
	var text []byte
	var fds []int
	chunk := make([]byte, 4096)
	for {
		n, more, err := receive(conn, chunk)
		fds = append(fds, more...)
		text = append(text, chunk[:n]...)
		line, rest, complete := bytes.Cut(text, []byte("\n"))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fds, fmt.Errorf("no complete request came within %s", within)
		case err != nil:
			return nil, fds, fmt.Errorf("cannot receive the request: %w", err)
		case len(fds) > 1:
			return nil, fds, errors.New("more than one file descriptor came along")
		case len(line) > maxAsk:
			return nil, fds, fmt.Errorf("the request is longer than %d bytes", maxAsk)
		case n == 0:
			return nil, fds, errors.New("the request has no end: a line ends with a newline")
		case complete && len(rest) > 0:
			return nil, fds, errors.New("something follows the request: a connection is for one")
		case complete:
			_ = conn.SetReadDeadline(time.Time{})
			r, err := newRequest(line, fds)
			return r, fds, err
		}
	}
}

func newRequest(line []byte, fds []int) (*Request, error) {
	ask, err := parseAsk(line)
	switch {
	case err != nil:
		return nil, err
	case ask.Binary && len(fds) == 0:
		return nil, errors.New("no file descriptor came along with the request, but it has a binary")
	case !ask.Binary && len(fds) > 0:
		return nil, errors.New("a file descriptor came along with a request that has no binary")
	}
	r := &Request{Op: ask.Op, Binary: -1, ask: ask, gone: make(chan struct{}), queue: make(chan []byte, maxQueue)}
	if ask.Binary {
		r.Binary = fds[0]
	}
	return r, nil
}

// parseAsk reads a request strictly: what we would pass over could be what mattered to whoever wrote it.
func parseAsk(line []byte) (Ask, error) {
	var ask Ask
	if err := decodeStrictly(line, &ask); err != nil {
		return Ask{}, fmt.Errorf("the request cannot be understood: %w", err)
	}
	switch ask.Op {
	case OpStatus, OpWatch, OpUpgrade, OpRollback, OpStop:
	default:
		return Ask{}, fmt.Errorf("the request cannot be understood: there is no op %.40q", ask.Op)
	}
	ask.SHA256 = strings.ToLower(ask.SHA256)
	if err := CheckDigest(ask.SHA256); ask.SHA256 != "" && err != nil {
		return Ask{}, fmt.Errorf("sha256 %w", err)
	}
	switch {
	case ask.Binary && ask.Op != OpUpgrade:
		return Ask{}, fmt.Errorf("a binary means nothing to op %q", ask.Op)
	case !ask.Binary && ask.SHA256+ask.Signature != "":
		return Ask{}, errors.New("a digest or a signature means nothing without a binary")
	}
	return ask, nil
}

// CheckDigest says whether the text can be a SHA-256.
func CheckDigest(text string) error {
	if len(text) != 64 || strings.Trim(text, "0123456789abcdefABCDEF") != "" {
		return fmt.Errorf("%.70q is not 64 hexadecimal digits", text)
	}
	return nil
}

// Send sends a line to the client. It does not wait: a client that does not read its lines is dropped when the
// queue is full, and one that has gone gets none.
func (r *Request) Send(line Line) {
	text, err := json.Marshal(line)
	if err != nil {
		text, _ = json.Marshal(Line{Error: &Error{Reason: err.Error(), ExitCode: CodeFailed}}) // a NaN
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.Gone() {
		return
	}
	select {
	case r.queue <- append(text, '\n'):
	default:
		r.hangUp()
	}
}

// Close ends the answer: what was sent goes out, in the background, and then the connection is closed.
func (r *Request) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		close(r.queue)
	}
}

// Done is closed when nobody is there for the answer any more. The request stands all the same.
func (r *Request) Done() <-chan struct{} { return r.gone }

// Gone reports whether nobody is there for the answer any more.
func (r *Request) Gone() bool {
	select {
	case <-r.gone:
		return true
	default:
		return false
	}
}

func (r *Request) hangUp() { r.once.Do(func() { close(r.gone) }) }

// answer writes the lines until the answer ends, the client goes, or the server is closed.
func (r *Request) answer(conn *os.File, closed <-chan struct{}) {
	for {
		select {
		case line, more := <-r.queue:
			if !more {
				return
			}
			_ = conn.SetWriteDeadline(time.Now().Add(patience))
			if _, err := conn.Write(line); err != nil {
				return
			}
		case <-r.gone:
			return
		case <-closed:
			r.Close() // what is in the queue still goes out
			closed = nil
		}
	}
}
