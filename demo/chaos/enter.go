package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// onThread runs f on a thread of its own, which ends with it: what f does to the thread's namespaces stays there.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// join enters namespaces of a process with the calling thread: the PID namespace for its children.
func join(pid int, kinds ...string) error {
	// A thread that shares its root and working directory with others may not change its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("cannot unshare: %w", err)
	}
	var fds []int
	for _, kind := range kinds {
		fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/"+kind, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot open a namespace of process %d: %w", pid, err)
		}
		defer unix.Close(fd)
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		if err := unix.Setns(fd, 0); err != nil {
			return fmt.Errorf("cannot enter a namespace of process %d: %w", pid, err)
		}
	}
	return nil
}

// inMounts calls f in the container's mount namespace.
func (e *episode) inMounts(f func() error) error {
	return onThread(func() error {
		if err := join(e.ns.PID, "mnt"); err != nil {
			return err
		}
		return f()
	})
}

// commandLimit bounds what is run in the container.
const commandLimit = 60 * time.Second

// inside runs a command in the container as `exec` would, but not in its cgroup, and returns what it said.
func (e *episode) inside(args ...string) (string, int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	var out []byte
	var cmd *exec.Cmd
	err := onThread(func() error {
		cmd = e.enter(ctx, args...)
		if err := join(e.ns.PID, "mnt", "pid"); err != nil {
			return err
		}
		var err error
		out, err = cmd.CombinedOutput()
		return err
	})
	if cmd.ProcessState == nil {
		return "", -1, err
	}
	return string(out), cmd.ProcessState.ExitCode(), nil
}

// enter makes a command for a thread that has joined the container. Should we die, it dies with the container's PID 1.
func (e *episode) enter(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), e.env...), e.dir
	cmd.WaitDelay = 2 * time.Second
	return cmd
}
