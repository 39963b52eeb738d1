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
// costs what it costs an init in C: a wake-up and two system calls. A goroutine in its place costs three times as
// much (entersyscall, sysmon, the hand-off of its processor), and stands in where there can be no such thread:
// on other architectures, or at the pids limit.
//
// A process has one Watcher.
type Watcher struct {
	// C is ready when a child is dead that is not left to the watcher, or when there are no children at all.
	// The receiver reaps what it wants and then calls Resume.
	C <-chan struct{}

	resume chan struct{} // of the goroutine, nil where there is the thread
}

// maxKept is how many processes can be kept from the watcher.
const maxKept = 8

// Watch starts watching. The caller first calls Resume, after it has started its first process.
func Watch() *Watcher {
	// With the runtime's handler every death would interrupt a thread for nothing; with an inherited SIG_IGN
	// the kernel would discard every status (wait(2), NOTES).
	_ = signals.Default(signals.Signal(syscall.SIGCHLD))
	dead := make(chan struct{})
	w := &Watcher{C: dead}
	if event, err := startThread(); err == nil {
		go relay(event, dead)
	} else {
		w.resume = make(chan struct{}, 1)
		go w.watch(dead)
	}
	return w
}

// Resume asks for the next report.
func (w *Watcher) Resume() {
	if w.resume != nil {
		w.resume <- struct{}{}
	} else {
		theThread.resume()
	}
}

// Leave leaves every child to the watcher but those to be kept, until Take. Where it cannot do that it goes on reporting
// all of them.
func (w *Watcher) Leave(keep []int) {
	if w.resume == nil {
		theThread.leaveAllBut(keep)
	}
}

// Take makes the caller the only one to reap again. Whoever is dead or alive when it returns stays so: until
// Leave a pid that was not reaped cannot mean another process.
func (w *Watcher) Take() {
	if w.resume == nil {
		theThread.take()
	}
}

// Reaped is how many children the watcher has reaped by itself.
func (w *Watcher) Reaped() uint64 { return theThread.count() }

// relay reports what the thread reports.
func relay(event *os.File, dead chan<- struct{}) {
	var count [8]byte
	for {
		if _, err := event.Read(count[:]); err != nil {
			return // cannot happen: nobody closes it
		}
		dead <- struct{}{}
	}
}

// watch is the goroutine in the thread's place.
func (w *Watcher) watch(dead chan<- struct{}) {
	runtime.LockOSThread() // the thread stays blocked; other goroutines should not be moved around it
	for range w.resume {
		awaitDeath()
		dead <- struct{}{}
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
