//go:build !amd64 && !arm64

package signals

import (
	"os"
	"os/signal"
	"syscall"
)

// Subscribe catches every signal that the table forwards, by os/signal, which never hands out SIGPROF; the
// handler of our own is written for amd64 and arm64 only.
func Subscribe() (*Subscription, error) {
	var wanted []os.Signal
	for s := Signal(1); s <= Last; s++ {
		if FateOf(s) == Forward && syscall.Signal(s) != syscall.SIGURG {
			wanted = append(wanted, syscall.Signal(s))
		}
	}
	received, c := make(chan os.Signal, 512), make(chan Signal)
	signal.Notify(received, wanted...)
	return &Subscription{C: c, c: c, received: received}, nil
}

// Subscription is what the caught signals wait in until Deliver takes them out.
type Subscription struct {
	C        <-chan Signal
	c        chan Signal
	received <-chan os.Signal
}

// Deliver sends the signals to C, for ever.
func (s *Subscription) Deliver() {
	for sig := range s.received {
		if number, ok := sig.(syscall.Signal); ok {
			s.c <- Signal(number)
		}
	}
}
