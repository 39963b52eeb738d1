package procfs

import (
	"bufio"
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Accepting says whether a process waits for connections on certain sockets.
type Accepting uint8

const (
	AcceptingUnknown Accepting = iota // /proc does not show it: another user's process, gVisor
	AcceptingNo
	AcceptingYes
)

// Accepts finds out whether a process, or a descendant of it, waits for connections on one of the sockets. It sees
// accept(2) and epoll(7); a thread in poll or select, and whoever uses io_uring, could wait for anything, and counts as
// accepting. Of a master whose workers may not be looked into (nginx's, of another user) nothing is known.
func (s *Snapshot) Accepts(pid int, sockets map[uint64]bool) Accepting {
	answer := AcceptingNo
	for i := range s.Processes {
		p := &s.Processes[i]
		if p.Dead() || !s.Descends(p.PID, pid) {
			continue
		}
		switch accepts(p.PID, sockets) {
		case AcceptingYes:
			return AcceptingYes
		case AcceptingUnknown:
			if now, err := Stat(p.PID); err == nil && !now.Dead() {
				answer = AcceptingUnknown
			}
		}
	}
	return answer
}

func accepts(pid int, sockets map[uint64]bool) Accepting {
	dir := path(pid, "task")
	tasks, err := readNames(dir)
	if err != nil {
		return AcceptingUnknown
	}
	seen := false
	for _, task := range tasks {
		// number and arguments of the system call that the thread blocks in, or "running" (proc_pid_syscall(5))
		text, err := readFile(dir + "/" + task + "/syscall")
		if err != nil {
			continue
		}
		seen = true
		number, _, _ := bytes.Cut(text, []byte(" "))
		if n, err := strconv.Atoi(string(number)); err == nil && mayAccept(n) {
			return AcceptingYes
		}
	}
	switch watched, err := epollWatches(pid, sockets); {
	case err != nil:
		return AcceptingUnknown
	case watched:
		return AcceptingYes
	case !seen:
		return AcceptingUnknown
	}
	return AcceptingNo
}

// mayAccept reports whether a system call waits for connections, or for what could be connections.
func mayAccept(number int) bool {
	switch number {
	case unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_PPOLL, unix.SYS_PSELECT6, unix.SYS_IO_URING_ENTER, sysPoll, sysSelect:
		return true
	}
	return false
}

// epollWatches reports whether an epoll instance of the process watches one of the sockets (proc_pid_fdinfo(5)). It ends
// with the first that does, which is among the first fds that a server opens.
func epollWatches(pid int, sockets map[uint64]bool) (watched bool, err error) {
	err = eachFD(pid, func(name string, link []byte) bool {
		switch string(link) {
		case "anon_inode:[io_uring]":
			watched = true
		case "anon_inode:[eventpoll]":
			watched = watchesAny(path(pid, "fdinfo/")+name, sockets)
		}
		return watched
	})
	return watched, err
}

// watchesAny reads lines like "tfd: 5 events: 19 data: 0 pos:0 ino:61af sdev:7", the inode in hexadecimal, one for each
// of what may be tens of thousands of fds. An instance that was closed meanwhile watches nothing.
func watchesAny(fdinfo string, sockets map[uint64]bool) bool {
	f, err := os.Open(fdinfo)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if _, rest, ok := bytes.Cut(lines.Bytes(), []byte("ino:")); ok {
			text, _, _ := bytes.Cut(rest, []byte(" "))
			if inode, err := strconv.ParseUint(string(text), 16, 64); err == nil && sockets[inode] {
				return true
			}
		}
	}
	return false
}
