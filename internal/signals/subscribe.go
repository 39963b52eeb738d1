package signals

import (
	"os"
	"os/signal"
	"syscall"
)

// asyncPreemptOff is "true" in builds whose runtime was told, by -X runtime.godebugDefault, to keep
// from preempting goroutines by SIGURG. In any other build a SIGURG may be the runtime's own, and
// passing it on would disturb the app, so it is dropped.
var asyncPreemptOff string

// backlog holds the signals that arrive while the loop is busy; os/signal drops what does not fit.
// Standard signals coalesce in the kernel anyway (signal(7)), real-time signals queue there.
const backlog = 512

// Subscribe catches every signal that the table forwards and returns the channel they arrive on. It
// is the first thing an init does: as long as it has not happened, a SIGTERM ends a Go program.
func Subscribe() chan os.Signal {
	c := make(chan os.Signal, backlog)
	signal.Notify(c, Caught()...)
	return c
}

// Caught lists the signals that os/signal is asked for.
func Caught() []os.Signal {
	var caught []os.Signal
	for i := Signal(1); i <= Last; i++ {
		if FateOf(i) == Forward && Deliverable(i) && i != Signal(syscall.SIGPROF) {
			caught = append(caught, syscall.Signal(i))
		}
	}
	return caught
}

// Deliverable reports whether this build can tell a signal that somebody sent from the runtime's own.
func Deliverable(s Signal) bool {
	return s != Signal(syscall.SIGURG) || asyncPreemptOff == "true"
}
