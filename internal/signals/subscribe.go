//go:build amd64 || arm64

package signals

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// os/signal is not used here, for three reasons. It never hands out SIGPROF. It takes a handshake between
// two threads for each signal, several milliseconds for all of them. And it cannot tell a SIGSEGV that
// somebody sent from one that we raised. Instead a handler of a few instructions (handler_*.s) writes the
// signal's number into a pipe, unless the signal is the runtime's business: a fault of our own, or a
// signal that the runtime sent itself.

// Shared with the handler.
var (
	pipeWriteEnd, ownPID int32 //nolint:unused // by Go, but not by the handler
	// missed has a one for each signal that did not fit into the pipe: then it is as with standard signals,
	// of which several make one.
	missed [Last + 1]byte
	// faults are the signals that, raised by the kernel, mean a fault of our own.
	faults = uint64(1)<<syscall.SIGILL | //nolint:unused // as above
		1<<syscall.SIGTRAP | 1<<syscall.SIGABRT | 1<<syscall.SIGBUS |
		1<<syscall.SIGFPE | 1<<syscall.SIGSEGV | 1<<syscall.SIGSYS | 1<<syscall.SIGSTKFLT
	runtimeHandler [Last + 1]uintptr // the runtime's handlers, for what is its business
)

// handlerAddress returns the address of the handler.
func handlerAddress() uintptr

// Subscription is what the caught signals wait in until Deliver takes them out.
type Subscription struct {
	C    <-chan Signal
	c    chan Signal
	pipe int
	once sync.Once
}

// cLibrarySignals are those that C libraries use among their threads. They are forwarded to nobody, but caught: what has no
// handler ends an init that is not PID 1. (PID 1 should be spared, pid_namespaces(7); once it was not.)
var cLibrarySignals = []Signal{32, 33}

// Subscribe catches every signal that the table forwards. It is the first thing an init does: as long as it has not
// happened, a SIGTERM ends a Go program.
func Subscribe() (*Subscription, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("cannot make a pipe for signals: %w", err)
	}
	pipeWriteEnd, ownPID = int32(pipe[1]), int32(os.Getpid())
	act := ourAction()
	for s := Signal(1); s <= Last; s++ {
		if FateOf(s) != Forward && !slices.Contains(cLibrarySignals, s) {
			continue
		}
		if err := catch(s, &act); err != nil {
			return nil, fmt.Errorf("cannot catch %s: %w", s, err)
		}
	}
	unblockSomewhere()
	c := make(chan Signal)
	return &Subscription{C: c, c: c, pipe: pipe[0]}, nil
}

// catch installs the handler, and keeps what was there if it is the runtime's.
func catch(s Signal, act *sigaction) error {
	var old sigaction
	if err := rtSigaction(s, act, &old); err != nil {
		return err
	}
	if old.handler != sigDfl && old.handler != sigIgn {
		runtimeHandler[s] = old.handler
	}
	return nil
}

// ourAction has the handler called as the runtime has its own: on the signal stack, all signals blocked while it
// runs, restarting system calls.
func ourAction() sigaction {
	const saSiginfo, saOnStack, saRestart = 0x4, 0x08000000, 0x10000000 // asm-generic/signal-defs.h
	act := likeRuntime()
	act.handler = handlerAddress()
	act.flags |= saSiginfo | saOnStack | saRestart
	act.mask = ^Set(0)
	return act
}

// likeRuntime returns what the runtime's dispositions have for SA_RESTORER, which x86-64 demands.
func likeRuntime() sigaction {
	const saRestorer = 0x04000000 // arch/x86/include/uapi/asm/signal.h
	of, err := disposition(Signal(syscall.SIGSEGV))
	if err != nil {
		return sigaction{}
	}
	return sigaction{flags: of.flags & saRestorer, restorer: of.restorer}
}

// unblockSomewhere makes sure that one thread can receive signals that we inherited blocked; the runtime
// starts every thread with the inherited mask.
func unblockSomewhere() {
	var inherited Set
	if _ = sigprocmask(unix.SIG_SETMASK, nil, &inherited); inherited == 0 {
		return
	}
	unblocked := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		var none Set
		_ = sigprocmask(unix.SIG_SETMASK, &none, nil)
		close(unblocked)
		select {} // the thread sleeps; signals wake it
	}()
	<-unblocked
}

// Deliver sends the signals to C, for ever; called again, it only waits.
func (s *Subscription) Deliver() { s.once.Do(s.read) }

func (s *Subscription) read() {
	pipe := os.NewFile(uintptr(s.pipe), "signals")
	numbers := make([]byte, 64)
	for {
		n, err := pipe.Read(numbers)
		if err != nil {
			// The runtime's poller did not take it (ENOSPC: the user's epoll watches; ENOMEM).
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.pipe), Events: unix.POLLIN}}, -1)
			continue
		}
		for _, number := range numbers[:n] {
			s.send(Signal(number))
		}
		for number := range missed {
			if missed[number] != 0 {
				missed[number] = 0
				s.send(Signal(number))
			}
		}
	}
}

func (s *Subscription) send(sig Signal) {
	if FateOf(sig) == Forward {
		s.c <- sig
	}
}
