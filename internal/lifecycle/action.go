package lifecycle

import (
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/upgrade"
)

// Action is something to be done. The loop carries actions out in order; what comes of them is an event.
type Action interface{ action() }

type (
	// Start starts a generation. It is answered by Started or StartFailed.
	Start struct {
		Image      *upgrade.Image // nil: what the command names
		Generation int
		Epoch      int // how many live generations in a row came before it
	}

	// Find resolves the command anew and holds what it finds. It is answered by Found or NotFound.
	Find struct{}

	// Release closes an executable that nobody will start again.
	Release struct{ Image *upgrade.Image }

	// Run starts a helper, a command of the user's. It is answered by HelperStarted or HelperFailed.
	Run struct {
		Helper     Helper
		Image      *upgrade.Image // what a check is about, nil without one
		Generation int            // whom a probe is about
		PID        int
	}

	// Probe tries to connect to where a ready successor listens. It is answered by Probed, later.
	Probe struct{}

	// PassTerminal gives the terminal's foreground to the process group of To, if that of From has it.
	PassTerminal struct{ From, To int }

	// Look reads the process table and is answered by Looked.
	Look struct {
		For Purpose
		// Detail lists the pids whose sockets and signals are wanted; with Known, also those of every
		// process that is not in it and has executed a program of its own.
		Detail []int
		Known  func(*procfs.Process) bool
		// Count lists the pids whose connections are to be counted, where that is little work or somebody waits for it.
		Count []int
		// Accepts asks of which of these processes, with their descendants, one accepts connections on the
		// listeners that we hold.
		Accepts []int
	}

	// Kill sends a signal to one process, or with Group to the process group of the main process. It is
	// answered by KillFailed or not at all.
	Kill struct {
		Target procfs.ID
		Signal signals.Signal
		Group  bool
	}

	// KillRest sends a signal to everything but the main process: all processes that can be signalled where
	// we are PID 1, else our descendants; with Group only to the group that the pid leads.
	KillRest struct {
		Signal signals.Signal
		Group  int
	}

	// Store keeps fds for later generations.
	Store struct {
		Name string
		FDs  []int
	}

	// Unstore forgets the fds of a name.
	Unstore struct{ Name string }

	// Relay hands on to a service manager outside what the main process has said of itself.
	Relay struct{ Text string }

	// Accepted answers Asked: the upgrade with this number is, or will be, the one that was asked for; zero where
	// there is nothing to follow.
	Accepted struct{ Upgrade int }

	// Refused answers Asked: why nothing will happen.
	Refused struct{ Reason string }

	// Tell tells who follows an upgrade how far it is.
	Tell struct{ Progress *control.Progress }

	// Suspend stops the init itself until somebody continues it.
	Suspend struct{}

	// Log writes a line.
	Log struct {
		Level  Level
		Text   string
		Fields []Field
	}

	// Exit ends the init. Nothing follows it.
	Exit struct {
		Code  int
		Cause string // for the termination message, empty after a plain exit 0
	}
)

// Purpose is why the process table is read.
type Purpose uint8

const (
	ForTrigger  Purpose = iota // an upgrade was asked for: can the main process do it?
	ForProgress                // how far is the upgrade?
	ForExit                    // the main process is gone: is there a successor?
	ForKill                    // the drain deadline has passed: who is to be killed?
)

// Helper is a command of the user's that the init runs.
type Helper uint8

const (
	NoHelper    Helper = iota
	CheckHelper        // --check: may the upgrade begin?
	ProbeHelper        // --ready exec: is the successor ready?
	helperKinds
)

// Level is how much a log line matters.
type Level uint8

const (
	Error Level = iota
	Warn
	Info
	Debug
)

// Field is a named value of a log line.
type Field struct {
	Name  string
	Value any
}

func (Start) action()        {}
func (Look) action()         {}
func (Find) action()         {}
func (Release) action()      {}
func (Run) action()          {}
func (Probe) action()        {}
func (PassTerminal) action() {}
func (Store) action()        {}
func (Unstore) action()      {}
func (Relay) action()        {}
func (Accepted) action()     {}
func (Refused) action()      {}
func (Tell) action()         {}
func (Kill) action()         {}
func (KillRest) action()     {}
func (Suspend) action()      {}
func (Log) action()          {}
func (Exit) action()         {}
