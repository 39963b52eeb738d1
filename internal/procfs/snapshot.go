package procfs

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"syscall"
)

// Snapshot is the process table at one moment, oldest process first.
type Snapshot struct {
	Processes []Process
	// Listening holds the inodes of all listening sockets; ListeningErr says why they are unknown.
	Listening    map[uint64]bool
	ListeningErr error
	// Established holds the inodes of established TCP connections, where they were asked for.
	Established    map[uint64]bool
	EstablishedErr error

	index map[int]int // pid → position, built on first use
}

// Ours returns an error unless /proc shows our own PID namespace. Pids in a foreign one would be believed to be
// those of strangers.
func Ours() error {
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return fmt.Errorf("cannot read /proc: %w (is it mounted?)", err)
	}
	if self != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("cannot use /proc: it belongs to another PID namespace")
	}
	return nil
}

// Take reads the process table. A process that ends meanwhile is left out.
func Take() (Snapshot, error) {
	if err := Ours(); err != nil {
		return Snapshot{}, err
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return Snapshot{}, fmt.Errorf("cannot list processes: %w", err)
	}
	names, err := dir.Readdirnames(-1)
	_ = dir.Close()
	if err != nil {
		return Snapshot{}, fmt.Errorf("cannot list processes: %w", err)
	}
	s := Snapshot{Processes: make([]Process, 0, len(names))} // to append to many thousands would take twice their memory
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := Stat(pid); err == nil {
			s.Processes = append(s.Processes, p)
		}
	}
	sort.Sort(byAge(s.Processes))
	return s, nil
}

type byAge []Process

func (p byAge) Len() int      { return len(p) }
func (p byAge) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p byAge) Less(i, j int) bool {
	if p[i].Start != p[j].Start {
		return p[i].Start < p[j].Start
	}
	return p[i].PID < p[j].PID
}

// Get returns the process with this pid, or nil.
func (s *Snapshot) Get(pid int) *Process {
	if s.index == nil {
		s.index = make(map[int]int, len(s.Processes))
		for i := range s.Processes {
			s.index[s.Processes[i].PID] = i
		}
	}
	if i, ok := s.index[pid]; ok {
		return &s.Processes[i]
	}
	return nil
}

// Alive reports whether this very process exists and has not ended.
func (s *Snapshot) Alive(id ID) bool {
	p := s.Get(id.PID)
	return p != nil && p.Start == id.Start && !p.Dead()
}

// Zombies is how many processes have ended and wait for their parent to notice.
func (s *Snapshot) Zombies() (n int) {
	for i := range s.Processes {
		if s.Processes[i].Dead() {
			n++
		}
	}
	return n
}

// Descends reports whether a process descends from an ancestor, itself included.
func (s *Snapshot) Descends(pid, ancestor int) bool {
	// A table read while processes come and go may contain a cycle; no chain is longer than the table.
	for range s.Processes {
		if pid == ancestor {
			return true
		}
		p := s.Get(pid)
		if p == nil || p.PPID == 0 {
			return false
		}
		pid = p.PPID
	}
	return false
}

// Listeners returns how many listening sockets the process holds. It is unknown where the process's fds
// or the sockets could not be read.
func (s *Snapshot) Listeners(p *Process) (n int, known bool) {
	return count(p, s.Listening, s.ListeningErr)
}

// Connections returns how many established connections the process holds, likewise.
func (s *Snapshot) Connections(p *Process) (n int, known bool) {
	if p.Partial {
		return 0, false
	}
	return count(p, s.Established, s.EstablishedErr)
}

func count(p *Process, sockets map[uint64]bool, err error) (n int, known bool) {
	if err != nil || p.FDsErr != nil {
		return 0, false
	}
	for _, inode := range p.Sockets {
		if sockets[inode] {
			n++
		}
	}
	return n, true
}

func fileID(path string) FileID {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return FileID{}
	}
	return FileID{Dev: st.Dev, Inode: st.Ino}
}
