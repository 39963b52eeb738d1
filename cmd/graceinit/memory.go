package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settleDown makes the init small and flat, once, a moment after the app has started: neither the app nor
// a command that ends at once should wait for it. We allocate little, so collecting often is cheap, and one
// thread that runs Go at a time is enough: others only block in system calls.
func settleDown() {
	const moment = time.Second
	time.AfterFunc(moment, func() {
		runtime.GOMAXPROCS(1)
		debug.SetGCPercent(10)
		debug.FreeOSMemory()
		dropStartupPages()
	})
}

// dropStartupPages unmaps the pages of this executable, most of which only start-up needed; the kernel
// pages the few that are used again back in from the page cache (madvise(2), MADV_DONTNEED: on a mapping
// that is only read it loses nothing). It halves the resident set of an idle init.
func dropStartupPages() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		f := bytes.Fields(line) // proc_pid_maps(5): range, permissions, offset, device, inode, path
		if len(f) < 6 || f[5][0] != '/' || f[1][1] != '-' {
			continue
		}
		from, to, _ := bytes.Cut(f[0], []byte("-"))
		start, err1 := strconv.ParseUint(string(from), 16, 64)
		end, err2 := strconv.ParseUint(string(to), 16, 64)
		if err1 == nil && err2 == nil {
			_, _, _ = syscall.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
		}
	}
}
