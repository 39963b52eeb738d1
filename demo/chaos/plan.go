package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The apps. Under spawn the app knows nothing of upgrades; the others upgrade themselves.
const (
	spawn     = "spawn"
	grace     = "grace"
	tableflip = "tableflip"
	nginx     = "nginx"
)

// What becomes of the init's standard error.
const (
	stderrRead    = "read"
	stderrBlocked = "blocked" // a pipe that nobody reads
	stderrGone    = "gone"    // a pipe whose reader has gone
	stderrClosed  = "closed"
	stderrFile    = "file" // on a small file system of its own
)

// Plan is what is to happen in an episode. It follows from the seed and the number alone.
type Plan struct {
	Seed, Number uint64

	App       string
	Stderr    string
	SmallDisk bool // sockets, pid file and termination log are on the small file system
	Silent    bool // spawn: the app does not say READY=1
	Probe     bool // spawn: a command finds out whether it is ready
	Check     bool
	StopFirst bool
	Nobody    bool // spawn: the app runs as another user
	Watchdog  time.Duration
	Probation time.Duration
	Code      int // spawn: what the app exits with when it is told to stop
	Flags     []string

	Storms [][]Shot
	End    string
	EndArg int
}

// Shot is one fault in a storm.
type Shot struct {
	Fault string
	At    time.Duration // from the storm's beginning
	For   time.Duration
	Seed  uint64
}

// The ends of an episode.
const (
	endTerm     = "TERM"
	endTwice    = "TERM twice"
	endUpgrade  = "TERM in an upgrade"
	endStopped  = "TERM, the app stopped"
	endStubborn = "TERM, an orphan ignores it"
	endExit     = "the app exits"
	endRemapped = "the app exits, remapped"
	endKilled   = "the app is killed"
)

var ends = []string{endTerm, endTwice, endUpgrade, endStopped, endStubborn, endExit, endRemapped, endKilled}

// Timeouts that every episode has: short, so that many are reached.
const (
	readyTimeout = 3 * time.Second
	drainTimeout = 6 * time.Second
	stopTimeout  = 5 * time.Second
	killTimeout  = 2 * time.Second
)

// newPlan draws an episode. choice are the faults to draw from; storms is how many storms it has, zero for some. Where there
// is no nginx, grace takes its place.
func newPlan(seed, number uint64, storms int, choice []*fault, hasNginx bool) Plan {
	r := rand.New(rand.NewPCG(seed, number))
	one := func(in int) bool { return r.IntN(in) == 0 }
	p := Plan{Seed: seed, Number: number, App: []string{spawn, spawn, spawn, spawn, grace, tableflip, nginx}[r.IntN(7)]}
	if p.App == nginx && !hasNginx {
		p.App = grace
	}
	p.Code = []int{0, 0, 3, 77, 255}[r.IntN(5)]
	p.SmallDisk = one(2)
	p.Probation = []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}[r.IntN(4)]
	p.Silent, p.Probe, p.Check = one(4), one(5), one(3)
	p.StopFirst, p.Nobody = one(6), one(6)
	if one(4) {
		p.Watchdog = 4 * time.Second
	}
	p.Stderr = []string{stderrRead, stderrRead, stderrRead, stderrBlocked, stderrGone, stderrClosed, stderrFile}[r.IntN(7)]
	if p.App != spawn {
		p.Code, p.Silent, p.Probe, p.StopFirst, p.Nobody, p.Watchdog, p.Probation = 0, false, false, false, false, 0, 0
		if p.Stderr == stderrBlocked || p.Stderr == stderrGone {
			p.Stderr = stderrRead // they write there themselves, and would hang or die of it
		}
	}
	p.Silent = p.Silent && p.Watchdog == 0 // a watchdog begins with READY=1
	p.Flags = p.flags(r)

	p.End = ends[r.IntN(len(ends))]
	p.EndArg = 1 + r.IntN(254)
	if p.End == endKilled {
		other := map[string]syscall.Signal{spawn: syscall.SIGKILL, nginx: syscall.SIGSEGV, grace: syscall.SIGHUP, tableflip: syscall.SIGHUP}
		p.EndArg = int([]syscall.Signal{syscall.SIGKILL, other[p.App]}[r.IntN(2)])
	}
	if p.End == endExit || p.End == endRemapped {
		if p.App != spawn {
			p.End = endTerm
		}
	}
	if storms == 0 {
		storms = 2 + r.IntN(3)
	}
	for i := range storms {
		p.Storms = append(p.Storms, p.storm(r, choice, i == storms-1))
	}
	return p
}

func (p *Plan) flags(r *rand.Rand) []string {
	one := func(in int) bool { return r.IntN(in) == 0 }
	flags := []string{"--ready-timeout", readyTimeout.String(), "--drain-timeout", drainTimeout.String(),
		"--stop-timeout", stopTimeout.String(), "--kill-timeout", killTimeout.String(),
		"--settle", "400ms", "--probation", p.Probation.String()}
	if one(2) {
		flags = append(flags, "--log-format", "json")
	}
	if one(2) {
		flags = append(flags, "-v")
	}
	if one(8) {
		flags = append(flags, "-w")
	}
	if p.StopFirst {
		flags = append(flags, "--stop-first")
	}
	if p.Watchdog > 0 {
		flags = append(flags, "--watchdog", p.Watchdog.String())
	}
	if p.Nobody {
		flags = append(flags, "--user", "65534")
	}
	if one(4) {
		flags = append(flags, "--drain-delay", "300ms")
	}
	if p.App != spawn {
		// Whatever these would die of is not for them.
		needed := []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGUSR2, syscall.SIGCHLD}
		for s := 1; s <= 64; s++ {
			if !slices.Contains(needed, syscall.Signal(s)) {
				flags = append(flags, "--rewrite", strconv.Itoa(s)+":0")
			}
		}
	}
	return flags
}

// storm draws some faults. What can end the container belongs into the last one.
func (p *Plan) storm(r *rand.Rand, choice []*fault, last bool) []Shot {
	var fit []*fault
	for _, f := range choice {
		// Of a generation that cannot say that it is ready, /proc tells whether it accepts connections.
		blind := p.App == spawn && p.Silent && !p.Probe && strings.HasPrefix(f.name, "/proc")
		if (f.apps == "" || strings.Contains(f.apps, p.App)) && (last || !f.deadly(p)) && !blind {
			for range f.weight {
				fit = append(fit, f)
			}
		}
	}
	if len(fit) == 0 {
		return nil
	}
	var shots []Shot
	for range 1 + r.IntN(4) {
		f := fit[r.IntN(len(fit))]
		if slices.ContainsFunc(shots, func(s Shot) bool { return s.Fault == f.name || apart(s.Fault, f.name) || apart(f.name, s.Fault) }) {
			continue
		}
		shots = append(shots, Shot{Fault: f.name, At: time.Duration(r.IntN(1000)) * time.Millisecond,
			For: time.Duration(200+r.IntN(1800)) * time.Millisecond, Seed: r.Uint64()})
	}
	return shots
}

// apart reports whether two faults are not for the same storm: whoever is there when the predecessor is killed takes its place, and
// a successor that lives and does not serve would keep it.
func apart(a, b string) bool {
	alive := []string{"successor: hangs", "successor: never ready", "successor: closes the listener", "successor: replaced meanwhile"}
	return a == "SIGKILL: "+string(predecessor) && slices.Contains(alive, b)
}

func (p Plan) String() string {
	out := fmt.Sprintf("seed %d, episode %d: %s, stderr %s, small disk %v, silent %v, probe %v, check %v, watchdog %v, code %d; end: %s %d\n  flags %s",
		p.Seed, p.Number, p.App, p.Stderr, p.SmallDisk, p.Silent, p.Probe, p.Check, p.Watchdog, p.Code, p.End, p.EndArg, strings.Join(p.Flags, " "))
	for i, storm := range p.Storms {
		out += fmt.Sprintf("\n  storm %d:", i+1)
		for _, s := range storm {
			out += fmt.Sprintf(" %s (at %v, for %v);", s.Fault, s.At, s.For)
		}
	}
	return out
}
