package lifecycle

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/control"
)

// store is systemd's file descriptor store: fds that the app has handed over by FDSTORE=1, which every later
// generation gets after the listeners.
type store struct {
	max     int
	entries []storedFD
}

type storedFD struct {
	name       string
	fd         int // close-on-exec
	dev, inode uint64
}

// add keeps copies of the fds. One that is in the store already is passed over, as systemd does.
func (s *store) add(name string, fds []int) error {
	if len(s.entries)+len(fds) > s.max {
		s.prune()
	}
	for _, fd := range fds {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || s.has(name, st.Dev, st.Ino) {
			continue
		}
		if len(s.entries) >= s.max {
			return fmt.Errorf("fd %q is not kept: the fd store holds %d fds at most (--fd-store-max; none where the app upgrades itself)", name, s.max)
		}
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot keep fd %q: %w", name, err)
		}
		s.entries = append(s.entries, storedFD{name: name, fd: own, dev: st.Dev, inode: st.Ino})
	}
	return nil
}

func (s *store) has(name string, dev, inode uint64) bool {
	for _, e := range s.entries {
		if e.inode == inode && e.dev == dev && e.name == name {
			return true
		}
	}
	return false
}

// remove forgets all fds of a name.
func (s *store) remove(name string) {
	s.keep(func(e storedFD) bool { return e.name != name })
}

// prune forgets fds whose other side has gone. systemd does so at once; here it is done when it matters, since an
// idle init does not wake up.
func (s *store) prune() {
	polled := make([]unix.PollFd, len(s.entries))
	for i, e := range s.entries {
		polled[i].Fd = int32(e.fd)
	}
	if _, err := unix.Poll(polled, 0); err != nil {
		return
	}
	i := 0
	s.keep(func(storedFD) bool {
		i++
		return polled[i-1].Revents&(unix.POLLHUP|unix.POLLERR) == 0
	})
}

func (s *store) keep(wanted func(storedFD) bool) {
	kept := s.entries[:0]
	for _, e := range s.entries {
		if wanted(e) {
			kept = append(kept, e)
		} else {
			unix.Close(e.fd)
		}
	}
	s.entries = kept
}

// names lists the names of the fds, one for each.
func (s *store) names() []string {
	list := make([]string, len(s.entries))
	for i, e := range s.entries {
		list[i] = e.name
	}
	return list
}

// summary counts the fds by name.
func (s *store) summary() (list []control.Stored) {
	index := map[string]int{}
	for _, e := range s.entries {
		at, seen := index[e.name]
		if !seen {
			at = len(list)
			index[e.name] = at
			list = append(list, control.Stored{Name: e.name})
		}
		list[at].FDs++
	}
	return list
}
