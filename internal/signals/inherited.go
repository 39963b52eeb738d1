package signals

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Inherited is what the process that executed the init left it: ignored signals and the signal mask both
// pass through execve(2), and the app is to find them as if the init were not there.
type Inherited struct {
	Ignored Set // signals whose disposition was SIG_IGN
	Mask    Set // blocked signals
}

// Set is a set of signals in the kernel's layout: bit n-1 stands for signal n.
type Set uint64

// Has reports whether the set contains the signal.
func (s Set) Has(sig Signal) bool { return sig >= 1 && sig <= Last && s&(1<<(sig-1)) != 0 }

// Add puts the signal into the set.
func (s *Set) Add(sig Signal) { *s |= 1 << (sig - 1) }

// ReadInherited returns what was inherited. The Go runtime replaces nearly all dispositions before main and
// keeps the old ones to itself. Builds with the tag inherited_signals read them there; other builds know
// only the few that the runtime leaves alone. Call it before Subscribe.
func ReadInherited() Inherited {
	in, complete := runtimeSaved()
	if !complete {
		// The main thread still has the mask it started with, but for the few signals the runtime never blocks.
		_ = sigprocmask(unix.SIG_SETMASK, nil, &in.Mask)
	}
	for s := Signal(1); s <= Last; s++ {
		if act, err := disposition(s); err == nil && act.handler == sigIgn {
			in.Ignored.Add(s)
		}
	}
	return in
}

// Restore makes this process what the inherited state says, just before execve(2). The calling goroutine
// must be locked to its thread. Other dispositions need not be restored: execve resets what is caught.
func (in Inherited) Restore() error {
	for s := Signal(1); s <= Last; s++ {
		if in.Ignored.Has(s) {
			if err := Ignore(s); err != nil {
				return err
			}
		}
	}
	return sigprocmask(unix.SIG_SETMASK, &in.Mask, nil)
}

// WithMask runs f on a thread with the inherited mask. A process that is forked there starts with it: the runtime
// gives a child the mask of the forking thread, and it keeps its own threads from blocking SIGTERM and others.
func (in Inherited) WithMask(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var own Set
	if sigprocmask(unix.SIG_SETMASK, &in.Mask, &own) == nil {
		defer func() { _ = sigprocmask(unix.SIG_SETMASK, &own, nil) }()
	}
	f()
}

// Blocked runs f on a thread in which every signal is blocked. A thread that f makes, unknown to the runtime, starts so.
func Blocked(f func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all := ^Set(0)
	var own Set
	if err := sigprocmask(unix.SIG_SETMASK, &all, &own); err != nil {
		return err
	}
	f()
	return sigprocmask(unix.SIG_SETMASK, &own, nil)
}

// Ignore makes the kernel discard the signal.
func Ignore(s Signal) error { return setDisposition(s, &sigaction{handler: sigIgn}) }

// Discard runs f and discards those of the signals that arrive meanwhile.
func Discard(f func(), list ...Signal) error {
	for _, s := range list {
		old, err := disposition(s)
		if err != nil {
			return err
		}
		defer func() { _ = setDisposition(s, &old) }()
		if err := Ignore(s); err != nil {
			return err
		}
	}
	f()
	return nil
}

// Default puts the signal's disposition back to what the kernel does by itself.
func Default(s Signal) error { return setDisposition(s, &sigaction{handler: sigDfl}) }

// Block adds signals to the calling thread's mask.
func Block(list ...syscall.Signal) error {
	var set Set
	for _, s := range list {
		set.Add(Signal(s))
	}
	return sigprocmask(unix.SIG_BLOCK, &set, nil)
}

// asm-generic/signal-defs.h
const (
	sigDfl = 0
	sigIgn = 1
)

// sigaction is the kernel's struct sigaction on 64-bit machines (include/linux/signal_types.h).
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     Set
}

func disposition(s Signal) (sigaction, error) {
	var act sigaction
	return act, rtSigaction(s, nil, &act)
}

func setDisposition(s Signal, act *sigaction) error { return rtSigaction(s, act, nil) }

func rtSigaction(s Signal, act, old *sigaction) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s),
		uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(Set(0)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func sigprocmask(how int, set, old *Set) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, uintptr(how),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(Set(0)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
