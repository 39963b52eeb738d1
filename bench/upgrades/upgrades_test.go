package upgrades

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/bench/result"
	"github.com/graceinit/graceinit/demo/pidns"
)

func TestMain(m *testing.M) {
	pidns.Main()
	Main()
	os.Exit(m.Run())
}

// Everything is done once, with every way that this machine has. Graceinit may lose no request but those that the server
// loses by itself, and no connection of the accept queue.
func TestShort(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	graceinit := filepath.Join(t.TempDir(), "graceinit")
	build := exec.Command("make", "-s", "build", "OUT="+graceinit)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r, err := Run(context.Background(), Options{Init: graceinit, Root: root, Short: true})
	if errors.Is(err, pidns.ErrForbidden) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range ways() {
		if slices.Contains(r.Missing, w.name) {
			continue
		}
		one := func(trials []Trial) Trial {
			i := slices.IndexFunc(trials, func(t Trial) bool { return t.Way == w.name })
			if i < 0 {
				t.Fatalf("%s was not measured", w.name)
			}
			if trials[i].Answer <= 0 || trials[i].CPU <= 0 || trials[i].End <= 0 {
				t.Errorf("%s: %+v", w.name, trials[i])
			}
			return trials[i]
		}
		loaded, still := one(r.Loaded), one(r.Still)
		if len(loaded.Before) < 100 || len(loaded.During) < 100 || len(loaded.Series) != len(loaded.Before)+len(loaded.During) {
			t.Errorf("%s: %d latencies before, %d during, %d in the series", w.name, len(loaded.Before), len(loaded.During), len(loaded.Series))
		}
		if got := loaded.Idle; got.Open+got.Closed+got.Reset != loaded.Held {
			t.Errorf("%s: %d idle connections became %+v", w.name, loaded.Held, got)
		}
		if !w.ours() {
			continue
		}
		if loaded.Failed > 0 || loaded.Idle.Reset > 0 {
			t.Errorf("%s: %d of %d requests failed, %d idle connections were cut: %q", w.name, loaded.Failed, loaded.Requests, loaded.Idle.Reset, loaded.Reasons)
		}
		if still.Queued != queue || still.Answered != queue {
			t.Errorf("%s: %d of %d connections in the accept queue were answered: %q", w.name, still.Answered, still.Queued, still.Reasons)
		}
	}
	if r.Drain.Left != r.Drain.Connections || len(r.Look.Counting) == 0 || len(r.Look.InTurn) == 0 || len(r.Servers) == 0 {
		t.Errorf("drain %+v, look %+v, servers %+v", r.Drain, r.Look, r.Servers)
	}
	for _, f := range r.Figures() {
		if !slices.ContainsFunc(f.Subjects, func(s result.Subject) bool { return s.Measured() }) {
			t.Errorf("nothing was measured for %q", f.Name)
		}
	}
	if lines := r.TimeLines(); len(lines) != 2 {
		t.Errorf("%d time lines", len(lines))
	}
}

func TestSamplesBeforeAndAfterTheTrigger(t *testing.T) {
	const s = time.Second
	var r Trial
	samples := []sample{
		{Due: 1 * s, Took: 1, PID: 7},                               // too early
		{Due: 3 * s, Took: s / 4, PID: 7},                           // before
		{Due: 4*s - s/10, Took: s / 2, PID: 9},                      // before, but the successor answered it
		{Due: 4 * s, Took: s / 5, PID: 9},                           // the first answer
		{Due: 5 * s, Took: s, PID: 7},                               // the predecessor
		{Due: 5 * s, Err: "reset", Crossed: true},                   // crossed
		{Due: 5 * s, Err: "refused"},                                // failed
		{Due: 7 * s, Took: s, PID: 9}, {Due: 8 * s, Err: "refused"}, // after all, but not forgotten
	}
	r.take(samples, 4*s, 2*s, 2*s, &way{closesIdle: true}, generation{7: true})
	if !slices.Equal(r.Before, []float64{250, 500}) || !slices.Equal(r.During, []float64{200, 1000}) {
		t.Errorf("before %v, during %v", r.Before, r.During)
	}
	if r.Requests != 8 || r.Failed != 2 || r.Crossed != 1 || len(r.Reasons) != 3 || r.Answer != 200 {
		t.Errorf("%+v", r)
	}
	r = Trial{}
	r.take(samples, 4*s, 2*s, 2*s, &way{}, generation{7: true})
	if r.Failed != 3 || r.Crossed != 0 {
		t.Errorf("a server that announces the close is excused: %+v", r)
	}
}

func TestGoalsSetTheAppsOwnPartAside(t *testing.T) {
	few, many := 100, 10_000
	trial := func(way string, connections int, answer, cpu, before, during float64) Trial {
		return Trial{Way: way, Connections: connections, Held: connections, Listeners: 1, Answer: answer, CPU: cpu,
			Before: []float64{before}, During: []float64{during}, Queued: queue, Answered: queue}
	}
	met := func(r *Result) map[string]bool {
		out := map[string]bool{}
		for _, f := range r.Figures() {
			for _, g := range f.Goals {
				out[g.What] = g.Met
			}
		}
		return out
	}
	all := []Trial{trial(spawn, few, 14, 10, 1, 3), trial(byHand, few, 10, 1, 1, 2.8), trial(spawn, many, 24, 16, 1, 3), trial(byHand, many, 18, 1, 1, 2)}
	all[3].Failed = 3 // by hand: no goal of ours
	lost := all[2]
	lost.Failed, lost.Answered = 1, queue-1
	got := met(&Result{Still: append(all, lost), Loaded: append(all, lost)})
	for what, want := range map[string]bool{
		"graceinit spawn adds at most 5 ms to the same without it, 100 connections":                        true,
		"graceinit spawn adds at most 5 ms to the same without it, 10,000 connections":                     false,
		"graceinit spawn: p99 during at most 1.2 × before, the app's own growth aside, 100 connections":    true,
		"graceinit spawn: p99 during at most 1.2 × before, the app's own growth aside, 10,000 connections": false,
		"graceinit spawn: no request failed, 100 connections":                                              true,
		"graceinit spawn: no request failed, 10,000 connections":                                           false,
		"graceinit spawn: nothing of the accept queue is lost, 10,000 connections":                         false,
		"graceinit spawn: CPU at most 1.5 × that with 100 connections, 10,000 connections":                 false,
	} {
		if met, known := got[what]; met != want || !known {
			t.Errorf("%s: met %v, known %v", what, met, known)
		}
	}
}

func TestTimeLine(t *testing.T) {
	r := Result{Loaded: []Trial{{Way: spawn, Connections: 5, Held: 4, Listeners: 1, Series: []Point{{-1, 3}, {0, 1}, {49, 2}, {100, 9}}}}}
	line := r.timeLine(condition{5, 1}, spawn)
	if line.Name != "graceinit spawn (4)" || !slices.Equal(line.X, []float64{-50, 0, 100}) || line.Y[0] != 3 || line.Y[1] < 1.9 || line.Y[2] != 9 {
		t.Errorf("%+v", line)
	}
	if got := (condition{50_000, 1}).String(); got != "50,000 connections" {
		t.Error(got)
	}
}

func TestNoTwoLivesShareAnAddress(t *testing.T) {
	var p plan
	seen := map[netip.AddrPort]bool{}
	for range 300 {
		s := p.setting(1000)
		for _, a := range []netip.AddrPort{s.addresses[0], s.addresses[999]} {
			if seen[a] || !a.Addr().IsLoopback() {
				t.Fatalf("%v", a)
			}
			seen[a] = true
		}
	}
}

// What a client makes of a server's ends.
func TestClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npid 7\n"
	go func() {
		// Each connection gets these answers, one per request, and is closed.
		for _, answers := range [][]string{{answer, ""}, {""}, {answer}, {answer[:len(answer)-3]}, {"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n"}} {
			c, err := l.Accept()
			if err != nil {
				return
			}
			for _, a := range answers {
				_, _ = c.Read(make([]byte, 1000))
				_, _ = c.Write([]byte(a))
			}
			c.Close()
		}
	}()
	c := client{server: netip.MustParseAddrPort(l.Addr().String())}
	for i, want := range []string{"", errCrossed.Error(), "EOF", "", "unexpected EOF", "500"} {
		pid, err := c.ask()
		switch {
		case want == "":
			if err != nil || pid != 7 {
				t.Fatalf("request %d: pid %d, %v", i, pid, err)
			}
		case err == nil || !strings.Contains(err.Error(), want):
			t.Fatalf("request %d: %v, want %s", i, err, want)
		}
		if crossed := errors.Is(err, errCrossed); crossed != (i == 1) {
			t.Errorf("request %d: crossed %v", i, crossed)
		}
		if i == 3 {
			for !c.ended() { // the close is on its way
				time.Sleep(time.Millisecond)
			}
		}
	}
	c.close()
}
