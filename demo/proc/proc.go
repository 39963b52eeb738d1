// Package proc reads what the demonstration, the soak test and the benchmarks report about processes.
//
// It shares nothing with the init's own reading of /proc, on purpose: it measures the init, so it must not repeat
// the init's mistakes. Every function takes the proc mount to read from, since most of the processes are in a PID
// namespace of their own.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Process is a line of the process table.
type Process struct {
	PID, PPID int
	State     byte // R, S, D, Z, T, ... as in proc(5)
	Comm      string
	Start     uint64 // clock ticks since boot
	Forked    bool   // it has not executed a program of its own yet, and so looks like its parent
}

const forkNoExec = 0x40 // PF_FORKNOEXEC, include/linux/sched.h

// Zombie reports whether the process has ended and waits to be reaped.
func (p Process) Zombie() bool { return p.State == 'Z' || p.State == 'X' }

// List is the process table of a proc mount. Processes that end meanwhile are left out.
func List(proc string) ([]Process, error) {
	dir, err := os.Open(proc)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []Process
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		line, err := os.ReadFile(filepath.Join(proc, name, "stat"))
		if err != nil {
			continue
		}
		p, err := parseStat(line)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// parseStat reads /proc/PID/stat. The name is in parentheses and may contain some: it ends at the last one.
func parseStat(line []byte) (Process, error) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	bad := fmt.Errorf("cannot parse the stat line %.60q", line)
	if open < 1 || end < open {
		return Process{}, bad
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	rest := strings.Fields(string(line[end+1:]))
	if err != nil || len(rest) < 20 || len(rest[0]) != 1 {
		return Process{}, bad
	}
	p := Process{PID: pid, State: rest[0][0], Comm: string(line[open+1 : end])}
	if p.PPID, err = strconv.Atoi(rest[1]); err != nil {
		return Process{}, bad
	}
	flags, err := strconv.ParseUint(rest[6], 10, 64)
	if err != nil {
		return Process{}, bad
	}
	p.Forked = flags&forkNoExec != 0
	if p.Start, err = strconv.ParseUint(rest[19], 10, 64); err != nil {
		return Process{}, bad
	}
	return p, nil
}

// Switches are the context switches of all threads of a process.
type Switches struct {
	Voluntary   uint64 // it went to sleep: once for every time it had woken up
	Involuntary uint64 // it was preempted
	Threads     int
}

// ReadSwitches sums up /proc/PID/task/*/status.
func ReadSwitches(proc string, pid int) (Switches, error) {
	var sum Switches
	err := eachThread(proc, pid, func(dir string) error {
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			return err
		}
		v, err := field(status, "voluntary_ctxt_switches")
		if err != nil {
			return err
		}
		i, err := field(status, "nonvoluntary_ctxt_switches")
		if err != nil {
			return err
		}
		sum.Voluntary, sum.Involuntary, sum.Threads = sum.Voluntary+v, sum.Involuntary+i, sum.Threads+1
		return nil
	})
	return sum, err
}

// CPU is the time that the threads of a process have run, in nanoseconds and not in ticks.
func CPU(proc string, pid int) (time.Duration, error) {
	var sum time.Duration
	err := eachThread(proc, pid, func(dir string) error {
		b, err := os.ReadFile(filepath.Join(dir, "schedstat"))
		if err != nil {
			return err
		}
		ran, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return fmt.Errorf("cannot parse schedstat %q: %w", b, err)
		}
		sum += time.Duration(ns)
		return nil
	})
	return sum, err
}

// eachThread skips threads that end meanwhile, but wants one at least.
func eachThread(proc string, pid int, f func(dir string) error) error {
	dirs, err := filepath.Glob(filepath.Join(proc, strconv.Itoa(pid), "task", "[0-9]*"))
	if err != nil {
		return err
	}
	read := 0
	for _, dir := range dirs {
		if err := f(dir); err == nil {
			read++
		} else if !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), "no such process") {
			return err
		}
	}
	if read == 0 {
		return fmt.Errorf("cannot read the threads of process %d: %w", pid, os.ErrProcessDone)
	}
	return nil
}

// Memory is what a process has in RAM, in bytes.
type Memory struct {
	RSS uint64
	// PSS counts a page that several processes share by its part.
	PSS uint64
	// Anonymous is the part that is not a page of a file: what the process itself allocated.
	Anonymous uint64
	// PrivateDirty is what would be free if the process alone ended: nobody shares it and no file has it.
	PrivateDirty uint64
}

// ReadMemory reads smaps_rollup, which is exact. VmRSS in status is batched per CPU and off by some hundred kB.
func ReadMemory(proc string, pid int) (Memory, error) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for name, value := range map[string]*uint64{"Rss": &m.RSS, "Pss": &m.PSS, "Anonymous": &m.Anonymous, "Private_Dirty": &m.PrivateDirty} {
		kilobytes, err := field(b, name)
		if err != nil {
			return Memory{}, err
		}
		*value = kilobytes << 10
	}
	return m, nil
}

// field reads a number from the "Name: value" lines of the files in /proc.
func field(file []byte, name string) (uint64, error) {
	for line := range strings.Lines(string(file)) {
		key, value, ok := strings.Cut(line, ":")
		if !ok || key != name {
			continue
		}
		words := strings.Fields(value)
		if len(words) == 0 {
			break
		}
		return strconv.ParseUint(words[0], 10, 64)
	}
	return 0, fmt.Errorf("cannot find %s", name)
}

// FDs is the number of open file descriptors.
func FDs(proc string, pid int) (int, error) {
	names, err := os.ReadDir(filepath.Join(proc, strconv.Itoa(pid), "fd"))
	return len(names), err
}
