// Package churn makes orphans and children by the ten thousands, for the checks and measurements of reaping.
//
// The calling binary starts itself once more as the app under an init: Main must be the first call in main and in
// TestMain.
//
// The processes are forked without an exec, which os/exec cannot do and which makes them cheap. Between fork and exit
// a child makes system calls only: of the Go runtime it has but the thread that forked.
package churn

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	orphans  = "churn-orphans"
	children = "churn-children"
)

// The lines that the app of Orphans writes to stdout: before the first one, and when the last one was made.
const (
	Begin = "begin\n"
	Done  = "done\n"
)

// Orphans is the command line of an app that makes n orphans, says Begin and Done, and then waits for a signal. Each group of
// orphans loses its parent at once: groups of 1 come one by one, large groups are made faster.
func Orphans(n, group int) []string { return command(orphans, n, group) }

// Children is the command line of an app that forks n children of its own and waits for each of them. It exits with 0
// if every status came and was the right one.
func Children(n int) []string { return command(children, n, 1) }

func command(mode string, n, group int) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err) // there is no caller that runs without an executable
	}
	return []string{self, mode, strconv.Itoa(n), strconv.Itoa(group)}
}

// Main is the app where this process is one, and returns otherwise.
func Main() {
	if len(os.Args) != 4 || os.Args[1] != orphans && os.Args[1] != children {
		return
	}
	n, err := strconv.Atoi(os.Args[2])
	group, gerr := strconv.Atoi(os.Args[3])
	switch {
	case err != nil || gerr != nil || group < 1:
		err = fmt.Errorf("bad numbers %q", os.Args[2:])
	case os.Args[1] == orphans:
		err = makeOrphans(n, group)
	default:
		err = makeChildren(n)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	os.Exit(0)
}

func makeOrphans(n, group int) error {
	if _, err := os.Stdout.WriteString(Begin); err != nil {
		return err
	}
	for i := 0; i < n; i += group {
		pid, errno := forkOrphans(uintptr(min(group, n-i)))
		if errno != 0 {
			return fmt.Errorf("cannot fork orphan %d: %w", i, errno)
		}
		status, err := wait(int(pid))
		if err != nil {
			return fmt.Errorf("cannot wait for the parent of orphan %d: %w", i, err)
		}
		if status != 0 {
			return fmt.Errorf("cannot fork orphan %d: status %#x", i, uint32(status))
		}
	}
	if _, err := os.Stdout.WriteString(Done); err != nil {
		return err
	}
	for {
		_ = unix.Pause()
	}
}

// inFlight is how many children there are at a time: some have ended before they are waited for, some have not.
const inFlight = 8

func makeChildren(n int) error {
	type child struct{ pid, status int }
	var queue []child
	lost := 0
	for i := 0; i < n || len(queue) > 0; {
		if i < n && len(queue) < inFlight {
			status := i % 251 // a prime, so that a status that belongs to a neighbour is noticed
			pid, errno := forkExit(uintptr(status))
			if errno != 0 {
				return fmt.Errorf("cannot fork child %d: %w", i, errno)
			}
			queue = append(queue, child{int(pid), status})
			i++
			continue
		}
		c := queue[0]
		queue = queue[1:]
		if status, err := wait(c.pid); err != nil || !status.Exited() || status.ExitStatus() != c.status {
			lost++
		}
	}
	if lost > 0 {
		return fmt.Errorf("%d of %d statuses were lost", lost, n)
	}
	return nil
}

func wait(pid int) (status syscall.WaitStatus, err error) {
	for {
		if _, err = syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
			return status, err
		}
	}
}

// forkExit makes a child that exits with the status.
//
//go:norace
//go:nosplit
func forkExit(status uintptr) (uintptr, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if pid != 0 || errno != 0 {
		return pid, errno
	}
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, status, 0, 0)
	}
}

// forkOrphans makes a child that makes n children and exits. The status says whether all forks worked.
//
//go:norace
//go:nosplit
func forkOrphans(n uintptr) (uintptr, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if pid != 0 || errno != 0 {
		return pid, errno
	}
	for pid = 1; n > 0 && pid != 0 && errno == 0; n-- {
		pid, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	}
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}
