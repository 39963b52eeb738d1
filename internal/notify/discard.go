package notify

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// close(2) can take as long as whoever sent the fd likes: the last one of a socket with SO_LINGER waits until its data
// are out, and the last one of a file for its file system. It waits in a goroutine, and in no more than one.
var (
	discarded = make(chan []int, 64)
	discarder sync.Once
)

// Discard closes fds in the background.
func Discard(fds []int) {
	if len(fds) == 0 {
		return
	}
	discarder.Do(func() {
		go func() {
			for fds := range discarded {
				CloseAll(fds)
			}
		}()
	})
	discarded <- fds
}

// awaitDiscarder waits as long as so many fds wait to be closed that Discard could have to. Nothing is received
// meanwhile, but the init goes on.
func awaitDiscarder() {
	for len(discarded) > cap(discarded)/2 {
		time.Sleep(100 * time.Millisecond)
	}
}

// CloseAll closes fds.
func CloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
