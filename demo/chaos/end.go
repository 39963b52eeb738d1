package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// endLimit is how long an end may take: the timeouts that it has to reach, and some seconds for a busy machine. The app has no
// request left, and idle connections for its httpdown at most.
func endLimit(end string) time.Duration {
	limit := 8 * time.Second
	switch end {
	case endStopped:
		limit += stopTimeout + killTimeout
	case endStubborn:
		limit += killTimeout // of the sweep
	case endUpgrade:
		limit += stopTimeout + killTimeout // a generation that began in that moment may not listen
	}
	return limit
}

// end ends the episode as planned, and judges the exit code.
func (e *episode) end() {
	p := e.plan
	e.log.add("the end: %s %d", p.End, p.EndArg)
	main := e.watch.main()
	codes := []int{e.exitCode()}
	var err error
	began := time.Now()
	switch p.End {
	case endExit, endRemapped:
		codes = []int{p.EndArg}
		if p.End == endRemapped {
			codes = []int{0}
		}
		e.pastProbation()
		e.broken(p.End)
		began = time.Now()
		err = e.tellToExit(p.EndArg)
	case endKilled:
		codes = []int{128 + p.EndArg}
		e.pastProbation()
		e.broken(p.End)
		began = time.Now()
		err = e.send(main, syscall.Signal(p.EndArg))
	case endStopped:
		codes = []int{128 + int(syscall.SIGKILL)}
		e.broken(p.End)
		if err = e.send(main, syscall.SIGSTOP); err == nil {
			err = e.ns.Signal(syscall.SIGTERM)
		}
	default:
		began, err = e.shutdown()
	}
	if err != nil {
		if e.gone() {
			e.unasked()
			return
		}
		e.violate("the harness cannot end the episode: %v", err)
	}
	select {
	case <-e.ns.Done():
	case <-time.After(endLimit(p.End)):
		e.violate("the container has not ended %v after the end (%s)", endLimit(p.End), p.End)
		return
	}
	e.endTook = time.Since(began)
	e.said.finish()
	st := e.ns.Wait()
	e.outcome = fmt.Sprintf("%s: %s", p.End, statusText(st))
	e.log.add("the container ended, %s: %s", statusText(st), e.cause())
	if m := causeLine.FindStringSubmatch(e.cause()); p.End == endUpgrade && p.App != spawn && m != nil && m[2] != strconv.Itoa(main) {
		codes = append(codes, 128+int(syscall.SIGTERM)) // a successor that the app had just started, and that caught nothing yet
	}
	if !st.Exited() || !slices.Contains(codes, st.ExitStatus()) {
		e.violate("at its end (%s) it has %s, want one of %v: %s", p.End, statusText(st), codes, e.cause())
	}
}

// shutdown sends SIGTERM, and says when. The slow requests that are in flight have to be answered.
func (e *episode) shutdown() (began time.Time, err error) {
	e.load.Drain()
	if !e.until(15*time.Second, func() bool { return e.load.InFlight(load.Fresh) == 0 && e.load.InFlight(load.KeepAlive) == 0 }) {
		return began, fmt.Errorf("requests do not end")
	}
	if e.plan.End == endUpgrade {
		if err := e.trigger(); err != nil {
			return began, err
		}
		e.wait(time.Duration(e.plan.EndArg) * 4 * time.Millisecond)
	}
	if e.plan.End == endStubborn {
		if out, code, err := e.inside("/bin/sh", "-c", e.kit.self+" "+roleDeaf+" >/dev/null 2>&1 &"); code != 0 {
			return began, fmt.Errorf("cannot start an orphan: %s (%w)", out, err)
		}
	}
	began = time.Now()
	if err := e.ns.Signal(syscall.SIGTERM); err != nil {
		return began, err
	}
	if e.plan.End == endTwice {
		e.wait(time.Duration(e.plan.EndArg) * time.Millisecond)
		_ = e.ns.Signal(syscall.SIGTERM) // it may have ended
	}
	return began, nil
}

func (e *episode) pastProbation() {
	e.until(e.restLimit(), func() bool {
		s, err := e.ask()
		return err == nil && s.Probation == 0
	})
}

// tellToExit has the app exit by itself. It cannot answer that.
func (e *episode) tellToExit(code int) error {
	cfg := e.loadConfig()
	cfg.FastPath = "/exit?code=" + strconv.Itoa(code)
	if pid, err := load.Get(context.Background(), cfg, 5*time.Second); err == nil {
		return fmt.Errorf("process %s does not exit", pid)
	}
	return nil
}

func (e *episode) readTerminationLog() string {
	b, _ := os.ReadFile(e.terminationLog())
	return string(b)
}
