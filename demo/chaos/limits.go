package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/proc"
)

func (k *kit) hasCGroups() bool { return len(k.groups) > 0 }

func (k *strike) pidsLimit() error {
	n, err := k.group.pids()
	if err != nil {
		return err
	}
	// A Go app that wants one more thread, and gets none, ends with code 2.
	k.dies(death{code: 2, why: k.name})
	mended := k.broken(k.name)
	k.graceGivesUp()
	if err := k.group.limitPIDs(n + k.IntN(6)); err != nil {
		return err
	}
	k.count(1)
	err = k.upgradeFor(k.length)
	err = errors.Join(err, k.group.limitPIDs(-1))
	mended()
	return err
}

// memoryLimit leaves room for less than a successor. That is the one that the kernel is to choose.
func (k *strike) memoryLimit() error {
	k.dies(death{code: 128 + int(syscall.SIGKILL), why: k.name})
	k.dies(death{code: 2, why: k.name})
	mended := k.broken(k.name)
	k.graceGivesUp()
	main := k.watch.main()
	ctx, cancel := context.WithCancel(context.Background())
	var marking sync.WaitGroup
	marking.Go(func() {
		for ctx.Err() == nil && k.wait(time.Millisecond) {
			list, err := proc.List(k.proc())
			if err != nil {
				return
			}
			for _, p := range list {
				if p.PID != 1 && p.PID != main && p.PPID != 0 {
					_ = k.score(p.PID, "500") // it may have ended
				}
			}
		}
	})
	defer marking.Wait()
	defer cancel()
	n, err := k.group.memory()
	if err != nil {
		return err
	}
	if err := k.group.limitMemory(n + k.IntN(4<<20)); err != nil {
		return err
	}
	k.count(1)
	err = k.upgradeFor(k.length)
	err = errors.Join(err, k.group.limitMemory(-1))
	mended()
	return err
}

func (e *episode) score(pid int, adj string) error {
	return os.WriteFile(filepath.Join(e.proc(), strconv.Itoa(pid), "oom_score_adj"), []byte(adj), 0)
}

func (k *strike) fdLimit() error {
	var old unix.Rlimit
	if err := unix.Prlimit(k.ns.PID, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		return err
	}
	n, err := proc.FDs("/proc", k.ns.PID)
	if err != nil {
		return err
	}
	if err := unix.Prlimit(k.ns.PID, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n + k.IntN(8)), Max: old.Max}, nil); err != nil {
		return err
	}
	k.count(1)
	err = k.upgradeFor(k.length)
	if rerr := unix.Prlimit(k.ns.PID, unix.RLIMIT_NOFILE, &old, nil); !k.gone() {
		err = errors.Join(err, rerr)
	}
	return err
}

func (k *strike) fullDisk() error {
	return k.inMounts(func() error {
		var err error
		for _, dir := range []string{k.small, k.logDisk} {
			filler := filepath.Join(dir, "filler")
			err = errors.Join(err, fill(filler))
			defer func() { _ = os.Remove(filler) }()
		}
		if err != nil {
			return err
		}
		k.count(1)
		return k.upgradeFor(k.length)
	})
}

// fill writes to the file until the disk is full.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	page := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(page)
	}
	if !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("cannot fill the disk: %w", err)
	}
	return nil
}

// withoutProc notes that an app which upgrades itself cannot be followed: its successor cannot be recognised.
func (k *strike) withoutProc() {
	if k.plan.App != spawn {
		k.dies(death{code: k.exitCode(), why: "the main process, whose successor could not be seen without /proc"})
		k.brokenUntilCalm(k.name)
	}
}

func (k *strike) hideProc() error {
	k.withoutProc()
	k.procIsOurs.Lock()
	defer k.procIsOurs.Unlock()
	if err := k.inMounts(func() error { return unix.Mount("chaos", "/proc", "tmpfs", 0, "") }); err != nil {
		return err
	}
	k.count(1)
	err := k.upgradeFor(k.length)
	return errors.Join(err, k.inMounts(func() error { return unix.Unmount("/proc", unix.MNT_DETACH) }))
}

func (k *strike) unmountProc() error {
	k.withoutProc()
	k.procIsOurs.Lock()
	defer k.procIsOurs.Unlock()
	if err := k.inMounts(func() error { return unix.Unmount("/proc", unix.MNT_DETACH) }); err != nil {
		return err
	}
	k.count(1)
	err := k.upgradeFor(k.length)
	out, code, merr := k.inside(k.kit.self, roleProc)
	if merr == nil && code != 0 {
		merr = fmt.Errorf("cannot mount /proc: %s", out)
	}
	return errors.Join(err, merr)
}

// clockIsOurs keeps the lanes from stepping the clock against each other.
var clockIsOurs sync.Mutex

func (k *strike) stepClock() error {
	clockIsOurs.Lock()
	defer clockIsOurs.Unlock()
	for _, by := range []time.Duration{3 * time.Second, -3 * time.Second, 5 * time.Hour, -5 * time.Hour} {
		if err := k.step(by); err != nil {
			return err
		}
		k.count(1)
	}
	return nil
}

// step moves the clock while an upgrade goes on, and then to where it would be by now.
func (k *strike) step(by time.Duration) error {
	read := func(clock int32) time.Duration {
		var ts unix.Timespec
		_ = unix.ClockGettime(clock, &ts) // it cannot fail for these
		return time.Duration(ts.Nano())
	}
	set := func(to time.Duration) error {
		tv := unix.NsecToTimeval(int64(to))
		return unix.Settimeofday(&tv)
	}
	ahead := read(unix.CLOCK_REALTIME) - read(unix.CLOCK_MONOTONIC)
	if err := set(ahead + read(unix.CLOCK_MONOTONIC) + by); err != nil {
		return fmt.Errorf("cannot step the clock: %w", err)
	}
	err := k.upgradeFor(k.length / 4)
	return errors.Join(err, set(ahead+read(unix.CLOCK_MONOTONIC)))
}

// orphansAreOurs has one lane at a time make many processes.
var orphansAreOurs sync.Mutex

func (k *strike) makeOrphans() error {
	orphansAreOurs.Lock()
	defer orphansAreOurs.Unlock()
	n := min(100+k.IntN(5000), k.kit.orphans)
	if k.IntN(2) == 0 {
		n = k.kit.orphans
	}
	n = min(n, spareProcesses())
	if n <= 0 || k.gone() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	args := churn.Orphans(n, n)
	args[0] = k.kit.self
	err := onThread(func() error {
		cmd := k.enter(ctx, args...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := join(k.ns.PID, "mnt", "pid"); err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		done := false
		for in := bufio.NewScanner(out); !done && in.Scan(); {
			done = in.Text()+"\n" == churn.Done
		}
		cancel() // it waits for that
		_ = cmd.Wait()
		if !done {
			return fmt.Errorf("the orphans were not made: %v", cmd.ProcessState)
		}
		return nil
	})
	if err != nil {
		return err
	}
	k.count(n)
	k.mu.Lock()
	k.orphans = max(k.orphans, n)
	k.mu.Unlock()
	k.log.add("%d orphans at once", n)
	return k.upgradeFor(0)
}

// spareProcesses is how many this machine has room for, with some left for everybody else.
func spareProcesses() int {
	spare := 1 << 30
	for _, name := range []string{"kernel/pid_max", "kernel/threads-max"} {
		b, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			return 0
		}
		n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		spare = min(spare, n)
	}
	b, err := os.ReadFile("/proc/loadavg") // 0.20 0.18 0.12 1/80 11206
	if err != nil {
		return 0
	}
	_, tasks, _ := strings.Cut(strings.Fields(string(b))[3], "/")
	n, _ := strconv.Atoi(tasks)
	return spare - n - 4000
}

func (k *strike) hostilePeers() error {
	args := []string{k.kit.program("hostile"), "-control", k.control, "-notify", k.notifySocket(), "-messages", "300", "-seed", strconv.Itoa(k.IntN(1 << 20))}
	if k.IntN(2) == 0 && k.control[0] == '@' {
		// Another user; the notification socket is not for it, so it attacks the control socket twice.
		args = append([]string{"/usr/bin/setpriv", "--reuid", "65533", "--clear-groups"}, append(args, "-stranger")...)
	}
	out, code, err := k.inside(args...)
	if err == nil && code != 0 && !k.gone() {
		err = fmt.Errorf("exit code %d: %.200s", code, out)
	}
	var sent int
	_, _ = fmt.Sscanf(out, "sent %d", &sent) // else none
	k.count(sent)
	return err
}

// notifySocket is the address that the app was told.
func (e *episode) notifySocket() string {
	environ, _ := os.ReadFile(filepath.Join(e.proc(), strconv.Itoa(e.watch.main()), "environ"))
	for v := range strings.SplitSeq(string(environ), "\x00") {
		if address, ok := strings.CutPrefix(v, "NOTIFY_SOCKET="); ok {
			return address
		}
	}
	return "@nobody"
}

func (k *strike) flood() error {
	out, code, err := k.inside(k.kit.self, roleFlood, k.control)
	if err == nil && code != 0 && !k.gone() {
		err = fmt.Errorf("exit code %d: %.200s", code, out)
	}
	var sent int
	_, _ = fmt.Sscanf(out, "sent %d", &sent)
	k.count(sent)
	return err
}
