package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// shortLife is how long a command may run that should not wait for our housekeeping.
const shortLife = 20 * time.Millisecond

// tuneRuntime keeps the init small: it allocates little, so collecting often is cheap, and one thread that runs
// Go at a time is enough, since others only block in system calls.
func tuneRuntime() {
	debug.SetGCPercent(10)
	runtime.GOMAXPROCS(1)
	reserveThreads()
}

// reserveThreads has the runtime make, while it still can, all the threads that it will ever want. Where the app
// has reached the pids limit it could make none, and would end the process (runtime.newosproc).
func reserveThreads() {
	const enough = 6
	var ready sync.WaitGroup
	release := make(chan struct{})
	for range enough {
		ready.Add(1)
		go func() {
			runtime.LockOSThread()
			ready.Done()
			<-release
			runtime.UnlockOSThread() // the thread stays, idle
		}()
	}
	ready.Wait()
	close(release)
}

// settle gives back what the start or a burst of work took.
func settle() {
	debug.FreeOSMemory()
	dropUnusedPages()
}

// dropUnusedPages unmaps the pages of this executable, most of which only start-up needed; the kernel
// brings the few that are used again back from the page cache. It halves the resident set of an idle init.
// MADV_DONTNEED (madvise(2)) loses nothing where a private mapping of a file holds no page of our own, and
// those it leaves alone: a dynamic linker may have relocated one before it was made read-only.
func dropUnusedPages() {
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	var start, end uint64
	for line := range bytes.Lines(maps) {
		f := bytes.Fields(line) // proc_pid_maps(5): range, permissions, offset, device, inode, path
		if len(f) >= 6 && bytes.ContainsRune(f[0], '-') {
			start, end = 0, 0
			if f[5][0] == '/' && f[1][1] == '-' {
				from, to, _ := bytes.Cut(f[0], []byte("-"))
				start, _ = strconv.ParseUint(string(from), 16, 64)
				end, _ = strconv.ParseUint(string(to), 16, 64)
			}
		} else if len(f) >= 2 && string(f[0]) == "Anonymous:" && string(f[1]) == "0" && end > start {
			_, _, _ = syscall.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
		}
	}
}
