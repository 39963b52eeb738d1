package harness

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// green is a report without problems. Every case below breaks one thing in it.
func green() *Report {
	u := Upgrade{Alive: true, Answered: true, Gone: true, Lines: 1, From: time.Second, To: 5 * time.Second}
	return &Report{
		Case: Case{
			Server:   Server{Name: "s", Fast: "/", Final: "upgrade done", ClosesIdle: BeforeReading},
			Init:     Graceinit("/bin/graceinit"),
			Upgrades: 2,
		},
		Started: true, Upgrades: []Upgrade{u, u}, InFlight: 16,
		Lines: []string{"upgrade done", "upgrade done"}, Expected: []string{"upgrade done", "upgrade done"},
		Load: load.Result{Requests: 100},
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	crossed := load.Failure{Kind: load.KeepAlive, At: 2 * time.Second, Reused: true, Crossed: true, Unread: true}
	for name, tc := range map[string]struct {
		spoil func(*Report)
		want  string // empty: no problem
	}{
		"green":              {func(*Report) {}, ""},
		"no start":           {func(r *Report) { r.Started = false }, "never answered"},
		"container died":     {func(r *Report) { r.Upgrades[0].Alive, r.Died = false, true }, "upgrade 1: the container ended"},
		"no successor":       {func(r *Report) { r.Upgrades[1].Answered = false }, "upgrade 2: no successor"},
		"two generations":    {func(r *Report) { r.Upgrades[1].Gone = false }, "upgrade 2: of the predecessor's generation"},
		"zombie":             {func(r *Report) { r.Upgrades[0].Zombies = []Process{{PID: "9"}} }, "zombies"},
		"no line":            {func(r *Report) { r.Upgrades[0].Lines, r.Lines = 0, r.Lines[1:] }, "lines ended it"},
		"one line too many":  {func(r *Report) { r.Lines = append(r.Lines, "upgrade done") }, `"upgrade done" "upgrade done" "upgrade done"], want`},
		"another line":       {func(r *Report) { r.Lines[1] = "upgrade forced" }, `"upgrade forced"`},
		"one upgrade only":   {func(r *Report) { r.Upgrades = r.Upgrades[:1] }, "1 upgrades of 2"},
		"dropped at stop":    {func(r *Report) { r.Dropped = make([]load.Failure, 1) }, "the stop dropped 1"},
		"nothing in flight":  {func(r *Report) { r.InFlight = 0 }, "0 slow requests were in flight"},
		"status":             {func(r *Report) { r.Exit = 137 }, "status is 137"},
		"slow one failed":    {func(r *Report) { r.Load.Failures = []load.Failure{{Kind: load.Slow, At: 2 * time.Second}} }, "1 of 100 requests failed"},
		"crossed":            {func(r *Report) { r.Load.Failures = []load.Failure{crossed} }, ""},
		"crossed, no excuse": {func(r *Report) { r.Case.Server.ClosesIdle = Announced; r.Load.Failures = []load.Failure{crossed} }, "1 of 100 requests failed"},
		"read, no excuse": {func(r *Report) {
			read := crossed
			read.Unread = false
			r.Load.Failures = []load.Failure{read}
		}, "1 of 100 requests failed"},
		"read by net/http": {func(r *Report) {
			read := crossed
			read.Unread = false
			r.Case.Server.ClosesIdle = AfterReading
			r.Load.Failures = []load.Failure{read}
		}, ""},
		"crossed between upgrades": {func(r *Report) {
			late := crossed
			late.At = 6 * time.Second
			r.Load.Failures = []load.Failure{late}
		}, "1 of 100 requests failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := green()
			tc.spoil(r)
			r.sortFailures()
			got := strings.Join(r.Problems(), "\n")
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("problems %q, want %q", got, tc.want)
			}
		})
	}
}

func TestFinalLines(t *testing.T) {
	t.Parallel()
	log := `time="2020-01-01T00:00:00Z" level=info msg="upgrade triggered" generation=1 pid=7
time="2020-01-01T00:00:00Z" level=info msg="upgrade done" from_generation=1
{"level":"info","msg":"upgrade done in place","from_pid":7}
{"level":"error","msg":"upgrade ended by shutdown"}
an app that prints upgrade done
`
	var got []string
	for _, m := range Final.FindAllStringSubmatch(log, -1) {
		got = append(got, m[1])
	}
	if want := []string{"upgrade done", "upgrade done in place", "upgrade ended by shutdown"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A child that has exited and is not waited for must be seen, with its parent: this is how zombies are found.
func TestTreeSeesZombies(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/bin/sh", "-c", "exit 0")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { _ = cmd.Wait() }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		i := slices.IndexFunc(tree(os.Getpid()), func(p Process) bool { return p.Host == cmd.Process.Pid && p.Zombie })
		if i >= 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the zombie is not in the tree")
		}
	}
	p, ok := readStat(cmd.Process.Pid)
	if !ok || p.alive() || !p.present() || p.Parent != os.Getpid() {
		t.Errorf("zombie %+v (%v): alive %v, present %v", p, ok, p.alive(), p.present())
	}
	if self, _ := readStat(os.Getpid()); !self.alive() {
		t.Error("this process is not alive")
	}
}
