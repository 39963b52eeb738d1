package lifecycle

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/notify"
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
	if !s.hasRoom(name, len(fds)) {
		s.prune()
	}
	for _, fd := range fds {
		var st unix.Stat_t
		// All of eventfd(2), timerfd_create(2) and the like have one inode, without a type.
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != 0 && s.has(name, st.Dev, st.Ino) {
			continue
		}
		if !s.hasRoom(name, 1) {
			return fmt.Errorf("fd %q is not kept: the fd store holds %d fds at most (--fd-store-max and RLIMIT_NOFILE; none where the app upgrades itself) and %d bytes of names", name, s.max, maxNames)
		}
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot keep fd %q: %w", name, err)
		}
		s.entries = append(s.entries, storedFD{name: name, fd: own, dev: st.Dev, inode: st.Ino})
	}
	return nil
}

// maxNames keeps LISTEN_FDNAMES below 128 KiB, the most that execve(2) takes for a variable. A generation that cannot
// be started for what is in the store could not be rolled back either.
const maxNames = 100 << 10

// hasRoom reports whether n more fds of that name would fit.
func (s *store) hasRoom(name string, n int) bool {
	size := n * (len(name) + 1)
	for _, e := range s.entries {
		size += len(e.name) + 1
	}
	return len(s.entries)+n <= s.max && size <= maxNames
}

// storable is how many fds can be stored and still be passed on: fork and exec need a second number for each, and the
// init some for itself.
func storable(wanted int) int {
	const own = 300 // a notification alone can bring 253
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return wanted
	}
	return int(min(uint64(wanted), (max(limit.Cur, own)-own)/2))
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
	var rest []int
	for _, e := range s.entries {
		if wanted(e) {
			kept = append(kept, e)
		} else {
			rest = append(rest, e.fd)
		}
	}
	s.entries = kept
	notify.Discard(rest)
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
