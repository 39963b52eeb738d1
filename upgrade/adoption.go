// Package upgrade knows what an upgrade consists of: whether the main process can be asked for one, how to
// recognise the successor that it forks, and how to execute a program in its place.
//
// Recognition looks and does not guess. A trigger is preceded by a Record of everything that runs.
// Whatever is not in it, has executed a program of its own, descends from the main process and holds a
// listening socket is the successor, the oldest such process first.
package upgrade

import (
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
)

// Record is what ran when an upgrade was triggered.
type Record struct {
	Main procfs.ID
	// Listened says whether the main process held listening sockets; ListenersKnown, whether that could
	// be seen at all.
	Listened, ListenersKnown bool

	image      procfs.FileID
	sockets    map[uint64]bool    // the main process's sockets, true for those that listen
	known      map[procfs.ID]bool // what ran, true for those that had executed no program of their own yet
	generation map[procfs.ID]bool // the main process's descendants
	programs   map[procfs.ID]bool // those of them that executed a program of their own
}

// NewRecord takes the record from a snapshot that contains the main process in detail.
func NewRecord(s *procfs.Snapshot, main procfs.ID) *Record {
	r := &Record{
		Main:       main,
		known:      make(map[procfs.ID]bool, len(s.Processes)),
		generation: map[procfs.ID]bool{},
		programs:   map[procfs.ID]bool{},
	}
	for _, p := range s.Processes {
		r.known[p.ID] = p.Forked
		if p.ID != main && s.Descends(p.PID, main.PID) {
			r.generation[p.ID] = true
			if !p.Forked {
				r.programs[p.ID] = true
			}
		}
	}
	if p := s.Get(main.PID); p != nil {
		var n int
		n, r.ListenersKnown = s.Listeners(p)
		r.Listened = n > 0
		r.image = p.Image
		r.sockets = make(map[uint64]bool, len(p.Sockets))
		for _, inode := range p.Sockets {
			r.sockets[inode] = s.Listening[inode]
		}
	}
	return r
}

// Knows reports whether the process ran when the record was taken, as the program that it is now.
func (r *Record) Knows(p *procfs.Process) bool {
	forked, ran := r.known[p.ID]
	return ran && (!forked || p.Forked)
}

// Successor finds the successor in a snapshot, or returns the zero ID. mainGone says that the main process
// has been reaped; then the successor has become a child of self, the init.
//
// A main process that did not listen (UDP, or none at all) can have a successor that does not listen either, but
// then that must have inherited a socket: any helper would pass otherwise.
func (r *Record) Successor(s *procfs.Snapshot, self int, mainGone bool) procfs.ID {
	for i := range s.Processes {
		p := &s.Processes[i]
		if r.Knows(p) || p.Forked || p.Dead() || p.PID == self {
			continue
		}
		if mainGone && p.PPID != self || !mainGone && !s.Descends(p.PID, r.Main.PID) {
			continue
		}
		switch n, known := s.Listeners(p); {
		case known && (n > 0 || r.ListenersKnown && !r.Listened && r.shares(p, false)):
			return p.ID
		case !known && mainGone:
			return p.ID
		}
	}
	return procfs.ID{}
}

// Heir finds, after the main process has gone, a process that holds one of its listening sockets. However late it
// comes, it is a successor.
func (r *Record) Heir(s *procfs.Snapshot, self int) procfs.ID {
	for i := range s.Processes {
		p := &s.Processes[i]
		if !r.Knows(p) && !p.Forked && !p.Dead() && p.PPID == self && r.shares(p, true) {
			return p.ID
		}
	}
	return procfs.ID{}
}

// shares reports whether the process holds a socket that the main process held at the trigger, one that
// listens if so demanded.
func (r *Record) shares(p *procfs.Process, listening bool) bool {
	for _, inode := range p.Sockets {
		if listens, held := r.sockets[inode]; held && (listens || !listening) {
			return true
		}
	}
	return false
}

// Changed reports whether the main process has changed in place since the record was taken: it executes
// another file, it has forked new workers, or, as a supervisor does, it has replaced a program that it had
// started.
func (r *Record) Changed(s *procfs.Snapshot) bool {
	main := s.Get(r.Main.PID)
	if main == nil || main.ID != r.Main {
		return false
	}
	if main.Image != r.image && main.Image != (procfs.FileID{}) {
		return true
	}
	workers, programs := false, false
	for i := range s.Processes {
		p := &s.Processes[i]
		if r.Knows(p) || p.Dead() || !s.Descends(p.PID, main.PID) {
			continue
		}
		workers = workers || p.Forked
		programs = programs || !p.Forked
	}
	if !programs {
		return workers
	}
	// A new program below main is a successor, or the supervisor's new child if an old one went.
	for id := range r.programs {
		if !s.Alive(id) {
			return true
		}
	}
	return false
}

// Remaining lists what is left of the predecessor's generation without the predecessor itself: what
// descended from it at the trigger and lives, and what has come to live below those. The successor and its
// descendants are never among them.
func (r *Record) Remaining(s *procfs.Snapshot, successor procfs.ID) []procfs.ID {
	var rest []procfs.ID
	for i := range s.Processes {
		p := &s.Processes[i]
		if p.Dead() || p.ID == r.Main {
			continue
		}
		if successor.PID != 0 && s.Descends(p.PID, successor.PID) {
			continue
		}
		// Without a known successor a new process below may be one in the making.
		if r.generation[p.ID] || successor.PID != 0 && r.below(s, p) {
			rest = append(rest, p.ID)
		}
	}
	return rest
}

// below reports whether an ancestor of p belongs to the predecessor's generation, or is the predecessor.
func (r *Record) below(s *procfs.Snapshot, p *procfs.Process) bool {
	for range s.Processes {
		if p = s.Get(p.PPID); p == nil {
			return false
		}
		if r.generation[p.ID] || p.ID == r.Main {
			return true
		}
	}
	return false
}

// Survives reports whether a process would survive the signal: it catches or ignores it. A Go program
// catches every signal, so this is a safety net and no proof that the program does something about it.
func Survives(p *procfs.Process, s signals.Signal) bool {
	return p.Caught.Has(s) || p.Ignored.Has(s)
}
