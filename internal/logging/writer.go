// Package logging writes the init's log in a way that can neither block nor kill the init.
package logging

import (
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/signals"
)

// Writer passes lines on to an fd from a thread of its own. When the reader of that fd does not keep up,
// lines are dropped and counted; when it is gone, they vanish.
type Writer struct {
	fd      int
	items   chan item
	start   sync.Once
	mu      sync.Mutex
	dropped int
}

// item is a line, or with done set a request to be told when all lines before it are written.
type item struct {
	line []byte
	done chan struct{}
}

// capacity is how many lines wait at most: enough for the busiest upgrade, little in memory.
const capacity = 256

// NewWriter returns a writer to the fd. Its thread starts with the first line.
func NewWriter(fd int) *Writer {
	return &Writer{fd: fd, items: make(chan item, capacity)}
}

// Write queues one line. It never blocks and never fails.
func (w *Writer) Write(line []byte) (int, error) {
	w.start.Do(func() { go w.run() })
	select {
	case w.items <- item{line: append([]byte(nil), line...)}:
	default:
		w.mu.Lock()
		w.dropped++
		w.mu.Unlock()
	}
	return len(line), nil
}

// Dropped returns how many lines were lost so far because nobody read them.
func (w *Writer) Dropped() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Flush waits until all queued lines are written, for at most the given time. It is the last call: what
// is written first after it is lost.
func (w *Writer) Flush(timeout time.Duration) {
	unused := false
	w.start.Do(func() { unused = true })
	if unused {
		return
	}
	deadline := time.After(timeout)
	done := make(chan struct{})
	select {
	case w.items <- item{done: done}:
	case <-deadline:
		return
	}
	select {
	case <-done:
	case <-deadline:
	}
}

func (w *Writer) run() {
	// SIGPIPE from a write, and SIGTTOU from a write to a terminal of which we are not in the foreground,
	// go to the writing thread. Blocked there, the one is never delivered and the other not even sent
	// (tty_ioctl(4), TOSTOP), and neither is mistaken for a signal that somebody sent to the app.
	runtime.LockOSThread()
	_ = signals.Block(syscall.SIGPIPE, syscall.SIGTTOU)
	for it := range w.items {
		if it.done != nil {
			close(it.done)
			continue
		}
		writeAll(w.fd, it.line)
	}
}

func writeAll(fd int, b []byte) {
	for len(b) > 0 {
		n, err := syscall.Write(fd, b)
		switch {
		case err == nil:
			b = b[n:]
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			// Somebody who shares the fd made it non-blocking.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		default:
			return
		}
	}
}
