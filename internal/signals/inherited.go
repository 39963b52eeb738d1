package signals

import (
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Inherited is what the process that executed the init left it: ignored signals and the signal mask
// both pass through execve(2), and the app is to find them as if the init were not there.
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

// Signals lists the set's members.
func (s Set) Signals() []Signal {
	var list []Signal
	for i := Signal(1); i <= Last; i++ {
		if s.Has(i) {
			list = append(list, i)
		}
	}
	return list
}

// ReadInherited returns what was inherited. The Go runtime replaces nearly all dispositions before
// main and keeps the old ones to itself. Builds with the tag inherited_signals read them there; other
// builds know only SIGHUP and SIGINT, which the runtime leaves ignored. Call it before Subscribe.
func ReadInherited() Inherited {
	in, complete := runtimeSaved()
	if !complete {
		// The main thread still has the mask it started with, but for the few signals the runtime never blocks.
		_ = sigprocmask(unix.SIG_SETMASK, nil, &in.Mask)
	}
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT,
		// The runtime touches these only once somebody asks for them (runtime/sigtab_linux_generic.go, _SigDefault).
		syscall.SIGCONT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU} {
		if disposition(Signal(s)) == sigIgn {
			in.Ignored.Add(Signal(s))
		}
	}
	return in
}

// Restore makes this process what the inherited state says, just before execve(2). The calling
// goroutine must be locked to its thread. SIG_DFL need not be restored: execve resets what is caught.
func (in Inherited) Restore() error {
	for _, s := range in.Ignored.Signals() {
		signal.Ignore(syscall.Signal(s))
	}
	return sigprocmask(unix.SIG_SETMASK, &in.Mask, nil)
}

// Block adds signals to the calling thread's mask.
func Block(list ...syscall.Signal) error {
	var set Set
	for _, s := range list {
		set.Add(Signal(s))
	}
	return sigprocmask(unix.SIG_BLOCK, &set, nil)
}

// sigIgn is SIG_IGN (asm-generic/signal-defs.h).
const sigIgn = 1

// disposition returns the handler that the kernel has for the signal, or zero (SIG_DFL).
func disposition(s Signal) uintptr {
	var act sigaction
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), 0,
		uintptr(unsafe.Pointer(&act)), unsafe.Sizeof(Set(0)), 0, 0)
	return act.handler
}

// sigaction is the kernel's struct sigaction on amd64 and arm64 (arch/*/include/uapi/asm/signal.h).
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     Set
}

func sigprocmask(how int, set, old *Set) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, uintptr(how),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(Set(0)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
