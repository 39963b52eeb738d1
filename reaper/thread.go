//go:build linux && (amd64 || arm64)

package reaper

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/signals"
)

// thread is what the watcher and its thread share. The thread is the assembly in thread_*.s, which finds the
// fields by their offsets (go_asm.h).
type thread struct {
	// The watcher's.
	leave atomic.Uint32  // one: reap whatever is not kept; zero: report it
	kept  [maxKept]int32 // pids that are not to be reaped, changed only while nothing is left to the thread

	// The thread's.
	busy   atomic.Uint32 // one from before the look at leave until what was found has been reaped
	told   atomic.Uint32 // a futex: one from a report until Resume
	reaped atomic.Uint64 // how many it has reaped
	info   childInfo     //nolint:unused // of its last waitid; the assembly fills it in
	event  int32         // the eventfd that it reports by
	one    uint64        // what it writes there
	stack  [8]uint64     // its stack pointer is at the end, and stays there: it calls nothing, and no signal interrupts it
}

// childInfo is the siginfo_t that waitid(2) fills in, on 64 bits.
type childInfo struct { //nolint:unused // but by the assembly
	_   [16]byte
	pid int32
	_   [108]byte
}

var theThread thread

// clone starts the thread. The result is its id, or a negative errno.
func clone(stack uintptr) int

// startThread starts the thread. It reports by the eventfd.
func startThread() (event int, err error) {
	event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, err
	}
	t := &theThread
	t.event, t.one = int32(event), 1
	var id int
	top := uintptr(unsafe.Pointer(&t.stack[len(t.stack)-1])) &^ 15
	if err = signals.Blocked(func() { id = clone(top) }); err == nil && id < 0 {
		err = syscall.Errno(-id)
	}
	if err != nil {
		unix.Close(event)
		return -1, err
	}
	return event, nil
}

func (t *thread) resume() {
	const futexWakePrivate = 129 // linux/futex.h
	t.told.Store(0)
	_, _, _ = syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&t.told)), futexWakePrivate, 1, 0, 0, 0)
}

func (t *thread) leaveAllBut(keep []int) bool {
	if len(keep) > len(t.kept) {
		return false
	}
	clear(t.kept[:])
	for i, pid := range keep {
		t.kept[i] = int32(pid)
	}
	t.leave.Store(1)
	return true
}

// take returns when the thread will reap no more. It may be at its last, which takes it some microseconds.
func (t *thread) take() {
	t.leave.Store(0)
	for t.busy.Load() != 0 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
	}
}

func (t *thread) count() uint64 { return t.reaped.Load() }
