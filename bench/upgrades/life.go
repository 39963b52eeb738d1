package upgrades

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/demo/proc"
)

// life is a server with its PID 1, from the start to the end of what is measured with it.
type life struct {
	*setting
	way  *way
	pid1 *pidns.Namespace
	said *tail
}

const patience = time.Minute // for everything that is waited for and not measured

// begin starts a server and waits until it answers on its first and its last listener.
func begin(w *way, s *setting) (*life, error) {
	dir, err := os.MkdirTemp("", "graceinit-bench-")
	if err != nil {
		return nil, err
	}
	s.dir = dir
	l := &life{setting: s, way: w, said: &tail{}}
	if err := l.start(); err != nil {
		l.end()
		return nil, fmt.Errorf("cannot start %s: %w\n%s", w.name, err, l.said)
	}
	return l, nil
}

func (l *life) start() error {
	path, args, err := l.way.pid1(l.setting)
	if err != nil {
		return err
	}
	if l.pid1, err = pidns.Start(pidns.Command{Path: path, Args: args, Stdout: l.said, Stderr: l.said}); err != nil {
		return err
	}
	for _, server := range []netip.AddrPort{l.addresses[0], l.addresses[len(l.addresses)-1]} {
		c := client{server: server, once: true}
		if err := l.await("it does not answer", func() bool { _, err = c.ask(); return err == nil }); err != nil {
			return err
		}
	}
	return nil
}

func (l *life) end() {
	if l.pid1 != nil {
		l.pid1.Kill()
	}
	_ = os.RemoveAll(l.dir)
}

// await waits for something to become so. What it waits for is never measured by it.
func (l *life) await(otherwise string, so func() bool) error {
	deadline := time.After(patience)
	for again := time.NewTicker(5 * time.Millisecond); ; {
		if so() {
			again.Stop()
			return nil
		}
		select {
		case <-again.C:
		case <-l.pid1.Done():
			return errors.New("PID 1 has ended")
		case <-deadline:
			return errors.New(otherwise)
		}
	}
}

// generation is the processes of the server at one moment: by the pids that they have themselves, since their answers name
// these.
type generation map[int]bool

func (l *life) generation() (generation, error) {
	all, err := proc.List(l.pid1.Proc())
	g := generation{}
	for _, p := range all {
		if p.Comm == l.way.comm && !p.Zombie() {
			g[p.PID] = true
		}
	}
	if err == nil && len(g) == 0 {
		err = fmt.Errorf("there is no process of the name %q", l.way.comm)
	}
	return g, err
}

// gone waits for the end of a generation.
func (l *life) gone(old generation) error {
	return l.await("the predecessor does not go", func() bool {
		now, _ := l.generation() // an error is no end: PID 1 is watched too
		for pid := range now {
			if old[pid] {
				return false
			}
		}
		return len(now) > 0
	})
}

// freeze holds still the processes that serve, and returns how to let them go on.
func (l *life) freeze() (thaw func(), err error) {
	serving, err := below(l.pid1.PID, l.way.serves)
	if err != nil {
		return nil, err
	}
	if len(serving) == 0 {
		return nil, errors.New("nobody serves")
	}
	tell(serving, syscall.SIGSTOP)
	return sync.OnceFunc(func() { tell(serving, syscall.SIGCONT) }),
		l.await("it cannot be held still", func() bool { return stopped(serving) })
}

// below lists descendants of a process, as the caller sees them.
func below(pid int, which func(proc.Process) bool) (found []int, err error) {
	all, err := proc.List("/proc")
	if err != nil {
		return nil, err
	}
	family := []int{pid}
	for i := 0; i < len(family); i++ {
		for _, p := range all {
			if p.PPID != family[i] {
				continue
			}
			family = append(family, p.PID)
			if which(p) {
				found = append(found, p.PID)
			}
		}
	}
	return found, nil
}

// stopped reports whether no thread of the processes runs any more.
func stopped(pids []int) bool {
	for _, pid := range pids {
		threads, err := proc.List(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			continue // it has gone
		}
		for _, t := range threads {
			if t.State != 'T' {
				return false
			}
		}
	}
	return true
}

func tell(pids []int, sig syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig) // one that has gone takes no connection either
	}
}

// cpu is what PID 1 has run, all threads together.
func (l *life) cpu() (time.Duration, error) { return proc.CPU("/proc", l.pid1.PID) }

// tail is the end of what a server and its PID 1 have said.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 16 << 10
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-most):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}

// pass lets time go by: here it is what is measured, or the quiet before it.
func pass(d time.Duration) { time.Sleep(d) }
