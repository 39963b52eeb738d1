// Package record is the data of a demonstration: written by the command demo, drawn by the command picture.
package record

import (
	"encoding/json"
	"os"
	"time"
)

// Record is one demonstration.
type Record struct {
	Time   time.Time `json:"time"`
	CPUs   int       `json:"cpus"`
	Kernel string    `json:"kernel"`
	Docker bool      `json:"docker"` // else a PID namespace of its own
	Load   Load      `json:"load"`
	Runs   []Run     `json:"runs"`
}

// Load is what the app had to do.
type Load struct {
	KeepAlive   int     `json:"keep_alive_per_second"`
	Fresh       int     `json:"fresh_per_second"`
	Slow        int     `json:"slow_in_flight"`
	SlowSeconds float64 `json:"slow_seconds"`
}

// Run is the app under one init. All times are seconds from the start of the load.
type Run struct {
	Init        string       `json:"init"`
	Version     string       `json:"version"`
	LoadEnd     float64      `json:"load_end"` // when no further request was issued
	Generations []Generation `json:"generations"`
	Events      []Event      `json:"events"`
	Requests    int          `json:"requests"`
	Failed      int          `json:"failed"`
	// Crossed got no response because the app closed their idle connection as they were on the way; they are
	// neither answered nor failed.
	Crossed  int       `json:"crossed"`
	Failures []string  `json:"failures,omitempty"` // the first ones
	Latency  []Latency `json:"latency"`
	Rate     []Rate    `json:"rate"`
	InFlight []Flight  `json:"slow_in_flight"`
	// Ended is when PID 1, and with it everything, ended under load; 0: it did not.
	Ended float64 `json:"ended,omitempty"`
	Exit  string  `json:"exit"`
	Left  int     `json:"processes_left"` // of the app, when the load had ended
	Dead  int     `json:"zombies_left"`
}

// Generation is one process of the app.
type Generation struct {
	Number int     `json:"number"` // from 1
	PID    int     `json:"pid"`    // in the namespace
	Build  int     `json:"build"`  // which of the binaries it executes
	From   float64 `json:"from"`
	To     float64 `json:"to,omitempty"` // when it was gone
	OK     int     `json:"answered"`
}

// Kinds of an Event.
const (
	Upgrade = "upgrade" // a new binary was installed and USR2 sent
	Log     = "log"     // a line of the init's log
	End     = "end"     // PID 1 ended
)

// Event is something that happened.
type Event struct {
	At   float64 `json:"at"`
	Kind string  `json:"kind"`
	Text string  `json:"text"`
}

// Latency is the distribution of one kind of request, in milliseconds.
type Latency struct {
	Kind string  `json:"kind"`
	N    int     `json:"n"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	Max  float64 `json:"max_ms"`
}

// Rate is what happened to requests in an interval that begins At.
type Rate struct {
	At      float64     `json:"at"`
	Seconds float64     `json:"seconds"`
	OK      map[int]int `json:"ok"` // by generation
	Failed  int         `json:"failed"`
}

// Flight is how many slow requests were waiting for their response at a moment.
type Flight struct {
	At   float64     `json:"at"`
	Slow map[int]int `json:"slow"` // by generation
}

// Write stores the record.
func (r *Record) Write(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// Read loads a record.
func Read(file string) (*Record, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r Record
	return &r, json.Unmarshal(b, &r)
}
