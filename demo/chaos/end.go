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

// endLimit is how long a shutdown may take: drain delay, stop timeout, kill timeout, the sweep with two kill timeouts of
// its own, and some seconds for a busy machine.
const endLimit = stopTimeout + 3*killTimeout + 10*time.Second

// end ends the episode as planned, and judges the exit code.
func (e *episode) end() {
	p := e.plan
	e.log.add("the end: %s %d", p.End, p.EndArg)
	main := e.watch.main()
	codes := []int{e.exitCode()}
	var err error
	switch p.End {
	case endExit, endRemapped:
		codes = []int{p.EndArg}
		if p.End == endRemapped {
			codes = []int{0}
		}
		e.pastProbation()
		e.broken(p.End)
		err = e.tellToExit(p.EndArg)
	case endKilled:
		codes = []int{128 + p.EndArg}
		e.pastProbation()
		e.broken(p.End)
		err = e.send(main, syscall.Signal(p.EndArg))
	case endStopped:
		codes = []int{128 + int(syscall.SIGKILL)}
		e.broken(p.End)
		if err = e.send(main, syscall.SIGSTOP); err == nil {
			err = e.ns.Signal(syscall.SIGTERM)
		}
	default:
		err = e.shutdown()
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
	case <-time.After(endLimit):
		e.violate("the container has not ended %v after the end (%s)", endLimit, p.End)
		return
	}
	e.said.finish()
	st := e.ns.Wait()
	e.outcome = fmt.Sprintf("%s: %s", p.End, statusText(st))
	e.log.add("the container ended, %s: %s", statusText(st), e.cause())
	if !st.Exited() || !slices.Contains(codes, st.ExitStatus()) {
		e.violate("at its end (%s) it has %s, want one of %v: %s", p.End, statusText(st), codes, e.cause())
	}
}

// shutdown sends SIGTERM. The slow requests that are in flight have to be answered.
func (e *episode) shutdown() error {
	e.load.Drain()
	if !e.until(15*time.Second, func() bool { return e.load.InFlight(load.Fresh) == 0 && e.load.InFlight(load.KeepAlive) == 0 }) {
		return fmt.Errorf("requests do not end")
	}
	if e.plan.End == endUpgrade {
		if err := e.trigger(); err != nil {
			return err
		}
		e.wait(time.Duration(e.plan.EndArg) * 4 * time.Millisecond)
	}
	if e.plan.End == endStubborn {
		if out, code, err := e.inside("/bin/sh", "-c", e.kit.self+" "+roleDeaf+" >/dev/null 2>&1 &"); code != 0 {
			return fmt.Errorf("cannot start an orphan: %s (%w)", out, err)
		}
	}
	if err := e.ns.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if e.plan.End == endTwice {
		e.wait(time.Duration(e.plan.EndArg) * time.Millisecond)
		_ = e.ns.Signal(syscall.SIGTERM) // it may have ended
	}
	return nil
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
