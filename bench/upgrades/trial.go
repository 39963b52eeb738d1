package upgrades

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/pidns"
)

// Trial is one upgrade, under load or of a server that is held still.
type Trial struct {
	Way         string `json:"way"`
	Connections int    `json:"connections"` // that were to be open and idle
	Held        int    `json:"held"`        // that were
	Listeners   int    `json:"listeners"`

	Answer float64 `json:"answer_ms"` // from the trigger to the first answer of the successor
	End    float64 `json:"end_ms"`    // from the trigger to the end of the predecessor's last process
	CPU    float64 `json:"cpu_ms"`    // of PID 1 meanwhile

	// Under load.
	Before   []float64 `json:"before_ms,omitempty"` // latencies of requests that were due before the trigger
	During   []float64 `json:"during_ms,omitempty"` // after it
	Series   []Point   `json:"series,omitempty"`
	Requests int       `json:"requests,omitempty"`
	Failed   int       `json:"failed,omitempty"`  // without those that crossed
	Crossed  int       `json:"crossed,omitempty"` // the close of an idle connection, of a server that closes these without a warning
	Reasons  []string  `json:"reasons,omitempty"` // of the first that failed
	Idle     ends      `json:"idle_connections"`  // what became of the idle connections

	// Of a server held still.
	Queued   int `json:"queued,omitempty"`   // connections that nobody had accepted at the trigger
	Answered int `json:"answered,omitempty"` // of these
}

// Point is one request on the time line.
type Point struct {
	At   float64 `json:"at_ms"` // when it was due, since the trigger
	Took float64 `json:"took_ms"`
}

// opened is a server with its idle connections.
type opened struct {
	*life
	idle *idlers
}

func open(w *way, s *setting, connections int) (*opened, error) {
	l, err := begin(w, s)
	if err != nil {
		return nil, err
	}
	idle, err := openIdle(s.addresses, connections)
	if err != nil {
		said := l.said.String()
		l.end()
		return nil, fmt.Errorf("%s: %w\n%s", w.name, err, said)
	}
	pass(300 * time.Millisecond) // what the opening has left to do is done
	return &opened{l, idle}, nil
}

func (o *opened) close() {
	o.life.end()
	o.idle.close()
}

// triggered is an upgrade in progress.
type triggered struct {
	old generation
	at  time.Duration
	cpu time.Duration // that PID 1 had run before
}

func (l *life) trigger() (t triggered, err error) {
	if t.old, err = l.generation(); err != nil {
		return t, err
	}
	if t.cpu, err = l.cpu(); err != nil {
		return t, err
	}
	t.at = pidns.Monotonic()
	return t, l.pid1.Signal(syscall.SIGUSR2)
}

// finish waits for the end of the upgrade.
func (t triggered) finish(l *life, result *Trial) error {
	if err := l.gone(t.old); err != nil {
		return err
	}
	result.End = ms(pidns.Monotonic() - t.at)
	pass(100 * time.Millisecond) // PID 1 has its last word
	cpu, err := l.cpu()
	result.CPU = ms(cpu - t.cpu)
	return err
}

// underLoad upgrades a server once, in the middle of a load.
func (o *opened) underLoad(before, during time.Duration, result *Trial) error {
	const warm = 300 * time.Millisecond
	load := startLoad(o.addresses)
	pass(warm + before)
	t, err := o.trigger()
	pass(during)
	if err == nil {
		err = t.finish(o.life, result)
	}
	samples := load.stop()
	if err != nil {
		return err
	}
	result.take(samples, t.at-load.began, before, during, o.way, t.old)
	if result.Idle, err = o.idle.look(); err == nil && result.Answer == 0 {
		err = errors.New("no successor answered")
	}
	return err
}

// take sorts samples into those before and those after the trigger.
func (r *Trial) take(samples []sample, trigger, before, during time.Duration, w *way, old generation) {
	for _, s := range samples {
		since := s.Due - trigger
		if since < -before {
			continue
		}
		r.Requests++
		if s.Err != "" {
			if s.Crossed && w.closesIdle {
				r.Crossed++
			} else {
				r.Failed++
			}
			if len(r.Reasons) < 5 {
				r.Reasons = append(r.Reasons, fmt.Sprintf("%.1f ms after the trigger: %s", ms(since), s.Err))
			}
			continue
		}
		if answer := ms(since + s.Took); !old[s.PID] && since+s.Took > 0 && (r.Answer == 0 || answer < r.Answer) {
			r.Answer = answer
		}
		switch {
		case since < 0:
			r.Before = append(r.Before, ms(s.Took))
		case since < during:
			r.During = append(r.During, ms(s.Took))
		default:
			continue
		}
		r.Series = append(r.Series, Point{ms(since), ms(s.Took)})
	}
}

// queue is how many connections wait in the accept queue.
const queue = 200

// heldStill upgrades a server whose processes are held still, while connections wait that nobody has accepted. Processes
// that have a part in the upgrade go on at the trigger, the others when the waiting have their answers, or will not get
// them from the successor.
func (o *opened) heldStill(result *Trial) error {
	thaw, err := o.freeze()
	if err != nil {
		return err
	}
	defer thaw()
	waiting := make([]*client, queue)
	for i := range waiting {
		waiting[i] = &client{server: o.addresses[i%len(o.addresses)], once: true}
		if err := waiting[i].dial(); err != nil {
			return err
		}
		defer waiting[i].close()
	}
	answers := make(chan answered, queue)
	for _, c := range waiting {
		go func() {
			pid, err := c.ask()
			answers <- answered{pid, pidns.Monotonic(), err}
		}()
	}
	t, err := o.trigger()
	if err != nil {
		return err
	}
	if !o.way.frozen {
		thaw()
	}
	first := make(chan time.Duration, 1)
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	switch {
	case o.way.lossy:
		go probe(ctx, o.addresses[0], t.old, first, true)
	case !o.way.frozen:
		go probe(ctx, o.addresses[0], t.old, first, false)
	}
	const enough = 1500 * time.Millisecond
	timeout := time.After(enough)
	result.Queued = queue
	var earliest time.Duration
	for left := queue; left > 0; {
		select {
		case a := <-answers:
			left--
			if a.err != nil {
				result.Reasons = append(result.Reasons, a.err.Error())
				continue
			}
			result.Answered++
			if !t.old[a.pid] && (earliest == 0 || a.at < earliest) {
				earliest = a.at
			}
		case <-timeout:
			thaw()
		}
	}
	thaw()
	if earliest == 0 {
		select {
		case earliest = <-first:
		case <-time.After(patience):
			return errors.New("no successor answered")
		}
	}
	result.Answer = ms(earliest - t.at)
	result.Reasons = result.Reasons[:min(len(result.Reasons), 5)]
	// A predecessor of grace waits in accept(2), since it has handed its listeners on as blocking sockets, and stops only when
	// another connection comes (grace's own doing: it does so without graceinit too).
	go func() {
		for ctx.Err() == nil {
			c := client{server: o.addresses[0], once: true}
			_, _ = c.ask() // whoever answers
			pass(10 * time.Millisecond)
		}
	}()
	return t.finish(o.life, result)
}

// probe asks on fresh connections until a successor answers, and says when: on one after the other, or on a new one every
// millisecond, where some of them wait for the predecessor.
func probe(ctx context.Context, server netip.AddrPort, old generation, first chan<- time.Duration, overlapping bool) {
	ask := func() bool {
		c := client{server: server, once: true}
		pid, err := c.ask()
		if err != nil || old[pid] {
			return false
		}
		select {
		case first <- pidns.Monotonic():
		default: // another was first
		}
		return true
	}
	answered := make(chan struct{})
	tell := sync.OnceFunc(func() { close(answered) })
	for ctx.Err() == nil {
		if !overlapping {
			if ask() {
				return
			}
			continue
		}
		go func() {
			if ask() {
				tell()
			}
		}()
		select {
		case <-answered:
			return
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
}

type answered struct {
	pid int
	at  time.Duration
	err error
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
