// Package logging writes the init's log in a way that can neither block nor kill the init.
package logging

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
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
	dropped atomic.Int64 // lines lost since the last one that was written
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
	it := item{line: append([]byte(nil), line...)}
	select {
	case w.items <- it:
		return len(line), nil
	default:
		runtime.Gosched() // where one thread runs Go the writer may not have had its turn
	}
	select {
	case w.items <- it:
	default:
		w.dropped.Add(1)
	}
	return len(line), nil
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
	// SIGPIPE from a write, SIGXFSZ from one beyond the file size limit and SIGTTOU from one to a terminal of
	// which we are not in the foreground go to the writing thread. Blocked there, the first two are never
	// delivered and the last is not even sent (tty_ioctl(4), TOSTOP), and none is mistaken for a signal that
	// somebody sent to the app.
	runtime.LockOSThread()
	_ = signals.Block(syscall.SIGPIPE, syscall.SIGTTOU, syscall.SIGXFSZ)
	for it := range w.items {
		if it.done != nil {
			close(it.done)
			continue
		}
		writeAll(w.fd, it.line)
		if n := w.dropped.Swap(0); n > 0 {
			writeAll(w.fd, fmt.Appendf(nil, "graceinit: %d log lines were lost: nobody read them in time\n", n))
		}
	}
}

func writeAll(fd int, b []byte) {
	for len(b) > 0 {
		n, err := syscall.Write(fd, b)
		switch err {
		case nil:
			b = b[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			// Somebody who shares the fd made it non-blocking.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		default:
			return
		}
	}
}
