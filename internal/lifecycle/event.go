package lifecycle

import (
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
)

// Event is something that happened. The loop hands events to Machine.Step one at a time.
type Event interface{ event() }

type (
	// Started answers Start: the main process of generation 1 runs.
	Started struct{ Main procfs.ID }

	// StartFailed answers Start: there is no main process. Code is the exit code for it.
	StartFailed struct {
		Code int
		Err  error
	}

	// Signalled is a signal that the init received.
	Signalled struct{ Signal signals.Signal }

	// ChildExited is a child that was reaped, main process or orphan.
	ChildExited struct {
		PID    int
		Status reaper.Status
	}

	// Childless says that there is no child left, alive or dead.
	Childless struct{}

	// Looked answers Look.
	Looked struct {
		For     Purpose
		Table   *procfs.Snapshot
		PIDFile int   // the pid in the app's pid file, zero without one
		Err     error // the process table could not be read; Table is empty then
	}

	// Notified is an sd_notify(3) message of a process in our PID namespace. Lineage is the sender and its
	// ancestors, as far as they could be seen.
	Notified struct {
		Lineage []int
		Ready   bool
		MainPID int
	}

	// KillFailed answers Kill: the signal did not reach the process.
	KillFailed struct {
		Target procfs.ID
		Signal signals.Signal
		Err    error
	}

	// Tick says that the time of Machine.Deadline has come. One that comes early or late does no harm.
	Tick struct{}
)

func (Started) event()     {}
func (StartFailed) event() {}
func (Signalled) event()   {}
func (ChildExited) event() {}
func (Childless) event()   {}
func (Looked) event()      {}
func (Notified) event()    {}
func (KillFailed) event()  {}
func (Tick) event()        {}
