package upgrades

import (
	"errors"
	"fmt"
	"time"

	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/internal/procfs"
)

// Look is how long the looks at a predecessor take that drains.
type Look struct {
	Connections int `json:"connections"`
	// Counting are looks that count all connections.
	Counting []float64 `json:"counting_ms"`
	// InTurn are the same one after the other, at the distance that graceinit leaves between its first ones: most spare what
	// takes long.
	InTurn []float64 `json:"in_turn_ms"`
	// Unwatched are looks in turn where nobody follows the upgrade: they only see whether the predecessor still listens.
	Unwatched []float64 `json:"unwatched_ms"`
}

// Drain is what a long drain costs.
type Drain struct {
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"`
	CPU         float64 `json:"cpu_ms"` // of graceinit
	Left        int     `json:"left"`   // connections that were still open at the end
}

// manyConnections is how many a drain is measured with.
func (p *plan) manyConnections() int {
	if p.Short {
		return 100
	}
	return 10_000
}

// look times what graceinit does in a look that grows with the connections. Both ends of every connection are in this network
// namespace, so the kernel has twice as many to tell of as in a container.
func (p *plan) look() (Look, error) {
	result := Look{Connections: p.manyConnections()}
	w := named(byHand)
	o, err := open(w, p.setting(1), result.Connections)
	if err != nil {
		return result, err
	}
	defer o.close()
	serving, err := below(o.pid1.PID, w.serves)
	if err != nil {
		return result, err
	}
	const looks, apart = 50, 20 * time.Millisecond
	for range looks {
		took, n, err := lookAt(serving[0], &procfs.Inspector{}, true)
		if err != nil {
			return result, err
		}
		if n != result.Connections {
			return result, fmt.Errorf("a look finds %d of %d connections", n, result.Connections)
		}
		result.Counting = append(result.Counting, ms(took))
	}
	for to, counts := range map[*[]float64]bool{&result.InTurn: true, &result.Unwatched: false} {
		var inspector procfs.Inspector
		for range looks {
			pass(apart)
			took, _, err := lookAt(serving[0], &inspector, counts)
			if err != nil {
				return result, err
			}
			*to = append(*to, ms(took))
		}
	}
	fmt.Printf("upgrades: %d looks at %d connections\n", 3*looks, result.Connections)
	return result, nil
}

// lookAt looks at a process, and counts its connections, or some of them where the inspector has no new answer. The process
// table is left out, which here is the machine's and not a container's.
func lookAt(pid int, inspector *procfs.Inspector, counts bool) (took time.Duration, n int, err error) {
	began := pidns.Monotonic()
	server, err := procfs.Stat(pid)
	if err != nil {
		return 0, 0, err
	}
	listening, err := procfs.Listening()
	if err != nil {
		return 0, 0, err
	}
	want := procfs.Few
	if counts {
		want = procfs.All
	}
	inspector.Inspect(&server, listening, want)
	inspector.Forget()
	if !counts {
		return pidns.Monotonic() - began, 0, server.FDsErr
	}
	var table procfs.Snapshot
	table.Established, table.EstablishedErr = inspector.Established()
	n, known := table.Connections(&server)
	if !known {
		return 0, 0, errors.Join(errors.New("the connections cannot be seen"), server.FDsErr, table.EstablishedErr)
	}
	return pidns.Monotonic() - began, n, nil
}

// drain lets a predecessor drain for long, with connections that stay, and takes graceinit's CPU meanwhile.
func (p *plan) drain() (Drain, error) {
	long := time.Minute
	if p.Short {
		long = time.Second
	}
	result := Drain{Connections: p.manyConnections(), Seconds: long.Seconds()}
	fmt.Printf("upgrades: a drain of %v with %d connections\n", long, result.Connections)
	s := p.setting(1)
	s.grace = long + time.Minute
	o, err := open(named(spawn), s, result.Connections)
	if err != nil {
		return result, err
	}
	defer o.close()
	t, err := o.trigger()
	if err != nil {
		return result, err
	}
	c := client{server: s.addresses[0], once: true}
	if err := o.await("no successor answered", func() bool { pid, err := c.ask(); return err == nil && !t.old[pid] }); err != nil {
		return result, err
	}
	before, err := o.cpu()
	if err != nil {
		return result, err
	}
	pass(long)
	after, err := o.cpu()
	if err != nil {
		return result, err
	}
	result.CPU = ms(after - before)
	left, err := o.idle.look()
	result.Left = left.Open
	if err == nil && left.Open != result.Connections {
		err = fmt.Errorf("%d of %d connections are left: nobody drains", left.Open, result.Connections)
	}
	return result, err
}

// named finds a way.
func named(name string) *way {
	for _, w := range ways() {
		if w.name == name {
			return &w
		}
	}
	panic("there is no way of the name " + name)
}
