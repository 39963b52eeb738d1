// Package control is how a person or a program talks to a running init: a Unix stream socket on which each
// line is a JSON object. docs/control.md describes it.
//
// The server only carries requests to the init's loop and lines back. It touches no state, and no client can
// make it or the loop wait. Off Linux there are only the types of the protocol, for kubectl graceinit.
package control

import "time"

// Op is what a request asks for.
type Op string

const (
	OpStatus   Op = "status"   // one Status
	OpWatch    Op = "watch"    // a Status at once and at every change, and every Progress
	OpUpgrade  Op = "upgrade"  // begin an upgrade; every Progress of it
	OpRollback Op = "rollback" // go back to the executable that ran before; every Progress of it
	OpStop     Op = "stop"     // begin the shutdown
)

// Exit codes of `graceinit upgrade` and `graceinit rollback`, and what Progress.ExitCode can be.
const (
	CodeDone    = 0
	CodeRefused = 1  // nothing was touched
	CodeFailed  = 2  // it failed, and was taken back where something had been done
	CodeForced  = 3  // done, but the predecessor had to be killed
	CodeUsage   = 64 // EX_USAGE, sysexits.h
	CodeNoInit  = 69 // EX_UNAVAILABLE: no init answers
)

// Ask is the one line that a client sends.
type Ask struct {
	Op Op `json:"op"`
	// Binary, for an upgrade: a sealed memfd or, without --verify-key, a regular file comes along (SCM_RIGHTS),
	// which is to be executed.
	Binary bool `json:"binary,omitempty"`
	// SHA256 is the digest that the binary must have, in hexadecimal, and Signature the text of its minisign
	// signature. Both may be left out; with --verify-key the signature may not.
	SHA256    string `json:"sha256,omitempty"`
	Signature string `json:"signature,omitempty"`
}

// Line is what the server sends. Exactly one field is set.
type Line struct {
	Status   *Status   `json:"status,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	Error    *Error    `json:"error,omitempty"`
	OK       bool      `json:"ok,omitempty"`
}

// Error says why a request was not carried out. The connection ends with it.
type Error struct {
	Reason   string `json:"reason"`
	ExitCode int    `json:"exit_code"`
}

// Step is how far an upgrade is.
type Step string

const (
	StepHeld      Step = "held"      // another upgrade has to end first
	StepTriggered Step = "triggered" // the main process was asked, or the check or the successor is being started
	StepStarted   Step = "started"   // the successor runs
	StepReady     Step = "ready"     // the successor is ready
	StepDraining  Step = "draining"  // the predecessor finishes its work
	StepProbation Step = "probation" // the predecessor has gone; the successor's death would still roll back

	// Final ones.
	StepDone       Step = "done"
	StepInPlace    Step = "done in place"
	StepForced     Step = "forced"
	StepFailed     Step = "failed"
	StepRefused    Step = "refused"
	StepRolledBack Step = "rolled back"
	StepShutdown   Step = "ended by shutdown"
)

// Progress tells how far an upgrade is. Times are in seconds since its trigger, or durations.
type Progress struct {
	Upgrade        int     `json:"upgrade"` // serial number: the first upgrade is 1
	Step           Step    `json:"step"`
	FromGeneration int     `json:"from_generation,omitempty"`
	FromPID        int     `json:"from_pid,omitempty"`
	ToGeneration   int     `json:"to_generation,omitempty"`
	ToPID          int     `json:"to_pid,omitempty"`
	Rollback       bool    `json:"rollback,omitempty"` // it was asked for: back to the executable before
	Elapsed        float64 `json:"elapsed"`
	Ready          float64 `json:"ready,omitempty"`       // how long the successor took
	Drain          float64 `json:"drain,omitempty"`       // how long the predecessor has drained
	Connections    *int    `json:"connections,omitempty"` // the predecessor's, absent where unknown
	Left           float64 `json:"left,omitempty"`        // until the deadline of this step
	Waiting        string  `json:"waiting,omitempty"`     // for what, in words that follow "waits for"
	Reason         string  `json:"reason,omitempty"`
	Final          bool    `json:"final,omitempty"`
	ExitCode       int     `json:"exit_code"`
}

// Status is what the init knows of itself.
type Status struct {
	Version     string     `json:"version"`
	PID         int        `json:"pid"`
	Started     time.Time  `json:"started"`
	Mode        string     `json:"mode"`  // spawn, forward or off
	State       string     `json:"state"` // as in docs/states.md
	Generation  int        `json:"generation"`
	Ready       bool       `json:"ready"` // the main process is
	Main        *Process   `json:"main,omitempty"`
	Successor   *Process   `json:"successor,omitempty"`
	Predecessor *Process   `json:"predecessor,omitempty"`
	Upgrade     *Progress  `json:"upgrade,omitempty"` // in progress
	LastUpgrade *Progress  `json:"last_upgrade,omitempty"`
	Probation   float64    `json:"probation,omitempty"` // seconds left of it
	CanRollBack bool       `json:"can_roll_back"`
	Listeners   []Listener `json:"listeners,omitempty"`
	Store       []Stored   `json:"store,omitempty"`
	Zombies     int        `json:"zombies"` // in the init's PID namespace
	Counters    Counters   `json:"counters"`
}

// Process is a generation's main process.
type Process struct {
	PID        int       `json:"pid"`
	Generation int       `json:"generation"`
	Since      time.Time `json:"since"`
	Executable string    `json:"executable,omitempty"`
	Said       string    `json:"said,omitempty"`   // its last STATUS=
	SHA256     string    `json:"sha256,omitempty"` // of what it executes; only `graceinit status --digest` finds it out
}

// Listener is one that the init holds.
type Listener struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// Stored are the fds of one name in the fd store.
type Stored struct {
	Name string `json:"name"`
	FDs  int    `json:"fds"`
}

// Counters only grow.
type Counters struct {
	Upgrades          map[Step]int `json:"upgrades"` // by how they ended
	Reaped            uint64       `json:"reaped"`
	Forwarded         uint64       `json:"forwarded"` // signals
	Notifications     uint64       `json:"notifications"`
	Stops             uint64       `json:"stops"`
	Kills             uint64       `json:"kills"`
	KillTimeouts      uint64       `json:"kill_timeouts"`
	ConnectionsAtKill uint64       `json:"connections_at_kill"` // open when SIGKILL was sent
}

// Delivery is how a `graceinit deliver` went. It is the last line of the command's standard output.
type Delivery struct {
	Result   Result    `json:"result"`
	ExitCode int       `json:"exit_code"`
	Reason   string    `json:"reason,omitempty"`
	SHA256   string    `json:"sha256,omitempty"`
	Source   string    `json:"source"`
	Target   string    `json:"target"`
	Upgrade  *Progress `json:"upgrade,omitempty"` // its last line, where it came to one
}

// Result is how a delivery ended.
type Result string

const (
	ResultDelivered Result = "delivered" // the app runs it, and it is in its place
	ResultUnchanged Result = "unchanged" // it was there already
	ResultRefused   Result = "refused"   // nothing was touched
	ResultFailed    Result = "failed"    // the predecessor serves on, or again
)
