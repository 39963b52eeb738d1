// Package procfs reads what an init needs to know about processes and sockets from /proc (proc(5)) and
// from sock_diag(7). It keeps no state and decides nothing.
package procfs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/graceinit/graceinit/internal/signals"
)

// ID names a process for ever: a pid is used again, a pid together with its start time is not.
type ID struct {
	PID   int
	Start uint64 // clock ticks since boot (field 22 of /proc/PID/stat)
}

// Process is a line of the process table.
type Process struct {
	ID
	PPID  int
	State byte // R, S, D, Z, T, … (field 3)
	// Forked is PF_FORKNOEXEC: the process has not executed a program of its own since it was forked. It
	// tells workers from successors, and everybody may read it.
	Forked bool
	Comm   string

	// The rest is read only for processes that were asked about in detail (Inspect).
	inspected bool

	// FDsErr says why the process's fds could not be read. Another user's process needs CAP_SYS_PTRACE.
	FDsErr error
	// Sockets are the inodes of the sockets that the process has open.
	Sockets []uint64
	// Partial says that there are more.
	Partial bool
	// Caught and Ignored are SigCgt and SigIgn; SignalsErr says why they are unknown.
	Caught, Ignored signals.Set
	SignalsErr      error
	// Image identifies the executable file, zero where it cannot be read.
	Image FileID
}

// Inspected reports whether the details are there.
func (p Process) Inspected() bool { return p.inspected }

// FileID identifies a file.
type FileID struct{ Dev, Inode uint64 }

// Dead reports whether the process has ended and only waits to be reaped.
func (p Process) Dead() bool { return p.State == 'Z' || p.State == 'X' }

const forkNoExec = 0x40 // PF_FORKNOEXEC, include/linux/sched.h

// ParseStat reads a line of /proc/PID/stat. The command name is in parentheses and may itself contain
// parentheses, spaces and newlines, so it ends at the last closing one.
func ParseStat(line []byte) (Process, error) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return Process{}, fmt.Errorf("cannot parse stat line %.40q: no command name", line)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	if err != nil {
		return Process{}, fmt.Errorf("cannot parse stat line %.40q: %w", line, err)
	}
	// proc(5) counts from 1, and state, the first after the name, is field 3.
	fields := strings.Fields(string(line[end+1:]))
	const state, ppid, flags, start = 0, 4 - 3, 9 - 3, 22 - 3
	if len(fields) <= start || len(fields[state]) != 1 {
		return Process{}, fmt.Errorf("cannot parse stat line of pid %d: %d fields", pid, len(fields))
	}
	p := Process{ID: ID{PID: pid}, State: fields[state][0], Comm: string(line[open+1 : end])}
	var flagBits uint64
	for _, f := range []struct {
		index int
		into  func(string) error
	}{
		{ppid, func(s string) (err error) { p.PPID, err = strconv.Atoi(s); return }},
		{flags, func(s string) (err error) { flagBits, err = strconv.ParseUint(s, 10, 64); return }},
		{start, func(s string) (err error) { p.Start, err = strconv.ParseUint(s, 10, 64); return }},
	} {
		if err := f.into(fields[f.index]); err != nil {
			return Process{}, fmt.Errorf("cannot parse stat line of pid %d: %w", pid, err)
		}
	}
	p.Forked = flagBits&forkNoExec != 0
	return p, nil
}

// Stat reads /proc/PID/stat.
func Stat(pid int) (Process, error) {
	line, err := readFile(path(pid, "stat"))
	if err != nil {
		return Process{}, err
	}
	return ParseStat(line)
}

// ParseSignals reads SigCgt and SigIgn from the text of /proc/PID/status.
func ParseSignals(status []byte) (caught, ignored signals.Set, err error) {
	found := 0
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		var into *signals.Set
		switch string(name) {
		case "SigCgt":
			into = &caught
		case "SigIgn":
			into = &ignored
		default:
			continue
		}
		bits, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("cannot parse %s: %w", name, err)
		}
		*into, found = signals.Set(bits), found+1
	}
	if found != 2 {
		return 0, 0, fmt.Errorf("cannot parse status: found %d of SigCgt and SigIgn", found)
	}
	return caught, ignored, nil
}

// Inspect fills in the details of a process.
func Inspect(p *Process) {
	list, err := sockets(p.PID, never)
	p.inspectBut(inodes(list), err)
}

// inspectBut reads all details but the sockets.
func (p *Process) inspectBut(sockets []uint64, err error) {
	p.inspected = true
	p.Sockets, p.FDsErr = sockets, err
	if status, err := readFile(path(p.PID, "status")); err != nil {
		p.SignalsErr = err
	} else {
		p.Caught, p.Ignored, p.SignalsErr = ParseSignals(status)
	}
	p.Image = fileID(path(p.PID, "exe"))
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func path(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// readFile is os.ReadFile without the poller, which costs four more system calls a file; a look reads
// hundreds of them.
func readFile(name string) ([]byte, error) {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer syscall.Close(fd)
	var text []byte
	for {
		text = slices.Grow(text, 2048)
		n, err := syscall.Read(fd, text[len(text):cap(text)])
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: name, Err: err}
		case n == 0:
			return text, nil
		default:
			text = text[:len(text)+n]
		}
	}
}

// PIDNamespace is the number of our PID namespace (namespaces(7)), or zero where it has none that lasts: without /proc, and
// under gVisor, where it is another one at every look, and smaller than the kernel's first (PROC_DYNAMIC_FIRST, proc_ns.h).
func PIDNamespace() uint64 {
	const first = 0xeffffff0
	var st syscall.Stat_t
	if syscall.Stat("/proc/self/ns/pid", &st) != nil || st.Ino < first {
		return 0
	}
	return st.Ino
}

// processOf is the process of a thread. gVisor has the thread send what Linux has its process send (unix(7), SCM_CREDENTIALS).
func processOf(thread int) int {
	status, err := readFile(path(thread, "status"))
	if err != nil {
		return thread
	}
	_, rest, _ := bytes.Cut(status, []byte("\nTgid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if pid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil && pid > 0 {
		return pid
	}
	return thread
}

// Lineage lists a process, which may be told by a thread of it, and its ancestors, as far as they can be seen.
func Lineage(pid int) []int {
	var list []int
	pid = processOf(pid)
	const longest = 64
	for pid > 0 && len(list) < longest {
		list = append(list, pid)
		p, err := Stat(pid)
		if err != nil {
			break
		}
		pid = p.PPID
	}
	return list
}
