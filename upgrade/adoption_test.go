package upgrade

import (
	"errors"
	"slices"
	"testing"

	"github.com/graceinit/graceinit/internal/procfs"
)

// The table of these tests: the init is 1, the main process 10 with the workers 11 and 12.

const (
	initPID = 1
	socket  = 77
)

func proc(pid, parent int, start uint64, change ...func(*procfs.Process)) procfs.Process {
	p := procfs.Process{ID: procfs.ID{PID: pid, Start: start}, PPID: parent, State: 'S'}
	for _, c := range change {
		c(&p)
	}
	return p
}

func forked(p *procfs.Process)     { p.Forked = true }
func listens(p *procfs.Process)    { p.Sockets = []uint64{5, socket} }
func unreadable(p *procfs.Process) { p.FDsErr = errors.New("permission denied") }
func zombie(p *procfs.Process)     { p.State = 'Z' }

func table(more ...procfs.Process) *procfs.Snapshot {
	return &procfs.Snapshot{
		Processes: append([]procfs.Process{
			proc(1, 0, 1),
			proc(10, 1, 100, listens),
			proc(11, 10, 110, forked, listens),
			proc(12, 10, 120, forked, listens),
		}, more...),
		Listening: map[uint64]bool{socket: true},
	}
}

var main = procfs.ID{PID: 10, Start: 100}

func TestSuccessor(t *testing.T) {
	for name, c := range map[string]struct {
		more     []procfs.Process
		mainGone bool
		want     int
	}{
		"nobody new":                        {nil, false, 0},
		"a child that listens":              {[]procfs.Process{proc(20, 10, 200, listens)}, false, 20},
		"the oldest of two":                 {[]procfs.Process{proc(20, 10, 200, listens), proc(21, 10, 210, listens)}, false, 20},
		"a grandchild":                      {[]procfs.Process{proc(20, 11, 200, forked), proc(21, 20, 210, listens)}, false, 21},
		"a respawned worker":                {[]procfs.Process{proc(20, 10, 200, forked, listens)}, false, 0},
		"a respawned worker after a crash":  {[]procfs.Process{proc(20, 1, 200, forked, listens)}, true, 0},
		"a helper without a listener":       {[]procfs.Process{proc(20, 10, 200)}, false, 0},
		"a helper left by a crash":          {[]procfs.Process{proc(20, 1, 200)}, true, 0},
		"an orphan beside the main process": {[]procfs.Process{proc(20, 1, 200, listens)}, false, 0},
		"our own child after the main":      {[]procfs.Process{proc(20, 1, 200, listens)}, true, 20},
		"from outside the container":        {[]procfs.Process{proc(20, 0, 200, listens)}, true, 0},
		"dead":                              {[]procfs.Process{proc(20, 10, 200, listens, zombie)}, false, 0},
		"unreadable":                        {[]procfs.Process{proc(20, 10, 200, unreadable)}, false, 0},
		"unreadable, main gone":             {[]procfs.Process{proc(20, 1, 200, unreadable)}, true, 20},
		"a pid that is used again":          {[]procfs.Process{proc(13, 10, 200, listens)}, false, 13},
	} {
		before := table()
		before.Processes = append(before.Processes, proc(13, 10, 130, forked))
		record := NewRecord(before, main)
		if got := record.Successor(table(c.more...), initPID, c.mainGone); got.PID != c.want {
			t.Errorf("%s: %d, want %d", name, got.PID, c.want)
		}
	}
}

// A main process that does not listen (UDP only) has a successor that inherits a socket; a helper that a worker of
// a queue starts does not.
func TestSuccessorOfAMainWithoutListeners(t *testing.T) {
	datagrams := func(p *procfs.Process) { p.Sockets = []uint64{42} }
	before := &procfs.Snapshot{Processes: []procfs.Process{proc(1, 0, 1), proc(10, 1, 100, datagrams)}}
	record := NewRecord(before, main)
	helper, successor := proc(20, 10, 200), proc(21, 10, 210, datagrams)
	after := &procfs.Snapshot{Processes: append(before.Processes, helper, successor)}
	if got := record.Successor(after, initPID, false); got.PID != 21 {
		t.Errorf("%d, want 21", got.PID)
	}
	orphaned := proc(20, 1, 200)
	if got := record.Successor(&procfs.Snapshot{Processes: []procfs.Process{orphaned}}, initPID, true); got.PID != 0 {
		t.Errorf("a helper (%d) was taken for the successor of a main process that crashed", got.PID)
	}
}

// However long the predecessor drains, who holds its listener succeeds it.
func TestHeir(t *testing.T) {
	record := NewRecord(table(), main)
	own := proc(20, 1, 200, func(p *procfs.Process) { p.Sockets = []uint64{78} })
	heir := proc(21, 1, 210, listens)
	s := &procfs.Snapshot{Processes: []procfs.Process{own, proc(11, 1, 110, forked, listens), heir}, Listening: map[uint64]bool{socket: true, 78: true}}
	if got := record.Heir(s, initPID); got != heir.ID {
		t.Errorf("%v, want %v", got, heir.ID)
	}
}

// A child that was forked before the trigger, for an earlier one, and executes its program only after it, is new.
func TestSuccessorThatWasForkedBefore(t *testing.T) {
	record := NewRecord(table(proc(20, 10, 200, forked)), main)
	if got := record.Successor(table(proc(20, 10, 200, listens)), initPID, false); got.PID != 20 {
		t.Errorf("%d, want 20", got.PID)
	}
}

func TestChanged(t *testing.T) {
	image := func(inode uint64) func(*procfs.Process) {
		return func(p *procfs.Process) { p.Image = procfs.FileID{Inode: inode} }
	}
	base := func(mainImage uint64, more ...procfs.Process) *procfs.Snapshot {
		return &procfs.Snapshot{Processes: append([]procfs.Process{proc(1, 0, 1), proc(10, 1, 100, image(mainImage))}, more...)}
	}
	worker, program := proc(11, 10, 110, forked), proc(12, 10, 120)
	record := NewRecord(base(1, worker, program), main)
	for name, c := range map[string]struct {
		after *procfs.Snapshot
		want  bool
	}{
		"nothing":                    {base(1, worker, program), false},
		"another image":              {base(2, worker, program), true},
		"an image that is hidden":    {base(0, worker, program), false},
		"new workers":                {base(1, worker, program, proc(20, 10, 200, forked)), true},
		"a successor in the making":  {base(1, worker, program, proc(20, 10, 200, forked), proc(21, 10, 210)), false},
		"a supervisor's new program": {base(1, worker, proc(20, 10, 200)), true},
		"the main process is gone":   {&procfs.Snapshot{Processes: []procfs.Process{proc(1, 0, 1)}}, false},
		"its pid is used again":      {&procfs.Snapshot{Processes: []procfs.Process{proc(10, 1, 999, image(2))}}, false},
	} {
		if got := record.Changed(c.after); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestRemaining(t *testing.T) {
	record := NewRecord(table(), main)
	successor := procfs.ID{PID: 20, Start: 200}
	after := table(
		proc(20, 10, 200, listens), proc(21, 20, 210, forked), // the successor and its worker
		proc(22, 11, 220), // a helper that an old worker started meanwhile
		proc(30, 1, 300),  // somebody else's orphan
		proc(31, 0, 310),  // somebody from outside
	)
	var got []int
	for _, id := range record.Remaining(after, successor) {
		got = append(got, id.PID)
	}
	if want := []int{11, 12, 22}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// The predecessor is killed, its workers are orphans now.
	orphans := &procfs.Snapshot{Processes: []procfs.Process{
		proc(1, 0, 1), proc(11, 1, 110, forked), proc(12, 1, 999), proc(20, 1, 200), proc(21, 20, 210, forked),
	}}
	got = nil
	for _, id := range record.Remaining(orphans, successor) {
		got = append(got, id.PID)
	}
	if want := []int{11}; !slices.Equal(got, want) { // 12 is another process by now
		t.Errorf("%v, want %v", got, want)
	}
	if rest := record.Remaining(table(proc(20, 10, 200)), procfs.ID{}); len(rest) != 2 {
		t.Errorf("without a known successor %v is to end, want the two workers", rest)
	}
}
