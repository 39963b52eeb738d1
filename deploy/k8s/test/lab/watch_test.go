package lab

import (
	"path/filepath"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/graceinit/graceinit/internal/control"
)

// fleet follows the inits of many pods over their control sockets, and counts how many are in an upgrade at a time.
type fleet struct {
	mu       sync.Mutex
	ended    bool // the watches may end
	stop     func()
	busy     map[string]bool
	most     int
	upgrades map[string]int // begun, by pod
}

// follow begins to; the pods have a volume "grace" with the socket.
func follow(t *testing.T, pods []*corev1.Pod) *fleet {
	t.Helper()
	f := &fleet{busy: map[string]bool{}, upgrades: map[string]int{}}
	var wg sync.WaitGroup
	var clients []*control.Client
	for _, p := range pods {
		c := ask(t, p, control.OpWatch)
		clients = append(clients, c)
		wg.Go(func() {
			for {
				line, err := c.Next(0)
				if err != nil {
					// Unseen, it would count as never busy.
					if !f.over() {
						t.Errorf("the watch of %s has ended: %v", p.Name, err)
					}
					return
				}
				if line.Status != nil {
					f.set(p.Name, line.Status.Upgrade != nil)
				}
			}
		})
	}
	f.stop = sync.OnceFunc(func() {
		f.mu.Lock()
		f.ended = true
		f.mu.Unlock()
		for _, c := range clients {
			c.Close()
		}
		wg.Wait()
	})
	t.Cleanup(f.stop)
	return f
}

func (f *fleet) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

func (f *fleet) set(pod string, busy bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if busy && !f.busy[pod] {
		f.upgrades[pod]++
	}
	if busy {
		f.busy[pod] = true
	} else {
		delete(f.busy, pod)
	}
	f.most = max(f.most, len(f.busy))
}

// report returns the largest number of pods in an upgrade at a time since the last report.
func (f *fleet) report() (most int, upgrades map[string]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	most, upgrades = f.most, f.upgrades
	f.most, f.upgrades = len(f.busy), map[string]int{}
	return most, upgrades
}

// grace is a file on the volume of that name, seen from here.
func grace(p *corev1.Pod, name string) string {
	return filepath.Join(theLab.Dir, "pods", string(p.UID), "volumes", "grace", name)
}

func ask(t *testing.T, p *corev1.Pod, op control.Op) *control.Client {
	t.Helper()
	c, err := control.Dial(grace(p, "control.sock"))
	if err == nil {
		err = c.Send(control.Ask{Op: op}, -1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}
