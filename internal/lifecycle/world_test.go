package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
)

// world is a make-believe container: a process table, a clock and apps that behave like the servers that
// there are, and like broken ones. It carries out the machine's actions, lets effects fail, and notes what
// the machine must never do.
type world struct {
	rng     *rand.Rand
	machine *Machine
	now     time.Time
	procs   map[int]*process // by pid
	all     []*process       // the same, in order of age: maps have none, and a seed must replay
	freed   []int            // pids that may be used again
	nextPID int
	future  []happening // what apps will do, unordered
	violate []string
	exited  *Exit
	trace   []string
	tracing bool
	depth   int // of steps within steps

	reaped      map[procfs.ID]bool // by the machine's doing
	born        uint64
	reports     int // lines that end an upgrade
	triggered   int // lines that begin one
	shutdownAt  time.Time
	code        int // how the last main process ended
	pidFile     int
	blind       bool // /proc is unreadable
	several     bool // a predecessor has forked more than one successor
	wasBlind    bool
	predecessor procfs.ID // the main process at the last trigger
	asked       time.Time // when it was last sent the upgrade signal
	fdsHidden   bool
	stopping    map[procfs.ID]int // how often a process got the stop signal
	named       int               // a pid that a stranger's MAINPID= named

	*spawning // nil where the app upgrades itself
}

type process struct {
	procfs.Process
	app      *app
	listens  bool
	zombie   bool
	status   reaper.Status
	draining bool
	gen      int  // which generation of the app this is
	forked   bool // a successor
	socket   uint64
	group    int
	immortal bool // not even SIGKILL ends it (uninterruptible sleep)
}

// app says how the processes of a generation behave.
type app struct {
	kind       kind
	catches    bool          // the upgrade signal
	dropsAfter time.Duration // successor's start to the predecessor's end of listening
	drains     time.Duration // how long a drain lasts; negative: for ever
	workers    int
	crashAfter time.Duration // the successor dies so long after its start; zero: never
	notifies   bool
	daemonises bool
}

type kind int

const (
	handsOver kind = iota // grace, tableflip: the successor ends the predecessor
	waits                 // nginx, gunicorn: the predecessor waits for a signal
	inPlace               // haproxy -W: the main process executes itself anew
	inert                 // nothing happens
	kinds
)

type happening struct {
	at time.Time
	do func()
}

const self = 1

func newWorld(seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 42))
	w := &world{
		rng: rng, now: time.Unix(1e9, 0), procs: map[int]*process{}, nextPID: 2,
		reaped: map[procfs.ID]bool{}, stopping: map[procfs.ID]int{},
	}
	w.add(&process{Process: procfs.Process{ID: procfs.ID{PID: self, Start: 1}, State: 'S'}})
	return w
}

func (w *world) randomApp() *app {
	a := &app{
		kind:    kind(w.rng.IntN(int(kinds))),
		catches: w.rng.IntN(8) != 0,
		workers: w.rng.IntN(3),
	}
	a.dropsAfter = w.millis(0, 4000)
	a.drains = w.millis(0, 3000)
	if w.rng.IntN(6) == 0 {
		a.drains = -1
	}
	if w.rng.IntN(3) == 0 {
		a.crashAfter = w.millis(1, 5000)
	}
	a.notifies = w.rng.IntN(3) == 0
	return a
}

func (w *world) millis(from, to int) time.Duration {
	return time.Duration(from+w.rng.IntN(to-from+1)) * time.Millisecond
}

func (w *world) fail(format string, args ...any) {
	w.violate = append(w.violate, fmt.Sprintf(format, args...))
}

func (w *world) later(d time.Duration, do func()) {
	w.future = append(w.future, happening{w.now.Add(d), do})
}

// fork makes a process. Pids are used again now and then, start times are not.
func (w *world) fork(parent int, a *app, gen int) *process {
	pid := w.nextPID
	if n := len(w.freed); n > 0 && w.rng.IntN(4) == 0 {
		pid = w.freed[n-1]
		w.freed = w.freed[:n-1]
	} else {
		w.nextPID++
	}
	w.born++
	p := &process{app: a, gen: gen, Process: procfs.Process{
		ID: procfs.ID{PID: pid, Start: w.born}, PPID: parent, State: 'S', Forked: true,
	}}
	p.socket, p.group = p.Start, pid
	if parent := w.procs[parent]; parent != nil && parent.app != nil {
		p.socket, p.group = parent.socket, parent.group
	}
	w.add(p)
	return p
}

func (w *world) add(p *process) {
	w.procs[p.PID] = p
	w.all = append(w.all, p)
}

// remove takes a reaped process out of the table.
func (w *world) remove(p *process) {
	delete(w.procs, p.PID)
	w.all = slices.DeleteFunc(w.all, func(q *process) bool { return q == p })
	w.freed = append(w.freed, p.PID)
}

// exec turns a forked process into a program.
func (p *process) exec(listens bool) { p.Forked, p.listens = false, listens }

func (w *world) live(p *process) bool { return w.procs[p.PID] == p && !p.zombie }

// die ends a process; its children become the init's.
func (w *world) die(p *process, status reaper.Status) {
	if !w.live(p) || p.PID == self {
		return
	}
	p.zombie, p.State, p.listens, p.status = true, 'Z', false, status
	for _, c := range w.all {
		if c.PPID == p.PID {
			c.PPID = self
		}
	}
	if w.spawning != nil && w.guards[p.PID] != nil { // goes with its app, which is left to the init
		w.die(w.guards[p.PID], reaper.Status{})
		delete(w.guards, p.PID)
		return
	}
	if p.PPID != self { // its parent reaps it, sooner or later
		parent := p.PPID
		w.later(w.millis(0, 500), func() {
			if p.PPID == parent && w.procs[p.PID] == p {
				w.remove(p)
			}
		})
	}
}

// drain lets a process finish its work and go, with its workers.
func (w *world) drain(p *process) {
	if p.draining {
		// facebookgo/grace dies of a second stop signal, with the requests that it still answers.
		w.die(p, reaper.Status{Signal: syscall.SIGTERM})
		return
	}
	p.draining, p.listens = true, false
	if p.app.drains >= 0 {
		w.later(p.app.drains, func() {
			for _, c := range slices.Clone(w.all) {
				if c.PPID == p.PID && c.Forked {
					w.die(c, reaper.Status{})
				}
			}
			w.die(p, reaper.Status{})
		})
	}
}

// deliver is a signal that reaches a process.
func (w *world) deliver(p *process, s signals.Signal) {
	switch {
	case s == sigKILL:
		if !p.immortal {
			w.die(p, reaper.Status{Signal: syscall.SIGKILL})
		}
	case s == sigABRT:
		w.die(p, reaper.Status{Signal: syscall.SIGABRT})
	case p.app == nil:
		if s == sigTERM && w.rng.IntN(4) != 0 {
			w.die(p, reaper.Status{Signal: syscall.SIGTERM})
		}
	case s == upgradeSignal:
		w.upgrade(p)
	case s == sigTERM || s == quit:
		w.drain(p)
	}
}

const (
	upgradeSignal = signals.Signal(syscall.SIGUSR2)
	quit          = signals.Signal(syscall.SIGQUIT)
)

// upgrade is what an app does on the upgrade signal.
func (w *world) upgrade(p *process) {
	if !p.app.catches && !w.machine.cfg.Upgrades {
		return // a signal like any other
	}
	if !p.app.catches {
		w.fail("pid %d was sent %s, which kills it", p.PID, upgradeSignal)
		w.die(p, reaper.Status{Signal: syscall.SIGUSR2})
		return
	}
	switch p.app.kind {
	case inPlace:
		w.later(w.millis(1, 100), func() {
			if w.live(p) {
				p.Image.Inode++
				w.fork(p.PID, p.app, p.gen)
				w.pauseListening(p)
			}
		})
	case handsOver, waits:
		next := *p.app
		if w.rng.IntN(3) == 0 {
			next = *w.randomApp()
			next.kind = p.app.kind
		}
		child := w.fork(p.PID, &next, p.gen+1)
		w.several = w.several || p.forked
		p.forked = true
		w.later(w.millis(0, 50), func() { w.becomeSuccessor(child, p) })
		if w.rng.IntN(30) == 0 { // both crash
			w.later(w.millis(60, 300), func() {
				w.die(child, reaper.Status{Code: 1})
				w.die(p, reaper.Status{Signal: syscall.SIGBUS})
			})
		}
	}
}

// becomeSuccessor executes the new program.
func (w *world) becomeSuccessor(child, parent *process) {
	if !w.live(child) {
		return
	}
	child.exec(true)
	for range child.app.workers {
		w.fork(child.PID, child.app, child.gen)
	}
	if child.app.crashAfter > 0 {
		w.later(child.app.crashAfter, func() { w.die(child, reaper.Status{Code: 1}) })
	}
	if child.app.notifies {
		w.later(w.millis(0, 500), func() { w.say(child) })
	}
	if child.app.kind == handsOver {
		w.later(child.app.dropsAfter, func() {
			if !w.live(child) || !w.live(parent) || child.PPID != parent.PID {
				return
			}
			if w.rng.IntN(10) == 0 {
				w.pauseListening(parent) // it changes its mind
			} else {
				w.drain(parent)
			}
		})
	}
}

// pauseListening is an app that opens its listeners anew.
func (w *world) pauseListening(p *process) {
	p.listens = false
	w.later(w.millis(0, 300), func() { p.listens = w.live(p) && !p.draining })
}

// say is READY=1 from a process.
func (w *world) say(p *process) {
	var lineage []int
	for at := p; at != nil && w.live(p); at = w.procs[at.PPID] {
		lineage = append(lineage, at.PID)
	}
	w.step(Notified{Lineage: lineage, Message: notify.Message{Ready: true}})
}

// snapshot is what /proc shows.
func (w *world) snapshot() *procfs.Snapshot {
	s := &procfs.Snapshot{Listening: map[uint64]bool{}, Established: map[uint64]bool{}}
	for _, p := range w.all {
		row := p.Process
		if p.listens {
			row.Sockets = []uint64{p.socket}
			s.Listening[p.socket] = true
		}
		if w.fdsHidden {
			row.FDsErr = syscall.EACCES
		}
		if p.app != nil && p.app.catches {
			row.Caught.Add(upgradeSignal)
		}
		s.Processes = append(s.Processes, row)
	}
	return s
}
