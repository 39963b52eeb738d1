package churn

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/demo/proc"
)

func TestMain(m *testing.M) {
	pidns.Main()
	Main()
	os.Exit(m.Run())
}

func start(t *testing.T, c pidns.Command) *pidns.Namespace {
	t.Helper()
	n, err := pidns.Start(c)
	if errors.Is(err, pidns.ErrForbidden) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Kill)
	return n
}

func TestEveryStatusOfTheChildrenCounts(t *testing.T) {
	var errs bytes.Buffer
	if st := start(t, pidns.Command{Args: Children(500), Stderr: &errs}).Wait(); st.ExitStatus() != 0 {
		t.Errorf("status %#x: %s", st, errs.String())
	}
}

// As PID 1 the app is an init that reaps none but its own: the orphans must all be there, as zombies. This shows that
// they are orphans, and that the check for zombies can fail.
func TestOrphansStayWithAnInitThatDoesNotReap(t *testing.T) {
	const count = 50
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := start(t, pidns.Command{Args: Orphans(count, 7), Stdout: w})
	w.Close()
	if _, err := io.ReadFull(r, make([]byte, len(Begin+Done))); err != nil {
		t.Fatal(err)
	}
	list, err := proc.List(n.Proc())
	if err != nil {
		t.Fatal(err)
	}
	orphans := 0
	for _, p := range list {
		if p.PID != 1 && p.PPID == 1 {
			orphans++
		}
	}
	if orphans != count {
		t.Errorf("%d orphans, want %d: %+v", orphans, count, list)
	}
	n.Kill()
	if st := n.Wait(); st.Signal() != syscall.SIGKILL {
		t.Errorf("the app ended by itself: %#x", st)
	}
}
