package config

import (
	"strconv"

	"github.com/graceinit/graceinit/internal/signals"
)

// Persona is whose defaults apply, chosen by argv[0]: a user of tini, dumb-init or catatonit changes one
// word, or only a link, and finds what they are used to.
type Persona struct {
	Name string

	Setsid      bool // dumb-init: the app leads a session, and what is left of it gets a SIGTERM at the end
	Suspend     bool // dumb-init: suspends itself when told to by the terminal
	Passive     bool // nothing is escalated, and the init exits with its main process
	NoSubreaper bool // tini: orphans come only to PID 1 or on request
	Dropped     []signals.Signal
}

// faults are the signals that tini and catatonit leave to the kernel, which does not deliver them to a
// PID 1 that has no handler for them.
var faults = []signals.Signal{4, 5, 6, 7, 8, 11, 31}

func personaOf(name string) Persona {
	const tstp, ttin, ttou = 20, 21, 22
	switch name {
	case "tini", "tini-static":
		return Persona{Name: "tini", Passive: true, NoSubreaper: true,
			Dropped: append([]signals.Signal{ttin, ttou}, faults...)}
	case "dumb-init":
		return Persona{Name: "dumb-init", Passive: true, NoSubreaper: true, Setsid: true, Suspend: true}
	case "catatonit":
		return Persona{Name: "catatonit", Passive: true,
			Dropped: append([]signals.Signal{tstp, ttin, ttou}, faults...)}
	default:
		return Persona{Name: "graceinit"}
	}
}

// apply adjusts settings that came from the environment, before flags are read.
func (p *Persona) apply(s *Settings, lookup func(string) (string, bool)) {
	has := func(name string) bool { _, ok := lookup(name); return ok }
	value := func(name string) string { v, _ := lookup(name); return v }

	if p.Passive && !has(EnvName("upgrade")) {
		s.Upgrade = ModeOff
	}
	// The peers' own variables are honoured under any name, so that a changed ENTRYPOINT suffices.
	if has("TINI_SUBREAPER") {
		s.Subreaper = true
	}
	if has("TINI_KILL_PROCESS_GROUP") {
		s.Group = true
	}
	if n, err := strconv.Atoi(value("TINI_VERBOSITY")); err == nil && n > 1 {
		s.Verbose = Count(n - 1) // tini's 1 is its default
	}
	if value("DUMB_INIT_DEBUG") == "1" {
		s.Verbose = 2
	}
	if value("DUMB_INIT_SETSID") == "0" {
		p.Setsid = false
	}
}

// finish adjusts settings once the flags are known too.
func (p *Persona) finish(s *Settings) {
	p.Setsid = p.Setsid && !bool(s.SingleChild)
	if !p.Setsid {
		return
	}
	s.Group = true
	for _, sig := range []signals.Signal{20, 21, 22} {
		// In a session of its own the app has no parent that could continue it, so the kernel would ignore
		// these three there (setsid(2), orphaned process groups).
		if s.Rewrite == nil {
			s.Rewrite = Rewrites{}
		}
		if _, set := s.Rewrite[sig]; !set {
			s.Rewrite[sig] = 19
		}
	}
}
