package reaper

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/signals"
)

// Watcher tells when there is something to reap, without a SIGCHLD handler and without a timer, and reaps by
// itself what is left to it.
//
// It is a thread that blocks in waitid(2). It belongs to the process but not to the Go runtime, so that a death
// costs what it costs an init in C: a wake-up and two system calls. A goroutine in its place costs more than three times as
// much (entersyscall, sysmon, the hand-off of its processor), and stands in where there can be no such thread:
// on other architectures, or at the pids limit.
//
// A process has one Watcher.
type Watcher struct {
	// C is ready when a child is dead that is not left to the watcher, or when there are no children at all.
	// The receiver reaps what it wants and then calls Resume.
	C <-chan struct{}

	dead     chan struct{} // C
	threaded bool
	resume   chan struct{} // of the goroutine in the thread's place
}

// maxKept is how many processes can be kept from the watcher.
const maxKept = 8

// Watch returns the watcher, which begins its work with the first Resume: after the caller has started its first
// process.
func Watch() *Watcher {
	// With the runtime's handler every death would interrupt a thread for nothing; with an inherited SIG_IGN
	// the kernel would discard every status (wait(2), NOTES).
	_ = signals.Default(signals.Signal(syscall.SIGCHLD))
	dead := make(chan struct{})
	return &Watcher{C: dead, dead: dead}
}

// Resume asks for the next report.
func (w *Watcher) Resume() {
	switch {
	case w.threaded:
		theThread.resume()
	case w.resume != nil:
		w.resume <- struct{}{}
	default:
		w.begin()
	}
}

func (w *Watcher) begin() {
	if event, err := startThread(); err == nil {
		w.threaded = true
		go relay(event, w.dead)
		return
	}
	w.resume = make(chan struct{}, 1)
	w.resume <- struct{}{}
	go w.watch()
}

// Leave leaves every child to the watcher but those to be kept, until Take. Where it cannot do that it goes on reporting
// all of them.
func (w *Watcher) Leave(keep []int) {
	if w.threaded {
		theThread.leaveAllBut(keep)
	}
}

// Take makes the caller the only one to reap again. Whoever is dead or alive when it returns stays so: until
// Leave a pid that was not reaped cannot mean another process.
func (w *Watcher) Take() {
	if w.threaded {
		theThread.take()
	}
}

// Reaped is how many children the watcher has reaped by itself.
func (w *Watcher) Reaped() uint64 { return theThread.count() }

// relay reports what the thread reports.
func relay(fd int, dead chan<- struct{}) {
	event := os.NewFile(uintptr(fd), "eventfd")
	var count [8]byte
	for {
		if _, err := event.Read(count[:]); err != nil {
			// It could not be registered with the runtime's poller (ENOSPC: the user's epoll watches; ENOMEM), and
			// would never be heard of. It costs a thread to wait for it here.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			continue
		}
		dead <- struct{}{}
	}
}

// watch is the goroutine in the thread's place.
func (w *Watcher) watch() {
	runtime.LockOSThread() // the thread stays blocked; other goroutines should not be moved around it
	for range w.resume {
		awaitDeath()
		w.dead <- struct{}{}
	}
}

// awaitDeath returns when a child is dead, which it leaves for Reap, or when there is none (ECHILD).
func awaitDeath() {
	for {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}
