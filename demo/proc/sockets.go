package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Sockets are the inodes of the TCP sockets that are bound to a local port.
type Sockets struct {
	Listening   map[uint64]bool
	Established map[uint64]bool
}

// TCP reads the sockets on a port from net/tcp and net/tcp6.
func TCP(proc string, port int) (Sockets, error) {
	s := Sockets{Listening: map[uint64]bool{}, Established: map[uint64]bool{}}
	for _, name := range []string{"self/net/tcp", "self/net/tcp6"} {
		b, err := os.ReadFile(filepath.Join(proc, name))
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		if err != nil {
			return s, err
		}
		if err := s.parse(string(b), port); err != nil {
			return s, err
		}
	}
	return s, nil
}

// States of a socket in net/tcp, include/net/tcp_states.h.
const (
	established = "01"
	listening   = "0A"
)

func (s Sockets) parse(table string, port int) error {
	for i, line := range strings.Split(table, "\n") {
		f := strings.Fields(line)
		if i == 0 || len(f) == 0 {
			continue // the heading, the end
		}
		if len(f) < 10 {
			return fmt.Errorf("cannot parse line %q of the socket table", line)
		}
		_, hex, _ := strings.Cut(f[1], ":")
		local, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			return fmt.Errorf("cannot parse the local address %q: %w", f[1], err)
		}
		if int(local) != port {
			continue
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil {
			return fmt.Errorf("cannot parse the inode %q: %w", f[9], err)
		}
		switch f[3] {
		case established:
			s.Established[inode] = true
		case listening:
			s.Listening[inode] = true
		}
	}
	return nil
}

// SocketsOf are the inodes of the sockets that a process has open.
func SocketsOf(proc string, pid int) ([]uint64, error) {
	dir := filepath.Join(proc, strconv.Itoa(pid), "fd")
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, name := range names {
		link, err := os.Readlink(filepath.Join(dir, name.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		number, ok := strings.CutPrefix(link, "socket:[")
		if !ok {
			continue
		}
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
			out = append(out, inode)
		}
	}
	return out, nil
}

// Count tells how many of the inodes are in the set.
func Count(inodes []uint64, set map[uint64]bool) int {
	n := 0
	for _, inode := range inodes {
		if set[inode] {
			n++
		}
	}
	return n
}
