//go:build amd64 || arm64

package signals

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The Go runtime keeps SIGPROF for its profiler and never hands it to os/signal. A handler of our own,
// a few instructions of assembly, writes a byte into a pipe instead.

// profPipe is the pipe's write end and profByte what is written; both are read by the handler.
var (
	profPipe int32
	profByte byte
)

// profHandler returns the addresses of the handler and of the function that ends it (SA_RESTORER).
func profHandler() (handler, restorer uintptr)

// SubscribeProf sends SIGPROF to c each time it arrives, as Subscribe does for the other signals.
func SubscribeProf(c chan<- os.Signal) error {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("cannot make a pipe for SIGPROF: %w", err)
	}
	profPipe = int32(fds[1])
	handler, restorer := profHandler()
	act := sigaction{handler: handler, flags: saOnStack | saRestart | saRestorer, restorer: restorer}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGPROF),
		uintptr(unsafe.Pointer(&act)), 0, unsafe.Sizeof(Set(0)), 0, 0); errno != 0 {
		return fmt.Errorf("cannot catch SIGPROF: %w", errno)
	}
	pipe := os.NewFile(uintptr(fds[0]), "SIGPROF")
	go func() {
		one := make([]byte, 1)
		for {
			if _, err := pipe.Read(one); err != nil {
				return
			}
			c <- syscall.SIGPROF
		}
	}()
	return nil
}

// asm-generic/signal.h
const (
	saOnStack = 0x08000000
	saRestart = 0x10000000
)
