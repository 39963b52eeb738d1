package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/demo/proc"
)

// perOrphan bounds the time for one orphan, many times what it takes on a slow machine.
const perOrphan = 10 * time.Millisecond

func soakOrphans(ctx context.Context, o options) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	log := newTail(o.verbose)
	ns, err := pidns.Start(pidns.Command{Args: append([]string{o.init, "--"}, churn.Orphans(o.orphans, 20)...), Stdout: w, Stderr: log})
	w.Close()
	if err != nil {
		return err
	}
	defer ns.Kill()
	begin := time.Now()
	before, err := proc.ReadMemory("/proc", ns.PID)
	if err != nil {
		return err
	}
	if err := r.SetReadDeadline(begin.Add(10*time.Second + time.Duration(o.orphans)*perOrphan)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })()
	if _, err := io.ReadFull(r, make([]byte, len(churn.Begin+churn.Done))); err != nil {
		return fmt.Errorf("the app did not finish: %w\n%s", err, log)
	}
	took := time.Since(begin)
	var left, zombies int
	err = poll(ctx, ns, 10*time.Second, "all orphans to be reaped", func() (bool, error) {
		left, zombies = 0, 0
		list, err := proc.List(ns.Proc())
		for _, p := range list {
			left++
			if p.Zombie() {
				zombies++
			}
		}
		return err == nil && left == 2, fmt.Errorf("%d processes, %d of them zombies; want the init and its app (%w)", left, zombies, err)
	})
	if err != nil {
		return err
	}
	after, err := proc.ReadMemory("/proc", ns.PID)
	if err != nil {
		return err
	}
	fmt.Printf("orphans:  %d reaped in %.1f s, %d zombies, RSS %d kB at the start and %d kB after\n",
		o.orphans, took.Seconds(), zombies, before.RSS>>10, after.RSS>>10)
	return end(ns, syscall.SIGTERM, 128+int(syscall.SIGTERM))
}

func soakChildren(ctx context.Context, o options) error {
	log := newTail(true)
	begin := time.Now()
	ns, err := pidns.Start(pidns.Command{Args: append([]string{o.init, "--"}, churn.Children(o.children)...), Stderr: log})
	if err != nil {
		return err
	}
	defer ns.Kill()
	defer context.AfterFunc(ctx, ns.Kill)()
	limit := time.AfterFunc(10*time.Second+time.Duration(o.children)*perOrphan, ns.Kill)
	defer limit.Stop()
	if st := ns.Wait(); !st.Exited() || st.ExitStatus() != 0 {
		return fmt.Errorf("%s\n%s", status(st), log)
	}
	fmt.Printf("children: %d forked and waited for by the app in %.1f s, no status lost\n", o.children, time.Since(begin).Seconds())
	return nil
}

// end stops the init, which must exit with the code.
func end(ns *pidns.Namespace, sig syscall.Signal, code int) error {
	if err := ns.Signal(sig); err != nil {
		return err
	}
	select {
	case <-ns.Done():
	case <-time.After(30 * time.Second):
		return fmt.Errorf("the init does not end after %v", sig)
	}
	if st := ns.Wait(); !st.Exited() || st.ExitStatus() != code {
		return fmt.Errorf("the init ended with %s, want exit code %d", status(st), code)
	}
	return nil
}

// tail keeps the end of the init's log for a failure.
type tail struct {
	mu      sync.Mutex
	buf     []byte
	verbose bool
}

const tailSize = 4096

func newTail(verbose bool) *tail { return &tail{verbose: verbose} }

func (t *tail) Write(b []byte) (int, error) {
	if t.verbose {
		_, _ = os.Stderr.Write(b)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailSize; over > 0 {
		cut := over
		if i := bytes.IndexByte(t.buf[over:], '\n'); i >= 0 {
			cut += i + 1
		}
		t.buf = append(t.buf[:0], t.buf[cut:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
