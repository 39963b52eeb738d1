package testproc

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Emulated tells whether this program runs under qemu-user, which shows a program itself as /proc/self/exe, but has no
// answer of its own for /proc/thread-self.
var Emulated = sync.OnceValue(func() bool {
	exe, err := os.Readlink("/proc/thread-self/exe")
	return err == nil && strings.HasPrefix(filepath.Base(exe), "qemu-")
})

// NotEmulated skips a test of what qemu-user cannot do.
func NotEmulated(t testing.TB, what string) {
	t.Helper()
	if Emulated() {
		t.Skip("SKIPPED: qemu-user has no " + what)
	}
}

// Subreaper skips a test of a child subreaper under an emulator that has none. Every kernel that Go runs on has.
func Subreaper(t testing.TB) {
	t.Helper()
	var is int32
	if unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&is)), 0, 0, 0) != nil {
		NotEmulated(t, "PR_SET_CHILD_SUBREAPER before version 10")
	}
}

// startUnshared starts the process in its namespaces where clone(2) knows none of them, as under qemu-user.
func (in *Init) startUnshared() error {
	attr := in.Cmd.SysProcAttr
	attr.Unshareflags, attr.Cloneflags = syscall.CLONE_NEWNS, 0
	err := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: whatever the thread started afterwards would be in the PID namespace too
		if e := unix.Unshare(unix.CLONE_NEWPID); e != nil {
			err <- e
			return
		}
		err <- in.Cmd.Start()
	}()
	return <-err
}
