package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/demo/proc"
	"github.com/graceinit/graceinit/test/container/load"
)

const (
	// giveBackLimit is how long it may take to give back memory, and to drop clients that hold their connections.
	giveBackLimit = 20 * time.Second
	// settled is how long after an upgrade a client may meet the close of a connection that the predecessor held.
	settled = 3 * time.Second
)

// restLimit is how long the init may take to come to rest: an upgrade that was triggered in the storm, one more that was
// held meanwhile, each with all of its timeouts, a rollback, and a busy machine.
func (e *episode) restLimit() time.Duration { return e.kit.rest }

// figures of the init that must not grow.
type figures struct {
	rss  int64 // kB
	heap int64 // kB that are no pages of a file: those the kernel takes back where it wants
	fds  int
}

func (f figures) String() string {
	return fmt.Sprintf("%d kB (%d kB of them its own) and %d fds", f.rss, f.heap, f.fds)
}

// now is the time on the load's clock.
func (e *episode) now() time.Duration {
	if e.load == nil {
		return 0
	}
	return e.load.Since()
}

// ask asks the init for its status.
func (e *episode) ask() (s status, err error) {
	out, code, err := e.inside(e.kit.init, "status", "--json")
	if err != nil {
		return s, err
	}
	if code != 0 {
		return s, fmt.Errorf("graceinit status: exit code %d: %.200s", code, out)
	}
	l := line{Status: &s}
	if err := json.Unmarshal([]byte(out), &l); err != nil {
		return s, err
	}
	e.watch.see(s)
	return s, nil
}

// calm waits until the init rests with one generation of its app and nothing else.
func (e *episode) calm(when string) bool {
	var problem string
	ok := e.until(e.restLimit(), func() bool {
		s, err := e.ask()
		switch {
		case err != nil:
			problem = err.Error()
		case s.State != "running" || !s.Ready || s.Main == nil || s.Upgrade != nil || s.Successor != nil || s.Predecessor != nil:
			problem = fmt.Sprintf("it is %s, ready %v, an upgrade in progress %v, main process %v, successor %v, predecessor %v",
				s.State, s.Ready, s.Upgrade != nil, s.Main, s.Successor, s.Predecessor)
		default:
			problem = e.left()
		}
		return problem == ""
	})
	if e.gone() {
		e.ended = true
		e.unasked()
		return false
	}
	if !ok {
		e.violate("%s the init does not come to rest: %s", when, problem)
		return false
	}
	if !e.answers(10 * time.Second) {
		e.violate("%s the app does not answer, although the init says that it is ready", when)
		return false
	}
	for _, mended := range e.mend {
		mended()
	}
	e.mend = nil
	return e.measure(when)
}

// left tells what there is beside the init and one generation of the app.
func (e *episode) left() string {
	list, err := proc.List(e.proc())
	if err != nil {
		return err.Error()
	}
	parents := map[int]int{}
	for _, p := range list {
		parents[p.PID] = p.PPID
	}
	var out, app []string
	for _, p := range list {
		switch {
		case p.PID == 1 || !descends(parents, p.PID): // the init, and who comes from outside
		case p.Zombie() && p.PPID != 1 && e.plan.App == grace:
			// grace does not wait for a successor that failed, and nobody else can.
		case p.Zombie():
			out = append(out, fmt.Sprintf("zombie %d (%s) of %d", p.PID, p.Comm, p.PPID))
		case strings.Contains(e.cmdline(p.PID), roleBad):
			out = append(out, fmt.Sprintf("bad successor %d", p.PID))
		default:
			app = append(app, fmt.Sprintf("process %d (%s) of %d, state %c", p.PID, p.Comm, p.PPID, p.State))
		}
	}
	if least, most := e.processes(); len(app) < least || len(app) > most {
		out = append(out, fmt.Sprintf("%d processes of the app, not %d to %d: %s", len(app), least, most, strings.Join(app, ", ")))
	}
	return strings.Join(out, ", ")
}

// processes is how many one generation of the app has.
func (e *episode) processes() (least, most int) {
	if e.plan.App == nginx {
		return 2, 3 // its master and two workers, or one: it does without the second where it cannot fork (pids limit)
	}
	return 1, 1
}

// descends reports whether a process descends from PID 1: who joins the namespace from outside has no parent in it.
func descends(parents map[int]int, pid int) bool {
	for range parents {
		if pid == 1 {
			return true
		}
		pid = parents[pid]
	}
	return false
}

// measure waits until the init has given back what the storm made it take.
func (e *episode) measure(when string) bool {
	var f figures
	var err error
	fits := func() bool {
		f, err = e.figures()
		return err == nil && (e.base == figures{} || f.fds <= e.base.fds && f.heap <= e.base.heap+e.kit.growth)
	}
	if e.base == (figures{}) {
		e.wait(1500 * time.Millisecond) // the init gives its memory back a second after it has done something
	}
	if !e.until(giveBackLimit, fits) && !e.gone() {
		e.violate("%s the init has %v, at first it had %v (%v): %s", when, f, e.base, err, e.fds())
		return false
	}
	e.last = f
	e.log.add("calm %s: the init has %v", when, f)
	return true
}

func (e *episode) figures() (figures, error) {
	m, err := proc.ReadMemory("/proc", e.ns.PID)
	if err != nil {
		return figures{}, err
	}
	f := figures{rss: int64(m.RSS >> 10), heap: int64(m.Anonymous >> 10)}
	f.fds, err = e.fewestFDs()
	e.peak = max(e.peak, peakMemory(e.ns.PID))
	return f, err
}

// fewestFDs is what the init keeps: it may be reading /proc itself just now, with an fd or two more.
func (e *episode) fewestFDs() (least int, err error) {
	for i := range 20 {
		n, err := proc.FDs("/proc", e.ns.PID)
		if err != nil {
			return 0, err
		}
		if i == 0 || n < least {
			least = n
		}
	}
	return least, nil
}

// fds are the init's, for a violation.
func (e *episode) fds() string {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", e.ns.PID))
	var out []string
	for _, l := range links {
		to, _ := os.Readlink(l)
		out = append(out, filepath.Base(l)+" "+to)
	}
	return strings.Join(out, ", ")
}

// peakMemory is the most that the process ever had in memory, in kB.
func peakMemory(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			return n
		}
	}
	return 0
}

// answers waits until the app answers a fresh request.
func (e *episode) answers(limit time.Duration) bool {
	return e.until(limit, func() bool {
		_, err := load.Get(context.Background(), e.loadConfig(), 5*time.Second)
		return err == nil
	})
}

// succeed does an upgrade that must go well.
func (e *episode) succeed() bool {
	begin := e.now()
	out, code, err := e.inside(e.kit.init, "upgrade")
	e.change(begin, e.now()+settled)
	if e.gone() {
		e.ended = true
		e.unasked()
		return false
	}
	if err != nil || code != 0 {
		e.violate("a good upgrade at rest: exit code %d (%v): %s", code, err, out)
		return false
	}
	e.count("upgrade at rest", 1)
	return e.calm("after an upgrade")
}

// proc is the container's /proc, even where the container cannot see it.
func (e *episode) proc() string { return fmt.Sprintf("/proc/self/fd/%d", e.procDir.Fd()) }

// send signals a process of the container by its pid there.
func (e *episode) send(pid int, sig syscall.Signal) error {
	// A directory of /proc does for a pidfd (pidfd_send_signal(2)).
	fd, err := unix.Open(filepath.Join(e.proc(), strconv.Itoa(pid)), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}
