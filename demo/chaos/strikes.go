package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/demo/proc"
)

// trigger asks for an upgrade as `docker kill -s USR2` does.
func (e *episode) trigger() error {
	e.count("upgrade signals", 1)
	return e.ns.Signal(syscall.SIGUSR2)
}

// upgradeFor triggers an upgrade, by signal or over the socket, and lets it go on for a while.
func (k *strike) upgradeFor(d time.Duration) error {
	if k.IntN(2) == 0 {
		if err := k.trigger(); err != nil {
			return err
		}
	} else if out, code, err := k.inside(k.kit.init, "upgrade", "--no-wait"); err != nil || code != 0 {
		k.log.add("upgrade --no-wait: exit code %d (%v): %.200s", code, err, out)
	}
	k.wait(d)
	return nil
}

// badSuccessor has the init upgrade to an executable that goes wrong.
func (k *strike) badSuccessor(b bad) error {
	code, err := k.put(b)
	if err != nil {
		return err
	}
	k.count(1)
	if b.write != nil {
		k.graceGivesUp()
	}
	alone := k.upgradesAlone()
	if b.name == "dies in probation" {
		k.brokenUntilCalm(b.name)
		if withoutProbation(&k.plan) || k.plan.StopFirst || !alone {
			// Where another trigger had the init upgrade to it twice, it is also what is gone back to.
			k.dies(death{code: code, why: b.name})
		}
	} else if k.hampered || k.plan.StopFirst {
		// With nobody left to serve, the container ends with the code of whoever was there last.
		k.dies(death{code: code, why: b.name})
		k.dies(death{code: k.exitCode(), why: "its predecessor, which could not be started anew"})
	}
	if k.IntN(3) == 0 && !alone {
		return k.upgradeFor(k.length)
	}
	out, code, err := k.inside(k.kit.init, "upgrade")
	switch {
	case err != nil || k.gone():
	case !alone: // the answer may be that of another upgrade
		if code == 0 && b.name != "dies in probation" {
			k.log.add("upgrade to one that %s: %s", b.what, out)
		}
	case b.name == "dies in probation" && k.plan.Probation > 0:
		if code == 0 || !strings.Contains(out, "rolled back") {
			k.violate("an upgrade to one that %s is not said to be rolled back: exit code %d: %s", b.what, code, out)
		}
	case b.name != "dies in probation" && code == 0:
		k.violate("an upgrade to one that %s is said to be done: %s", b.what, out)
	}
	return err
}

// upgradesAlone reports whether nothing else in the storm asks for upgrades, or gets in the way of one.
func (k *strike) upgradesAlone() bool {
	return !slices.ContainsFunc(k.shots, func(s Shot) bool {
		return s.Fault != k.name && s.Fault != "orphans" && s.Fault != "hostile peers"
	})
}

// graceGivesUp notes that gracedemo ends, with code 0, if it cannot even start its successor. The others serve on.
func (k *strike) graceGivesUp() {
	if k.plan.App == grace {
		k.dies(death{code: 0, why: "grace could not start its successor"})
		k.brokenUntilCalm("grace may not be able to start its successor")
	}
}

// flip has good and bad executables take turns.
func (k *strike) flip() error {
	k.graceGivesUp()
	for end := time.Now().Add(k.length); time.Now().Before(end) && !k.gone(); {
		b := badSuccessors[k.IntN(len(badSuccessors))]
		if b.name == "dies in probation" || b.spawn && k.plan.App != spawn || k.IntN(2) == 0 {
			if err := k.install(); err != nil {
				return err
			}
		} else {
			code, err := k.put(b)
			if err != nil && !os.IsNotExist(err) {
				return err
			}
			if k.plan.StopFirst {
				k.dies(death{code: code, why: b.name})
				k.dies(death{code: k.exitCode(), why: "its predecessor, which could not be started anew"})
			}
		}
		k.count(1)
		if err := k.upgradeFor(time.Duration(k.IntN(200)) * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// role is what a process is in an upgrade.
type role string

const (
	helpers     role = "helper"
	successor   role = "successor"
	predecessor role = "predecessor"
)

func (r role) what() string {
	if r == helpers {
		return "the exec shim, the --check command or the probe"
	}
	return "the " + string(r)
}

// find looks for a process in a role. old is the main process before the upgrade.
func (e *episode) find(who role, old int) int {
	if who == predecessor {
		return old
	}
	list, err := proc.List(e.proc())
	if err != nil {
		return 0
	}
	for _, p := range list {
		if p.PID == 1 || p.PID == old || p.PPID == 0 || p.Zombie() {
			continue
		}
		helper := e.isHelper(p.PID)
		app := !helper && !p.Forked && strings.Contains(e.cmdline(p.PID), e.app)
		if who == helpers && helper || who == successor && app {
			return p.PID
		}
	}
	return 0
}

// cmdline is that of /proc/PID/cmdline, or empty.
func (e *episode) cmdline(pid int) string {
	b, _ := os.ReadFile(filepath.Join(e.proc(), strconv.Itoa(pid), "cmdline"))
	return string(b)
}

func (e *episode) isHelper(pid int) bool {
	cmdline := e.cmdline(pid)
	return strings.HasPrefix(cmdline, "graceinit:") || strings.Contains(cmdline, roleHelper)
}

// workersOf lists the children of a process.
func (k *strike) workersOf(master int) (workers []int) {
	list, err := proc.List(k.proc())
	if err != nil {
		return nil
	}
	for _, p := range list {
		if p.PPID == master {
			workers = append(workers, p.PID)
		}
	}
	return workers
}

// hit kills or stops somebody at a random moment of a good upgrade.
func (k *strike) hit(who role, kill bool) error {
	if err := k.install(); err != nil {
		return err
	}
	old := k.watch.main()
	var asked sync.WaitGroup
	asked.Go(func() { _ = k.upgradeFor(0) })
	defer asked.Wait()
	// From its appearance, mostly soon.
	after := time.Duration(k.IntN(1+k.IntN(1000))) * time.Millisecond
	if who == helpers {
		after = time.Duration(k.IntN(1+k.IntN(20))) * time.Millisecond
	}
	pid := 0
	for deadline := time.Now().Add(3 * time.Second); pid == 0; {
		if pid = k.find(who, old); pid == 0 && (time.Now().After(deadline) || !k.wait(time.Millisecond)) {
			return nil // there was none
		}
	}
	k.wait(after)
	if who == helpers && !k.holdHelper(pid) {
		return nil // it has become the successor, or has ended
	}
	sig, length := syscall.SIGKILL, time.Duration(0)
	if !kill {
		sig, length = syscall.SIGSTOP, k.length
	}
	phase := k.watch.phase()
	mended := func() {}
	if who != helpers {
		why := fmt.Sprintf("%s to the %s", unix.SignalName(sig), who)
		if k.plan.App == spawn {
			mended = k.broken(why)
		} else {
			k.brokenUntilCalm(why) // its predecessor may have begun to go
		}
		// A successor's death ends the container only where nobody is left to serve.
		if kill && (who == predecessor || withoutProbation(&k.plan) || k.hampered) {
			k.dies(death{pid: pid, code: 128 + int(syscall.SIGKILL), why: "SIGKILL to the " + string(who)})
			if k.plan.App != spawn || k.hampered {
				// The predecessor had begun to go, and there is nobody else.
				k.dies(death{code: k.exitCode(), why: "the predecessor, whose successor was killed"})
				k.dies(death{code: 128 + int(syscall.SIGKILL), why: "SIGKILL to the " + string(who)})
			}
			if k.plan.App == tableflip {
				k.dies(death{code: 1, why: "tableflip's successor gives up without its predecessor"})
			}
		}
		if !kill {
			k.dies(death{pid: pid, code: 128 + int(syscall.SIGKILL), why: "stopped for longer than a timeout"})
			k.dies(death{pid: pid, code: 128 + int(syscall.SIGABRT), why: "stopped for longer than its watchdog"})
		}
	}
	workers := k.workersOf(pid)
	if err := k.send(pid, sig); err != nil {
		mended()
		return nil // it has ended
	}
	if kill && k.plan.App == nginx && who == successor {
		for _, w := range workers {
			_ = k.send(w, sig) // or they serve on without their master, as nginx's do
		}
	}
	k.log.add("%s to the %s, pid %d, %v after it appeared; %s", unix.SignalName(sig), who, pid, after, phase)
	k.count(1)
	k.hitIn(sig, who, phase)
	if !kill {
		k.wait(length)
		_ = k.send(pid, syscall.SIGCONT)
	}
	if k.plan.App == nginx {
		// Without their master the workers serve on until the drain timeout ends them.
		k.until(k.restLimit(), func() bool { s, err := k.ask(); return err == nil && s.Upgrade == nil })
	}
	mended()
	return nil
}

// holdHelper stops a helper that is still one: an exec shim becomes, under the same pid, what it executes.
func (e *episode) holdHelper(pid int) bool {
	if e.send(pid, syscall.SIGSTOP) != nil {
		return false
	}
	if e.until(time.Second, func() bool { return e.state(pid) != 'R' }) && e.isHelper(pid) {
		return true
	}
	_ = e.send(pid, syscall.SIGCONT)
	return false
}

// state is that of /proc/PID/stat, or zero.
func (e *episode) state(pid int) byte {
	list, _ := proc.List(e.proc())
	for _, p := range list {
		if p.PID == pid {
			return p.State
		}
	}
	return 0
}

func (e *episode) hitIn(sig syscall.Signal, who role, phase string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hits[fmt.Sprintf("%s: %s, %s", unix.SignalName(sig), who, phase)]++
}

func (k *strike) pastWatchdog() error {
	if k.plan.Watchdog == 0 {
		return nil
	}
	main := k.watch.main()
	k.dies(death{pid: main, code: 128 + int(syscall.SIGABRT), why: "its watchdog"})
	k.dies(death{pid: main, code: 128 + int(syscall.SIGKILL), why: "its watchdog, and the kill timeout"})
	mended := k.broken(k.name)
	if err := k.send(main, syscall.SIGSTOP); err != nil {
		return err
	}
	k.count(1)
	k.wait(k.plan.Watchdog + k.length)
	_ = k.send(main, syscall.SIGCONT)
	mended()
	return nil
}

// storms of signals leave these out: they end the container, or it is not for the app to survive them.
func (k *strike) signals() []int {
	out := make([]int, 0, 400)
	for len(out) < cap(out) {
		n := 1 + k.IntN(64)
		skip := []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTERM}
		if k.plan.Watchdog > 0 {
			skip = append(skip, syscall.SIGABRT)
		}
		if !slices.Contains(skip, syscall.Signal(n)) {
			out = append(out, n)
		}
	}
	// A generation that has just been started in the place of another is the main process before it can catch anything.
	for _, n := range slices.Compact(slices.Sorted(slices.Values(out))) {
		k.dies(death{code: 128 + n, why: k.name, young: true})
	}
	k.dies(death{code: 2, why: "SIGQUIT, SIGABRT or the like to a Go program that catches nothing yet", young: true})
	return out
}

func (k *strike) signalsOutside() error {
	for _, n := range k.signals() {
		if err := k.ns.Signal(syscall.Signal(n)); err != nil {
			return err
		}
		k.count(1)
		if !k.wait(k.length / 400) {
			break
		}
	}
	return nil
}

func (k *strike) signalsInside() error {
	args := []string{k.kit.self, roleRaise}
	for _, n := range k.signals() {
		args = append(args, strconv.Itoa(n))
	}
	out, code, err := k.inside(args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, out)
	}
	k.count(len(args) - 2)
	return err
}

func (k *strike) triggers() error {
	ctx, cancel := context.WithTimeout(context.Background(), k.length)
	defer cancel()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 10 {
				if ctx.Err() != nil || k.gone() {
					return
				}
				if _, _, err := k.inside(k.kit.init, "upgrade", "--no-wait"); err != nil {
					return
				}
				k.count(1)
			}
		})
	}
	for range 300 {
		if k.trigger() != nil || !k.wait(k.length/300) {
			break
		}
		k.count(1)
	}
	all.Wait()
	return nil
}
