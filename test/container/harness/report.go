package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// Report is what happened to one container.
type Report struct {
	Case     Case
	Err      error // the harness itself could not go on
	Started  bool
	Upgrades []Upgrade
	Died     bool // the container ended before it was told to
	Exit     int
	// StopTook is from docker stop to its return, Dropped the requests that were in flight at the stop and failed,
	// InFlight how many there were.
	StopTook time.Duration
	Dropped  []load.Failure
	InFlight int
	Load     load.Result
	Failed   []load.Failure // of Load's failures those that count, see Server.ClosesIdle
	Crossed  []load.Failure // and the others
	Lines    []string       // the lines that ended an upgrade
	Expected []string       // those that are to be there
	Logs     string
	Events   []string // what the harness did and saw, with times
}

// Upgrade is one of its upgrades.
type Upgrade struct {
	Alive    bool          // the container lived through it
	Answered bool          // the generation that is to answer does: the successor, or the main process if Unchanged
	Gone     bool          // every process of the predecessor's generation has gone (Unchanged: none has)
	Ready    time.Duration // trigger until the successor's first answer
	Drained  time.Duration // trigger until the last process had gone
	Zombies  []Process     // that stayed
	Left     []Process     // of the predecessor's generation, at the end
	After    []Process     // the app's processes at the end
	From, To time.Duration // on the load's clock
	Lines    int           // lines that ended an upgrade, since the trigger
}

// Final matches what ends an upgrade in graceinit's log, text or JSON.
var Final = regexp.MustCompile(`(?:msg=|"msg":)"(upgrade (?:done in place|done|failed|forced|refused|rolled back|ended by shutdown))"`)

// sortFailures tells the requests that a server loses by itself from those that failed.
func (r *Report) sortFailures() {
	for _, f := range r.Load.Failures {
		if r.Case.Server.ClosesIdle.excuses(f) && slices.ContainsFunc(r.Upgrades, func(u Upgrade) bool {
			return u.Alive && f.At >= u.From && f.At <= u.To
		}) {
			r.Crossed = append(r.Crossed, f)
		} else {
			r.Failed = append(r.Failed, f)
		}
	}
}

// Problems are what is not as it is to be under graceinit. None: the case is green.
func (r *Report) Problems() []string {
	var out []string
	problem := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if r.Err != nil {
		problem("the harness failed: %v", r.Err)
	}
	if !r.Started {
		problem("the server never answered (container ended: %v, status %d)", r.Died, r.Exit)
		return out
	}
	s := r.Case.Server
	for i, u := range r.Upgrades {
		switch {
		case !u.Alive:
			problem("upgrade %d: the container ended with status %d", i+1, r.Exit)
		case !u.Answered && s.Outcome == Unchanged:
			problem("upgrade %d: the server does not answer any more", i+1)
		case !u.Answered:
			problem("upgrade %d: no successor answered within %v", i+1, readyTimeout)
		case !u.Gone && s.Outcome == Unchanged:
			problem("upgrade %d: the server that cannot upgrade did not stay as it was", i+1)
		case !u.Gone:
			problem("upgrade %d: of the predecessor's generation there still is: %s", i+1, names(u.Left))
		}
		if len(u.Zombies) > 0 {
			problem("upgrade %d: %d zombies: %s", i+1, len(u.Zombies), names(u.Zombies))
		}
		if u.Lines != 1 {
			problem("upgrade %d: %d lines ended it in the log, want exactly one", i+1, u.Lines)
		}
	}
	if len(r.Upgrades) != r.Case.Upgrades {
		problem("%d upgrades of %d were performed", len(r.Upgrades), r.Case.Upgrades)
	}
	if !slices.Equal(r.Lines, r.Expected) {
		problem("the lines that ended an upgrade say %q, want %q", r.Lines, r.Expected)
	}
	if n := len(r.Failed); n > 0 {
		problem("%d of %d requests failed", n, r.Load.Requests)
	}
	if r.Died {
		problem("the container ended by itself")
		return out
	}
	// One may end between the look at all sixteen and the stop.
	if s.Fast != "" && r.InFlight < 12 {
		problem("%d slow requests were in flight at the stop, want 16", r.InFlight)
	}
	if n := len(r.Dropped); n > 0 {
		problem("the stop dropped %d requests in flight", n)
	}
	if r.Exit != s.Exit {
		problem("the container's exit status is %d, want %d", r.Exit, s.Exit)
	}
	return out
}

// String tells the case's whole story.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "=== %s under %s\n", r.Case.Name(), r.Case.Init.Name)
	for _, p := range r.Problems() {
		fmt.Fprintf(&b, "problem: %s\n", p)
	}
	for _, e := range r.Events {
		fmt.Fprintln(&b, e)
	}
	fmt.Fprintln(&b, "--- load, on its own clock")
	for i, u := range r.Upgrades {
		fmt.Fprintf(&b, "upgrade %d from %.3fs to %.3fs\n", i+1, u.From.Seconds(), u.To.Seconds())
	}
	r.Load.Write(&b)
	fmt.Fprintf(&b, "--- the container's log\n%s\n", tail(r.Logs, 8000))
	return b.String()
}

// Dir is the directory of this module's sources.
func Dir() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		wd, _ := os.Getwd() // built with -trimpath: started from the module's directory
		return wd
	}
	return filepath.Dir(filepath.Dir(file))
}

// BuildGraceinit builds the binary as the Makefile does and returns its path.
func BuildGraceinit() (string, error) {
	top := filepath.Dir(filepath.Dir(Dir()))
	cmd := exec.Command("make", "-C", top, "build")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build graceinit: %w: %s", err, tail(string(b), 3000))
	}
	return filepath.Join(top, "bin", "graceinit"), nil
}
