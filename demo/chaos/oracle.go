package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// span is a time on the load's clock.
type span struct {
	from, to time.Duration
	why      string
}

func (s span) String() string {
	return fmt.Sprintf("%.3fs to %.3fs %s", s.from.Seconds(), s.to.Seconds(), s.why)
}

const forever = time.Duration(1<<63 - 1)

// meets reports whether the request was under way in the span.
func (s span) meets(f load.Failure) bool { return f.At >= s.from && f.At-f.Waited < s.to }

// verdict on a request that failed.
type verdict int

const (
	unexplained verdict = iota
	explained           // the app was killed, stopped or broken by the chaos at that moment
	crossed             // it crossed the server's close of an idle connection
)

// judgeFailure is the rule: a request may fail if it was under way while the chaos had the app broken, that is, from the
// moment right before it killed or stopped a process that serves, or let a bad successor serve, to the moment when a fresh
// request was answered again. A keep-alive request that crossed the server's close of its idle connection is the
// server's: it has to be in an upgrade, on a connection that had been in use, without one byte of a response. Of a server that
// closes such connections without a look (grace), that will do; for the others there has to be the proof that no
// process had read it.
func judgeFailure(f load.Failure, app string, breaks, changes []span) verdict {
	in := func(s span) bool { return s.meets(f) }
	switch {
	case slices.ContainsFunc(breaks, in):
		return explained
	case f.Kind == load.KeepAlive && f.Crossed && (f.Unread || app == grace) && slices.ContainsFunc(changes, in):
		return crossed
	}
	return unexplained
}

// death is one that the chaos has caused, or was about to.
type death struct {
	pid   int // zero: of a process whose pid is not known
	code  int // what the container's exit code is if this was its main process
	why   string
	young bool // only of a main process that did not exist before the storm
	at    time.Duration
}

// ending is how a container ended that nobody had asked to.
type ending struct {
	status  syscall.WaitStatus
	cause   string // what the init says, empty where it could not be read
	deaths  []death
	oomKill bool                           // the kernel has killed something for want of memory
	main    int                            // the main process before the storm
	wasMain func(int) (was, followed bool) // what is known of a process
	seen    bool                           // the init can say the cause, in its log or in the termination log
}

var causeLine = regexp.MustCompile(`main process \(generation (\d+), pid (\d+)\)`)

// judgeEnding is the rule: without a shutdown the container ends only with its main process, and with that one's code. So a
// death of the chaos's making, in this very storm, must have this code, and the init must name the process that died it.
// (With code 0 its log says nothing at level info.)
func judgeEnding(e ending) (by death, err error) {
	if e.status.Signaled() {
		if e.oomKill && e.status.Signal() == syscall.SIGKILL {
			return by, nil // the kernel chose the init
		}
		return by, fmt.Errorf("the init was killed by %v", e.status.Signal())
	}
	named := 0
	if m := causeLine.FindAllStringSubmatch(e.cause, -1); m != nil {
		named, _ = strconv.Atoi(m[len(m)-1][2])
	}
	code := e.status.ExitStatus()
	for _, d := range e.deaths {
		switch {
		case d.code != code:
		case named == 0 && e.seen && code != 0:
		case named != 0 && d.pid != 0 && d.pid != named:
		case named != 0 && d.young && named == e.main:
		case d.pid != 0 && followed(e, d.pid):
			return by, fmt.Errorf("it ended with exit code %d for process %d (%s), whose successor was the main process: %s", code, d.pid, d.why, e.cause)
		default:
			return d, nil
		}
	}
	return by, fmt.Errorf("it ended with exit code %d, and the chaos had done nothing to its main process that could have that code (%d deaths are known): %s", code, len(e.deaths), e.cause)
}

func followed(e ending, pid int) bool {
	if e.wasMain == nil {
		return false
	}
	_, followed := e.wasMain(pid)
	return followed
}

// judgeLog finds what must not be in the init's log. A crash of the init is not looked for there: the app, too, can be a Go
// program, and the init's ends the container, with a code for which nobody died.
func judgeLog(log string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "BUG:") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// broken notes that the app is broken from now on. The function that is returned waits until it answers again.
func (e *episode) broken(why string) (mended func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := len(e.breaks)
	e.breaks = append(e.breaks, span{from: e.now(), to: forever, why: why})
	return func() {
		if !e.answers(e.restLimit()) {
			return // the container has ended, or calm will say so
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.breaks[i].to = e.now()
	}
}

// brokenUntilCalm is the same for what may go wrong again as long as the storm lasts.
func (e *episode) brokenUntilCalm(why string) {
	mended := e.broken(why)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mend = append(e.mend, mended)
}

// change notes an upgrade, or the time in which there may have been some.
func (e *episode) change(from, to time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes = append(e.changes, span{from: from, to: to})
}

// dies notes a death.
func (e *episode) dies(d death) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d.at = e.now()
	e.deaths = append(e.deaths, d)
}

// inStorm reports whether the fault is one of the storm that began last.
func (e *episode) inStorm(fault string) bool {
	return slices.ContainsFunc(e.shots, func(s Shot) bool { return s.Fault == fault })
}

// unasked judges the end of a container to which no end was said.
func (e *episode) unasked() {
	e.said.finish()
	x := ending{status: e.ns.Wait(), cause: e.cause(), main: e.stormMain, wasMain: e.watch.wasMain,
		oomKill: e.group != nil && e.group.oomKills() > 0,
		// Without one fd to spare it cannot open the termination log.
		seen: e.plan.Stderr == stderrRead || !e.inStorm("fd limit")}
	e.mu.Lock()
	x.deaths = slices.Clone(e.deaths)
	e.mu.Unlock()
	e.outcome = "ended in a storm, " + statusText(x.status)
	e.log.add("the container ended, %s: %s", statusText(x.status), x.cause)
	by, err := judgeEnding(x)
	if err != nil {
		e.violate("%v", err)
		return
	}
	// Between the death and the end a predecessor that drained may have answered, but accepted nothing more.
	if by.why != "" {
		e.breaks = append(e.breaks, span{from: by.at, to: forever, why: "the end, by " + by.why})
	}
}

// cause is what the init says of its end.
func (e *episode) cause() string {
	log := e.said.String()
	if i := strings.LastIndex(log, "main process (generation"); i >= 0 {
		text, _, _ := strings.Cut(log[i:], "\n")
		return text
	}
	return e.readTerminationLog()
}

// judge comes at the end of an episode.
func (e *episode) judge() {
	var result load.Result
	switch {
	case e.load == nil:
	case e.gone():
		result = e.load.Stop() // whatever was in flight has met the end
	default:
		result = e.load.Abort()
	}
	e.requests = result.Requests
	if e.requests == 0 && len(e.violations) == 0 {
		e.violate("there was no load")
	}
	wrong := 0
	for _, f := range result.Failures {
		switch judgeFailure(f, e.plan.App, e.breaks, e.changes) {
		case explained:
			e.explained++
		case crossed:
			e.crossed++
		default:
			if wrong++; wrong <= 10 {
				e.violate("a request failed, and the app was not broken: %v", f)
			}
		}
	}
	if wrong > 10 {
		e.violate("%d requests failed like this", wrong)
	}
	s := e.watch.status()
	for step, n := range s.Counters.Upgrades {
		e.upgrades[step] += n
	}
	e.reaped = s.Counters.Reaped
	if line := judgeLog(e.said.String()); line != "" {
		e.violate("the init's log has %q", line)
	}
	if len(e.violations) > 0 {
		e.log.add("breaks: %v", e.breaks)
		e.log.add("the end of the init's log:\n%s", tail(e.said.String(), 8000))
	}
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

func statusText(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + s.Signal().String()
	}
	return fmt.Sprintf("exit code %d", s.ExitStatus())
}
