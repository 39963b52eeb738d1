package pidns

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

func start(t *testing.T, c Command) *Namespace {
	t.Helper()
	n, err := Start(c)
	if errors.Is(err, ErrForbidden) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Kill)
	return n
}

func TestTheCommandIsPID1WithItsOwnProc(t *testing.T) {
	var out bytes.Buffer
	n := start(t, Command{Args: []string{"/bin/sh", "-c", "echo $$; echo /proc/[0-9]*"}, Stdout: &out})
	if st := n.Wait(); !st.Exited() || st.ExitStatus() != 0 {
		t.Fatalf("status %#x", st)
	}
	if got := strings.Fields(out.String()); len(got) != 2 || got[0] != "1" || got[1] != "/proc/1" {
		t.Errorf("the command saw %q, want pid 1 and /proc/1 alone", out.String())
	}
	if n.Began <= 0 || n.Ended() <= n.Began || n.Ended() > Monotonic() {
		t.Errorf("from %v to %v, now it is %v", n.Began, n.Ended(), Monotonic())
	}
}

func TestStatusAndSignal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// The shell says when its trap is set: before that, PID 1 ignores the signal.
	n := start(t, Command{Args: []string{"/bin/sh", "-c", `trap "exit 42" USR1; echo; while :; do sleep 1000 & wait; done`}, Stdout: w})
	w.Close()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(n.Proc() + "/1/stat"); err != nil {
		t.Errorf("cannot see into the namespace: %v", err)
	}
	if err := n.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if st := n.Wait(); st.ExitStatus() != 42 {
		t.Errorf("status %#x, want exit 42", st)
	}
	if err := n.Signal(syscall.SIGUSR1); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal after the end: %v, want ErrProcessDone", err)
	}
}

func TestKillTakesTheDescendants(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := start(t, Command{Args: []string{"/bin/sh", "-c", "sleep 1000 & echo x; wait"}, Stdout: w})
	w.Close()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	n.Kill()
	// The sleep holds the pipe too: its end shows that nobody is left.
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err != nil {
		t.Errorf("a descendant outlived PID 1: %v", err)
	}
	if st := n.Wait(); !st.Signaled() || st.Signal() != syscall.SIGKILL {
		t.Errorf("status %#x, want SIGKILL", st)
	}
}

func TestACommandThatCannotBeExecuted(t *testing.T) {
	file := t.TempDir() + "/no-program"
	if err := os.WriteFile(file, []byte{0, 1, 2}, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, "/does/not/exist"} {
		n, err := Start(Command{Args: []string{path}})
		if errors.Is(err, ErrForbidden) {
			t.Skip(err)
		}
		if err == nil || n != nil {
			t.Errorf("%s was started", path)
		}
	}
}

func TestWithoutRootComesAUserNamespace(t *testing.T) {
	if a := attributes(0, 0); a.Cloneflags&syscall.CLONE_NEWUSER != 0 {
		t.Error("root needs no user namespace")
	}
	a := attributes(1000, 100)
	if a.Cloneflags&syscall.CLONE_NEWUSER == 0 || a.UidMappings[0].HostID != 1000 || a.GidMappings[0].HostID != 100 {
		t.Errorf("%+v", a)
	}
}
