//go:build linux

package reaper

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/graceinit/graceinit/internal/testproc"
)

func TestMain(m *testing.M) {
	testproc.Main(map[string]func([]string) int{
		"leave":  verdict(leave),
		"toggle": verdict(toggle),
		"take":   verdict(take),
	})
	os.Exit(m.Run())
}

func verdict(f func() error) func([]string) int {
	return func([]string) int {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
}

// Each is what PID 1 of a namespace does; the comments there say what must hold. unshare(1) makes the namespace, which an
// emulator of another architecture cannot.
func TestWatcher(t *testing.T) {
	unshare := []string{"/usr/bin/unshare", "--pid", "--fork", "--kill-child"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--user", "--map-root-user")
	}
	for _, name := range []string{"leave", "toggle", "take"} {
		t.Run(name, func(t *testing.T) {
			in := testproc.Start(t, testproc.Options{}, unshare, testproc.Self(name)...)
			if code := in.Wait(); code != 0 {
				t.Errorf("it ended with %d: %s", code, in.Stderr())
			}
		})
	}
}

func TestLeavesToTheThread(t *testing.T) {
	if known := runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"; !known {
		t.Skip("there is no thread on " + runtime.GOARCH)
	}
	w := Watch()
	if w.Resume(); !w.threaded {
		t.Error("there should be a thread")
	}
	<-w.C // there are no children
}

// asIs lets no error be wrapped too.
func asIs(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

// shell starts a script.
func shell(script string) (int, error) {
	return Start(Command{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: os.Environ()})
}

// until reaps until it was that child, and counts the others.
func until(w *Watcher, pid int) (status Status, others int, err error) {
	for {
		<-w.C
		w.Take()
		for {
			dead, status, err := Reap()
			if err != nil {
				return status, others, err
			}
			if dead == pid {
				return status, others, nil
			}
			if dead == 0 {
				break
			}
			others++
		}
		w.Leave([]int{pid})
		w.Resume()
	}
}

// reapRest waits until there is no child any more.
func reapRest(w *Watcher) (reaped int, err error) {
	for {
		switch pid, _, err := Reap(); {
		case errors.Is(err, ErrNoChild):
			return reaped, nil
		case err != nil:
			return reaped, err
		case pid == 0:
			w.Resume()
			<-w.C
		default:
			reaped++
		}
	}
}

// leave: what is not kept is reaped without a report; what is kept keeps its status.
func leave() error {
	const orphans = 300
	w := Watch()
	keeper, err := shell("exec sleep infinity")
	if err != nil {
		return err
	}
	maker, err := shell(fmt.Sprintf("i=0; while [ $i -lt %d ]; do (true &); i=$((i+1)); done; exit 3", orphans))
	if err != nil {
		return err
	}
	w.Leave([]int{keeper, maker})
	w.Resume()
	status, byUs, err := until(w, maker)
	if err != nil || status.Code != 3 {
		return fmt.Errorf("the maker %v, want code 3, %w", status, asIs(err))
	}
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		return err
	}
	w.Leave([]int{keeper})
	w.Resume()
	status, more, err := until(w, keeper)
	if err != nil || status.Signal != syscall.SIGKILL {
		return fmt.Errorf("the keeper %v, want SIGKILL, %w", status, asIs(err))
	}
	rest, err := reapRest(w)
	if all := byUs + more + rest + int(w.Reaped()); err != nil || all != orphans {
		return fmt.Errorf("%d orphans were reaped, %d of them by the watcher; want %d, %w", all, w.Reaped(), orphans, asIs(err))
	}
	if w.threaded && w.Reaped() == 0 {
		return errors.New("the thread reaped nothing")
	}
	w.Resume()
	<-w.C // there are no children at all
	return nil
}

// toggle: no status is lost however often reaping changes hands.
func toggle() error {
	w := Watch()
	others := 0
	for i := range 200 {
		code := i % 250
		pid, err := shell("(true &); (true &); (true &); exit " + strconv.Itoa(code))
		if err != nil {
			return err
		}
		w.Leave([]int{pid})
		w.Resume()
		for told := false; !told; {
			select {
			case <-w.C:
				w.Take()
				dead, status, err := Reap()
				switch {
				case err != nil:
					return fmt.Errorf("the status of %d is lost: %w", pid, err)
				case dead == pid && status.Code != code:
					return fmt.Errorf("%v, want code %d", status, code)
				case dead == pid:
					told = true
					continue
				case dead != 0:
					others++
				}
				w.Resume()
			default:
				w.Take()
				if i%16 == 0 {
					runtime.GC() // the world stops, but not the thread
				}
			}
			w.Leave([]int{pid})
		}
		w.Take()
	}
	rest, err := reapRest(w)
	if all := others + rest + int(w.Reaped()); err != nil || all != 600 {
		return fmt.Errorf("%d orphans were reaped, want 600, %w", all, asIs(err))
	}
	return nil
}

// take: nothing is reaped but by us.
func take() error {
	w := Watch()
	keeper, err := shell("exec sleep infinity")
	if err != nil {
		return err
	}
	w.Leave([]int{keeper})
	w.Resume()
	w.Take()
	child, err := shell("exit 9")
	if err != nil {
		return err
	}
	<-w.C
	if !IsChild(child) {
		return errors.New("it was reaped")
	}
	w.Leave([]int{keeper}) // and then by the watcher
	w.Resume()
	if !w.threaded {
		return nil // there is no thread, and nothing is left to it
	}
	for IsChild(child) {
		runtime.Gosched()
	}
	w.Take() // it counts what it has reaped
	if w.Reaped() != 1 {
		return fmt.Errorf("the watcher reaped %d, want 1", w.Reaped())
	}
	return nil
}
