package lifecycle

import (
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
)

// Action is something to be done. The loop carries actions out in order; what comes of them is an event.
type Action interface{ action() }

type (
	// Start starts the main process of generation 1. It is answered by Started or StartFailed.
	Start struct{}

	// Look reads the process table and is answered by Looked.
	Look struct {
		For Purpose
		// Detail lists the pids whose sockets and signals are wanted; with Known, also those of every
		// process that is not in it and has executed a program of its own.
		Detail []int
		Known  func(*procfs.Process) bool
		// Connections asks for established connections too.
		Connections bool
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

func (Start) action()    {}
func (Look) action()     {}
func (Kill) action()     {}
func (KillRest) action() {}
func (Suspend) action()  {}
func (Log) action()      {}
func (Exit) action()     {}
