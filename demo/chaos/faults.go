package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// fault is one kind of what can go wrong.
type fault struct {
	name   string
	how    string // it is injected
	must   string // hold
	apps   string // only with these; empty: with all
	weight int
	// deadly reports whether it may end the container of such an episode, and rightly.
	deadly  func(p *Plan) bool
	hampers bool                  // it may keep a process from being started
	needs   func(k *kit) bool     // nil: nothing
	inject  func(k *strike) error // and mend
}

// strike is a fault on its way.
type strike struct {
	*episode
	*rand.Rand
	name   string
	length time.Duration
}

// count counts injections.
func (k *strike) count(n int) { k.episode.count(k.name, n) }

func (e *episode) count(name string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[name] += n
}

const (
	servesOn = "the predecessor serves on, no request fails, the upgrade is reported as refused or failed"
	goesOn   = "no request fails, the container lives, a good upgrade succeeds afterwards"
)

func never(*Plan) bool  { return false }
func always(*Plan) bool { return true }

// withoutProbation: there is nobody to go back to.
func withoutProbation(p *Plan) bool { return p.App != spawn || p.Probation == 0 }

// whereNothingRuns: with --stop-first there are moments at which the main process has to be started, or the container ends.
func whereNothingRuns(p *Plan) bool { return p.StopFirst }

// whereProcMatters: the successor of an app that upgrades itself is recognised by /proc.
func whereProcMatters(p *Plan) bool { return p.StopFirst || p.App != spawn }

// faults are all of them.
var faults = all()

func all() []*fault {
	var out []*fault
	for _, b := range badSuccessors {
		f := &fault{name: "successor: " + b.name, how: "the new executable " + b.what, must: servesOn, weight: 2,
			deadly: func(p *Plan) bool { return p.StopFirst || p.App == grace && b.write != nil },
			inject: func(k *strike) error { return k.badSuccessor(b) }}
		if b.spawn {
			f.apps = spawn
		}
		if b.name == "dies in probation" {
			f.must, f.deadly = "its predecessor's executable serves again; only what the successor had accepted is lost", func(p *Plan) bool {
				return withoutProbation(p) || p.StopFirst
			}
		}
		out = append(out, f)
	}
	out = append(out,
		&fault{name: "successor: replaced meanwhile", how: "good and bad executables take turns at the path while upgrades are triggered",
			must: "one of them is started, whole; " + servesOn, weight: 3,
			deadly: func(p *Plan) bool { return p.StopFirst || p.App == grace }, inject: (*strike).flip})
	for _, who := range []role{helpers, successor, predecessor} {
		deadly, must := never, "the upgrade fails or is tried again, "+goesOn
		switch who {
		case successor:
			deadly, must = withoutProbation, "the predecessor, or its executable started anew, serves; only what the successor had accepted is lost"
		case predecessor:
			deadly, must = always, "the successor is the main process, or the container ends with 137"
		}
		out = append(out,
			&fault{name: "SIGKILL: " + string(who), how: "at a random moment of an upgrade, to " + who.what(), must: must, weight: 4,
				deadly: deadly, inject: func(k *strike) error { return k.hit(who, true) }},
			&fault{name: "SIGSTOP: " + string(who), how: "the same, and SIGCONT later", must: "deadlines hold; only requests that the stopped one has are late or lost",
				weight: 2, deadly: func(p *Plan) bool { return who != helpers && (withoutProbation(p) || p.Watchdog > 0) },
				inject: func(k *strike) error { return k.hit(who, false) }})
	}
	return append(out,
		&fault{name: "SIGSTOP: past the watchdog", how: "the main process is stopped for longer than --watchdog", apps: spawn,
			must: "it is aborted: rolled back in its probation, else the container ends with 134", weight: 1,
			deadly: always, inject: (*strike).pastWatchdog},
		&fault{name: "signals from outside", how: "1 to 64 at random, hundreds, to PID 1 from the parent namespace (not KILL, STOP, TERM)", must: "handed on or ignored as the table says, " + goesOn,
			weight: 4, deadly: func(p *Plan) bool { return p.StopFirst }, inject: (*strike).signalsOutside},
		&fault{name: "signals from inside", how: "the same from within", must: "the same", weight: 3,
			deadly: func(p *Plan) bool { return p.StopFirst }, inject: (*strike).signalsInside},
		&fault{name: "triggers", how: "upgrades asked for by the hundred, by signal and over the socket", must: "one at a time, those that come meanwhile are one more; " + goesOn,
			weight: 4, deadly: never, inject: (*strike).triggers},
		&fault{name: "pids limit", how: "pids.max of the cgroup at what is in use, or just above", must: servesOn, weight: 3,
			deadly: always, hampers: true, needs: (*kit).hasCGroups, inject: (*strike).pidsLimit},
		&fault{name: "memory limit", how: "the cgroup's limit just above what is in use; the kernel kills the successor first", must: servesOn, weight: 2,
			deadly: always, hampers: true, needs: (*kit).hasCGroups, inject: (*strike).memoryLimit},
		&fault{name: "fd limit", how: "RLIMIT_NOFILE of the init at what is in use, or just above", must: servesOn, weight: 3,
			deadly: whereNothingRuns, hampers: true, inject: (*strike).fdLimit},
		&fault{name: "full disk", how: "not a byte is left where the pid file, both sockets, the termination log or the log are", must: goesOn,
			weight: 3, deadly: never, inject: (*strike).fullDisk},
		&fault{name: "/proc hidden", how: "an empty file system is mounted over it, for a while", must: servesOn, weight: 2,
			deadly: whereProcMatters, hampers: true, inject: (*strike).hideProc},
		&fault{name: "/proc unmounted", how: "and mounted anew later", must: servesOn, weight: 2,
			deadly: whereProcMatters, hampers: true, inject: (*strike).unmountProc},
		&fault{name: "clock steps", how: "CLOCK_REALTIME, by seconds and hours, both ways, and back", must: "timeouts are kept, " + goesOn, weight: 2,
			deadly: never, needs: func(k *kit) bool { return k.clock }, inject: (*strike).stepClock},
		&fault{name: "orphans", how: "up to 50,000 zombies lose their parent at once", must: "all are reaped, " + goesOn, weight: 2,
			deadly: never, inject: (*strike).makeOrphans},
		&fault{name: "hostile peers", how: "garbage, huge and half messages, and fds, on both sockets, from root and another user", must: "nothing of it is obeyed, " + goesOn,
			weight: 3, deadly: never, inject: (*strike).hostilePeers},
		&fault{name: "flood", how: "4,000 connections to the control socket, half requests, watchers that do not read", must: goesOn,
			weight: 2, deadly: never, inject: (*strike).flood},
	)
}

func faultNamed(name string) *fault {
	return faults[slices.IndexFunc(faults, func(f *fault) bool { return f.name == name })]
}

func faultNames() []string {
	var out []string
	for _, f := range faults {
		out = append(out, f.name)
	}
	return out
}
