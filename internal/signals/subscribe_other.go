//go:build !amd64 && !arm64

package signals

import (
	"os"
	"os/signal"
	"syscall"
)

// Subscribe catches every signal that the table forwards, by os/signal, which never hands out SIGPROF; the
// handler of our own is written for amd64 and arm64 only.
func Subscribe() (<-chan Signal, error) {
	var wanted []os.Signal
	for s := Signal(1); s <= Last; s++ {
		if FateOf(s) == Forward && syscall.Signal(s) != syscall.SIGURG {
			wanted = append(wanted, syscall.Signal(s))
		}
	}
	received, c := make(chan os.Signal, 512), make(chan Signal)
	signal.Notify(received, wanted...)
	go func() {
		for s := range received {
			c <- Signal(s.(syscall.Signal))
		}
	}()
	return c, nil
}
