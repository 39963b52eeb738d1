package procfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// eachFD calls f with the number and the link of every open fd of a process, until it says that this is enough. Listing
// another user's fds works without CAP_SYS_PTRACE in some kernels, reading the links does not: an unreadable link is an
// error, not a process without fds.
func eachFD(pid int, f func(name string, link []byte) (enough bool)) error {
	dir, err := os.Open(path(pid, "fd"))
	if err != nil {
		return err
	}
	defer dir.Close()
	link := make([]byte, 64) // a longer link is a file's, and cut off
	for {
		const atOnce = 256
		names, err := dir.Readdirnames(atOnce)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			n, err := unix.Readlinkat(int(dir.Fd()), name, link)
			switch {
			case errors.Is(err, unix.ENOENT):
				continue // closed meanwhile
			case err != nil:
				return &os.PathError{Op: "readlink", Path: path(pid, "fd/") + name, Err: err}
			}
			if f(name, link[:n]) {
				return nil
			}
		}
	}
}

func socketInode(link []byte) (uint64, bool) {
	rest, ok := bytes.CutPrefix(link, []byte("socket:["))
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(string(bytes.TrimSuffix(rest, []byte("]"))), 10, 64)
	return inode, err == nil
}

// sockets lists the inodes of the process's open sockets, by the fd's name, until there is enough.
func sockets(pid int, enough func(fds int, inode uint64) bool) (found []namedSocket, err error) {
	fds := 0
	err = eachFD(pid, func(name string, link []byte) bool {
		inode, ok := socketInode(link)
		if ok {
			found = append(found, namedSocket{name, inode})
		}
		fds++
		return enough(fds, inode)
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func never(int, uint64) bool { return false }

type namedSocket struct {
	name  string
	inode uint64
}

func inodes(list []namedSocket) []uint64 {
	all := make([]uint64, len(list))
	for i, s := range list {
		all[i] = s.inode
	}
	return all
}

// Inspector reads the same as Inspect and Established, over and over, and spares what takes long. To list the fds of a
// process takes time in proportion to its connections, to list connections in proportion to those of the whole machine.
//
// Of a process with more fds than Some only those are read, the lowest, which a server opens first, unless more is wanted. What took longer than Cheap is not done again before Rest times as long has
// passed, or five seconds, and the last answer holds. The fds of each process and the connections are spared apart. A process that has closed a socket that listened is always looked at anew. The zero
// value is ready for use.
type Inspector struct {
	Some  int           // zero: 1000
	Cheap time.Duration // zero: 1 ms
	Rest  int           // zero: 50

	processes   map[ID]*reading
	connections reading
}

// reading is the last answer.
type reading struct {
	at        time.Time
	took      time.Duration
	some      bool // not all
	listens   bool // a socket that listens is, or was, among these
	sockets   []uint64
	listening []namedSocket // those of sockets that listened then
	used      bool          // since the last Forget
}

func (i *Inspector) holds(r *reading, now time.Time) bool {
	cheap, rest := i.Cheap, i.Rest
	if cheap == 0 {
		cheap = time.Millisecond
	}
	if rest == 0 {
		rest = 50
	}
	// Not longer: what took long may have been our own stall (a CPU quota, SIGSTOP, a paused machine).
	const atMost = 5 * time.Second
	return !r.at.IsZero() && r.took > cheap && now.Before(r.at.Add(min(r.took*time.Duration(rest), atMost)))
}

// Want says which fds of a process matter.
type Want uint8

const (
	// Listeners are the sockets that listen: it is enough to have read so many that one of them is there. Once a process
	// had one among the lowest it is not searched for others, when it has closed that.
	Listeners Want = iota
	// Few are those that are read at little cost.
	Few
	// All are all.
	All
)

// does reports whether the answer does for what is wanted.
func (r *reading) does(want Want) bool {
	return !r.some || want == Few || want == Listeners && r.listens
}

// Inspect fills in the details of a process; listening are the sockets that listen now.
func (i *Inspector) Inspect(p *Process, listening map[uint64]bool, want Want) {
	last := i.processes[p.ID]
	began := time.Now()
	if last != nil && i.holds(last, began) && last.does(want) && stillListens(p.PID, last.listening, listening) {
		last.used = true
		p.inspectBut(last.sockets, nil)
		p.Partial = last.some
		return
	}
	most := i.Some
	if most == 0 {
		most = 1000
	}
	r := &reading{at: began, used: true, listens: last != nil && last.some && last.listens}
	list, err := sockets(p.PID, func(fds int, inode uint64) bool {
		r.listens = r.listens || listening[inode]
		r.some = want != All && (r.listens || want == Few) && fds > most
		return r.some
	})
	r.took, r.sockets = time.Since(began), inodes(list)
	for _, s := range list {
		if listening[s.inode] {
			r.listening = append(r.listening, s)
		}
	}
	if i.processes == nil {
		i.processes = map[ID]*reading{}
	}
	delete(i.processes, p.ID)
	if err == nil {
		i.processes[p.ID] = r
	}
	p.inspectBut(r.sockets, err)
	p.Partial = r.some
}

// stillListens reports whether the fds are what they were.
func stillListens(pid int, list []namedSocket, listening map[uint64]bool) bool {
	link := make([]byte, 64)
	for _, s := range list {
		n, err := unix.Readlink(path(pid, "fd/")+s.name, link)
		if err != nil {
			return false
		}
		if inode, ok := socketInode(link[:n]); !ok || inode != s.inode || !listening[inode] {
			return false
		}
	}
	return true
}

// Established returns the inodes of all established TCP connections of the network namespace, or nil where the last
// answer is still to hold.
func (i *Inspector) Established() (map[uint64]bool, error) {
	began := time.Now()
	if i.holds(&i.connections, began) {
		return nil, nil
	}
	found, err := Established()
	i.connections = reading{at: began, took: time.Since(began)}
	return found, err
}

// Forget forgets processes that were not inspected since it was called last.
func (i *Inspector) Forget() {
	for id, r := range i.processes {
		if !r.used {
			delete(i.processes, id)
		}
		r.used = false
	}
}
