package lifecycle

import (
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/reaper"
	"github.com/graceinit/graceinit/upgrade"
)

// Event is something that happened. The loop hands events to Machine.Step one at a time.
type Event interface{ event() }

type (
	// Started answers Start: the generation's main process runs. Guard is the pid of a shim that stays as its
	// parent, or zero.
	Started struct {
		Main  procfs.ID
		Guard int
	}

	// StartFailed answers Start. Code is the exit code for it.
	StartFailed struct {
		Code int
		Err  error
	}

	// Found answers Find: what the command names now.
	Found struct{ Image *upgrade.Image }

	// NotFound answers Find: why it cannot be executed.
	NotFound struct{ Err error }

	// HelperStarted answers Run.
	HelperStarted struct {
		Helper Helper
		PID    int
	}

	// HelperFailed answers Run: the helper could not be started.
	HelperFailed struct {
		Helper Helper
		Err    error
	}

	// Probed answers Probe: what kept the probe from succeeding, or nil.
	Probed struct{ Err error }

	// Asked is a request over the control socket: an upgrade, with or without an executable that came along, a
	// rollback, or a stop. It is answered by Accepted or Refused.
	Asked struct {
		Op      control.Op
		Image   *upgrade.Image
		Refused string // what is wrong with an executable that came along
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
		PIDFile int // the pid in the app's pid file, zero without one
		// Accepts tells, of those asked about, whether a process or a descendant accepts connections.
		Accepts map[int]procfs.Accepting
		Err     error // the process table could not be read; Table is empty then
	}

	// Notified is an sd_notify(3) message of a process in our PID namespace. Lineage is the sender and its
	// ancestors, as far as they could be seen.
	Notified struct {
		Lineage []int
		notify.Message
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

func (Started) event()       {}
func (StartFailed) event()   {}
func (Found) event()         {}
func (NotFound) event()      {}
func (HelperStarted) event() {}
func (HelperFailed) event()  {}
func (Probed) event()        {}
func (Asked) event()         {}
func (Signalled) event()     {}
func (ChildExited) event()   {}
func (Childless) event()     {}
func (Looked) event()        {}
func (Notified) event()      {}
func (KillFailed) event()    {}
func (Tick) event()          {}
