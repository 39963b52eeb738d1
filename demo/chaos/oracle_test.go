package main

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

func exited(code int) syscall.WaitStatus { return syscall.WaitStatus(code << 8) }

func TestJudgeFailure(t *testing.T) {
	breaks := []span{{from: 10 * time.Second, to: 11 * time.Second}}
	changes := []span{{from: 20 * time.Second, to: 25 * time.Second}}
	at := func(s float64, waited time.Duration) load.Failure {
		return load.Failure{Kind: load.KeepAlive, At: time.Duration(s * float64(time.Second)), Waited: waited}
	}
	crossing := func(f load.Failure, unread bool) load.Failure { f.Crossed, f.Unread = true, unread; return f }
	slow := crossing(at(22, 0), true)
	slow.Kind = load.Slow
	for name, c := range map[string]struct {
		f    load.Failure
		app  string
		want verdict
	}{
		"while the app was broken":                     {at(10.5, 0), spawn, explained},
		"begun while it was broken, seen later":        {at(12, 1500*time.Millisecond), spawn, explained},
		"begun before, met by the break":               {at(10.5, 2*time.Second), spawn, explained},
		"before":                                       {at(9.9, time.Second), spawn, unexplained},
		"begun after it had answered again":            {at(12, time.Second), spawn, unexplained},
		"in an upgrade":                                {at(22, 0), spawn, unexplained},
		"a crossing in an upgrade, with proof":         {crossing(at(22, 0), true), spawn, crossed},
		"a crossing without proof":                     {crossing(at(22, 0), false), nginx, unexplained},
		"a crossing without proof, of grace":           {crossing(at(22, 0), false), grace, crossed},
		"a crossing, and there was no upgrade":         {crossing(at(30, 0), true), spawn, unexplained},
		"a slow request cannot cross the close of one": {slow, spawn, unexplained},
	} {
		if got := judgeFailure(c.f, c.app, breaks, changes); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
}

func TestJudgeEnding(t *testing.T) {
	const said = "main process (generation 3, pid 42) killed by SIGKILL"
	killed := []death{{pid: 42, code: 137, why: "SIGKILL"}}
	young := []death{{code: 129, why: "signals", young: true}}
	mains := func(pid int) (bool, bool) { return pid == 41 || pid == 42, pid == 41 }
	for name, c := range map[string]struct {
		e  ending
		ok bool
	}{
		"its main process was killed":                   {ending{status: exited(137), cause: said, deaths: killed, seen: true, wasMain: mains}, true},
		"the same, and the log cannot be read":          {ending{status: exited(137), deaths: killed, wasMain: mains}, true},
		"nobody did anything to it":                     {ending{status: exited(137), cause: said, seen: true}, false},
		"another code":                                  {ending{status: exited(1), cause: said, deaths: killed, seen: true}, false},
		"another process was killed":                    {ending{status: exited(137), cause: said, deaths: []death{{pid: 7, code: 137}}, seen: true}, false},
		"it does not say which, where it has to":        {ending{status: exited(137), deaths: killed, seen: true}, false},
		"a predecessor's death":                         {ending{status: exited(137), deaths: []death{{pid: 41, code: 137}}, wasMain: mains}, false},
		"a signal to a main process that was just made": {ending{status: exited(129), cause: said, deaths: young, main: 41, seen: true}, true},
		"the same to one that had caught it before":     {ending{status: exited(129), cause: said, deaths: young, main: 42, seen: true}, false},
		"the init was killed":                           {ending{status: syscall.WaitStatus(syscall.SIGKILL)}, false},
		"the same, for want of memory":                  {ending{status: syscall.WaitStatus(syscall.SIGKILL), oomKill: true}, true},
		"the init crashed, for want of memory":          {ending{status: syscall.WaitStatus(syscall.SIGSEGV), oomKill: true}, false},
	} {
		if _, err := judgeEnding(c.e); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJudgeLog(t *testing.T) {
	for line, bad := range map[string]bool{
		`level=error msg="BUG: index out of range on lifecycle.Tick; going on"`: true,
		`level=info msg="main process (generation 1, pid 7) killed by SIGSEGV"`: false,
		"fatal error: newosproc": false,
	} {
		if got := judgeLog("level=info msg=x\n" + line + "\n"); (got != "") != bad {
			t.Errorf("%s: %q", line, got)
		}
	}
}

// An episode can be run again, and whatever may rightly end the container comes last.
func TestPlans(t *testing.T) {
	seen := map[string]bool{}
	for n := range uint64(2000) {
		p := newPlan(1, n, 0, faults, true)
		if again := newPlan(1, n, 0, faults, true); p.String() != again.String() {
			t.Fatalf("episode %d is once\n%v\nand once\n%v", n, p, again)
		}
		for i, storm := range p.Storms {
			for _, s := range storm {
				seen[s.Fault] = true
				f := faultNamed(s.Fault)
				if i < len(p.Storms)-1 && f.deadly(&p) {
					t.Errorf("episode %d: %s is not in the last storm", n, s.Fault)
				}
				if f.apps != "" && !strings.Contains(f.apps, p.App) {
					t.Errorf("episode %d: %s with %s", n, s.Fault, p.App)
				}
			}
		}
		seen[p.End], seen[p.App], seen[p.Stderr] = true, true, true
	}
	for _, name := range slices.Concat(faultNames(), ends, []string{spawn, grace, tableflip, nginx, stderrRead, stderrBlocked, stderrGone, stderrClosed, stderrFile}) {
		if !seen[name] {
			t.Errorf("%s is in no plan", name)
		}
	}
	if a, b := newPlan(1, 1, 0, faults, true), newPlan(2, 1, 0, faults, true); a.String() == strings.Replace(b.String(), "seed 2", "seed 1", 1) {
		t.Error("two seeds have the same plan")
	}
}
