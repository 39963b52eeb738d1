package upgrades

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/demo/pidns"
)

// The load is an open loop: requests are due at a fixed rate, whatever has become of those before, and the latency of
// each counts from the moment it was due. A server that stalls is charged for every request that would have come
// meanwhile (no coordinated omission). Each request is written once: what test/container/load says of failures and of
// requests that cross the close of an idle connection is so here too.
//
// That package's load is not open: it leaves out what it was too late for, and counts from the writing.
const (
	keepAliveRate  = 1000 // a second
	keepAliveConns = 48
	freshRate      = 500
	answerLimit    = 15 * time.Second
)

// sample is what became of one request.
type sample struct {
	Due     time.Duration // since the load began
	Took    time.Duration // since it was due
	PID     int
	Err     string // empty: answered
	Crossed bool   // not one byte came back on a connection that had been used before: it can have crossed the close
}

type load struct {
	servers []netip.AddrPort
	began   time.Duration // on CLOCK_MONOTONIC
	quit    chan struct{}
	wg      sync.WaitGroup

	mu      sync.Mutex
	samples []sample
}

func startLoad(servers []netip.AddrPort) *load {
	l := &load{servers: servers, began: pidns.Monotonic(), quit: make(chan struct{})}
	kept := make(chan time.Duration, 1<<16) // more than are due in answerLimit
	for i := range keepAliveConns {
		l.wg.Go(func() {
			c := client{server: servers[i%len(servers)]}
			defer c.close()
			for due := range kept {
				l.do(&c, due)
			}
		})
	}
	l.wg.Go(func() {
		defer close(kept)
		l.dispatch(kept)
	})
	return l
}

// dispatch hands out the requests when they are due. It sleeps in the kernel on a thread of its own: the runtime's timers
// come up to a millisecond late.
func (l *load) dispatch(kept chan<- time.Duration) {
	runtime.LockOSThread()
	// The thread must not end: helpers may have been started by it, and would die with it.
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	const keepEvery, freshEvery = time.Second / keepAliveRate, time.Second / freshRate
	nextKept, nextFresh := keepEvery, freshEvery+keepEvery/2
	for i := 0; ; {
		due := min(nextKept, nextFresh)
		at := unix.NsecToTimespec(int64(l.began + due))
		for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &at, nil) == unix.EINTR {
		}
		select {
		case <-l.quit:
			return
		default:
		}
		if due == nextKept {
			nextKept += keepEvery
			kept <- due
			continue
		}
		nextFresh += freshEvery
		server := l.servers[i%len(l.servers)]
		i++
		l.wg.Go(func() {
			c := client{server: server, once: true}
			l.do(&c, due)
			c.close()
		})
	}
}

func (l *load) do(c *client, due time.Duration) {
	pid, err := c.ask()
	s := sample{Due: due, Took: l.since() - due, PID: pid}
	if err != nil {
		s.Err, s.Crossed = err.Error(), errors.Is(err, errCrossed)
	}
	l.mu.Lock()
	l.samples = append(l.samples, s)
	l.mu.Unlock()
}

func (l *load) since() time.Duration { return pidns.Monotonic() - l.began }

// stop waits for the last answer.
func (l *load) stop() []sample {
	close(l.quit)
	l.wg.Wait()
	return l.samples
}

// client asks over one connection at a time.
type client struct {
	server netip.AddrPort
	once   bool // a connection for every request

	conn *net.TCPConn
	in   *bufio.Reader
	used bool
}

var errCrossed = errors.New("the connection was closed")

func request(last bool) string {
	if last {
		return "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
	}
	return "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
	c.conn = nil
}

func (c *client) dial() error {
	conn, err := net.DialTimeout("tcp", c.server.String(), answerLimit)
	if err != nil {
		return err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("%T is no TCP connection", conn)
	}
	c.conn, c.in, c.used = tcp, bufio.NewReader(tcp), false
	return nil
}

// ask sends a request and returns the pid that answered. An idle connection that the server is seen to have closed is
// replaced first: nothing was written to it, so nothing is sent twice.
func (c *client) ask() (pid int, err error) {
	if c.conn != nil && c.ended() {
		c.close()
	}
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return 0, err
		}
	}
	_ = c.conn.SetDeadline(time.Now().Add(answerLimit))
	used := c.used
	c.used = true
	if _, err = io.WriteString(c.conn, request(c.once)); err == nil {
		_, err = c.in.Peek(1)
	}
	if err != nil {
		c.close()
		if used && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
			err = fmt.Errorf("%w: %w", errCrossed, err)
		}
		return 0, err
	}
	pid, last, err := c.answer()
	if err != nil || last || c.once {
		c.close()
	}
	return pid, err
}

func (c *client) answer() (pid int, last bool, err error) {
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, false, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, false, err
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(string(body)), "pid ")
	if pid, err = strconv.Atoi(number); err != nil || !ok || resp.StatusCode != http.StatusOK {
		return 0, false, fmt.Errorf("%s: no pid in %.80q", resp.Status, body)
	}
	return pid, resp.Close, nil
}

// ended looks, without waiting, whether the server has closed the idle connection.
func (c *client) ended() bool {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ended = !errors.Is(err, unix.EAGAIN) // the end, an error, or bytes that nobody asked for
	})
	return ended || err != nil
}
