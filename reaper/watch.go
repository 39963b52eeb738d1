package reaper

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/signals"
)

// Watcher tells when there is something to reap, without a SIGCHLD handler and without a timer: a thread
// blocks in waitid(2), which costs less than half of what a caught signal per orphan does.
type Watcher struct {
	// C is ready when a child is dead, or when there are no children at all. The receiver reaps what it
	// wants and then calls Resume.
	C <-chan struct{}

	resume chan struct{}
}

// Watch starts watching. The caller first calls Resume, after it has started its first process.
func Watch() *Watcher {
	// With the runtime's handler every death would interrupt a thread for nothing; with an inherited SIG_IGN
	// the kernel would discard every status (wait(2), NOTES).
	_ = signals.Default(signals.Signal(syscall.SIGCHLD))
	dead := make(chan struct{})
	w := &Watcher{C: dead, resume: make(chan struct{}, 1)}
	go func() {
		runtime.LockOSThread() // the thread stays blocked; other goroutines should not be moved around it
		for range w.resume {
			awaitDeath()
			dead <- struct{}{}
		}
	}()
	return w
}

// Resume asks for the next report.
func (w *Watcher) Resume() { w.resume <- struct{}{} }

// awaitDeath returns when a child is dead, which it leaves for Reap, or when there is none (ECHILD).
func awaitDeath() {
	for {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}
