package lifecycle

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// A predecessor or successor whose start time is not known, for want of /proc, can be told to stop all the same.
func TestKillWithoutProc(t *testing.T) {
	pid, err := reaper.Start(reaper.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	var e effects
	for _, other := range []procfs.ID{{PID: 1}, {PID: pid, Start: 1}} {
		if e.kill(Kill{Target: other, Signal: sigTERM}, procfs.ID{PID: 2}) == nil {
			t.Errorf("%v was signalled", other)
		}
	}
	if failed := e.kill(Kill{Target: procfs.ID{PID: pid}, Signal: sigKILL}, procfs.ID{PID: 2}); failed != nil {
		t.Error(failed)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
}

// A helper gets none of the fds that whoever started us passed on, and must not be told that it does.
func TestHelpersHaveNoListeners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	e := effects{
		check: []string{"/bin/sh", "-c", "echo $LISTEN_FDS$LISTEN_PID. >" + path},
		program: &upgrade.Program{Env: []string{
			"LISTEN_FDS=1", "LISTEN_PID=" + strconv.Itoa(os.Getpid()),
		}},
	}
	started, ok := e.run(Run{Helper: CheckHelper}).(HelperStarted)
	if !ok {
		t.Fatal("not started")
	}
	if _, err := syscall.Wait4(started.PID, nil, 0, nil); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != ".\n" {
		t.Errorf("%q, %v", text, err)
	}
}
