package plan

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var (
	rolls = flag.Int("rolls", 1000, "random rolls to go through")
	seed  = flag.Uint64("seed", 1, "of the first one")
)

func named(n int, state State) (pods []Pod) {
	for i := range n {
		pods = append(pods, Pod{Name: fmt.Sprintf("p%d", i), State: state, Ready: true, Able: true})
	}
	return pods
}

// A world is what a roll goes through in the test: which pods are ready, and how it ends with them.
type world struct {
	*rand.Rand
	t      *testing.T
	roll   *Roll
	bad    map[string]bool // pods whose upgrade fails
	begun  map[string]bool
	before []Pod
	log    []any // events, and names of pods that began
}

func (w *world) note(e Event) {
	w.log = append(w.log, e)
	w.roll.Note(e)
}

// begin checks what must hold for every pod that begins.
func (w *world) begin() {
	stopped := w.roll.Stopped()
	w.before = append(w.before[:0], w.roll.Pods...)
	before := w.before
	names := w.roll.Begin()
	w.log = append(w.log, names)
	if stopped && len(names) > 0 {
		w.fatal("pods begin after the roll has stopped")
	}
	if n := w.roll.InProgress(); n > w.roll.Max {
		w.fatal("%d pods are in progress", n)
	}
	ready := 0
	for _, name := range names {
		p := before[slices.IndexFunc(before, func(p Pod) bool { return p.Name == name })]
		switch {
		case p.State != Waiting:
			w.fatal("%s begins, and was %s", name, p.State)
		case !p.Able:
			w.fatal("%s begins, and is not able to", name)
		case p.Ready:
			ready++
		}
		w.begun[name] = true
	}
	if ready > 0 && w.roll.Unavailable() > w.roll.Max {
		w.fatal("a pod that was ready begins, and %d are unavailable", w.roll.Unavailable())
	}
}

func (w *world) fatal(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf(format+", at most %d\n%s", append(args, w.roll.Max, w.text())...)
}

func (w *world) text() string {
	var b strings.Builder
	for _, e := range w.log {
		fmt.Fprintf(&b, "%T %+v\n", e, e)
	}
	return b.String()
}

// step lets something happen at random.
func (w *world) step() {
	p := &w.roll.Pods[w.IntN(len(w.roll.Pods))]
	switch {
	case p.State == Upgrading && w.bad[p.Name]:
		if w.IntN(4) == 0 { // a refusal: nothing is put back
			w.note(Ended{p.Name, Failed})
		} else {
			w.note(Failing{p.Name})
		}
	case p.State == RollingBack:
		w.note(Ended{p.Name, Failed})
	case p.State == Upgrading && w.IntN(2) == 0:
		w.note(Ended{p.Name, []State{Done, Done, Done, Forced, Skipped, Waiting}[w.IntN(6)]})
	case w.IntN(8) == 0:
		w.note(ObservedOthers{w.IntN(2)})
	case w.IntN(30) == 0: // what cannot be: a stale event
		w.note(Ended{p.Name, Waiting})
	default:
		seen := Observed{Pod: p.Name, Ready: w.IntN(5) > 0, Able: w.IntN(5) > 0}
		seen.Gone = !seen.Able && w.IntN(20) == 0
		w.note(seen)
	}
}

// go on until the roll is over; from some time on all pods are well, so that it must end.
func (w *world) run() {
	for n := 0; !w.roll.Over(); n++ {
		if n > 5000 {
			w.fatal("the roll does not end")
		}
		if n > 500 && n%20 == 0 {
			w.note(ObservedOthers{})
			for _, p := range w.roll.Pods {
				w.note(Observed{Pod: p.Name, Ready: true, Able: true})
			}
		}
		w.begin()
		w.step()
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 0)), t: t, bad: map[string]bool{}, begun: map[string]bool{}}
	n := 1 + w.IntN(25)
	w.roll = &Roll{Max: 1 + w.IntN(6), Pods: named(n, Waiting)}
	for i := range w.roll.Pods {
		p := &w.roll.Pods[i]
		p.Ready, p.Able = false, false // as long as nothing was observed
		if w.IntN(6) == 0 {
			p.State = Skipped
		}
		w.bad[p.Name] = w.IntN(3*n) == 0
	}
	return w
}

// Whatever happens in whatever order: never too many, none after a failure, and once the bad ones are put right
// a second roll brings all to their end.
func TestRandomRolls(t *testing.T) {
	for s := *seed; s < *seed+uint64(*rolls); s++ {
		w := newWorld(t, s)
		w.run()
		failed := w.roll.In(Failed)
		for _, name := range failed {
			if !w.bad[name] {
				t.Fatalf("seed %d: %s has failed, and is not bad", s, name)
			}
		}
		waiting := w.roll.In(Waiting)
		if len(waiting) > 0 && len(failed) == 0 {
			t.Fatalf("seed %d: %v are left, and nothing has failed", s, waiting)
		}
		for _, name := range waiting {
			if w.bad[name] && len(failed) == 0 {
				t.Fatalf("seed %d: %s is bad and was passed over", s, name)
			}
		}
		// The next roll: what has the new version is skipped, and nothing is bad any more.
		first := w.begun
		w.bad, w.begun = map[string]bool{}, map[string]bool{}
		pods := named(len(w.roll.Pods), Waiting)
		for i, p := range w.roll.Pods {
			if p.State == Done || p.State == Forced || p.State == Skipped {
				pods[i].State = Skipped
			}
		}
		w.roll = &Roll{Max: w.roll.Max, Pods: pods}
		w.log = append(w.log, "resumed")
		w.run()
		if left := append(w.roll.In(Waiting), w.roll.In(Failed)...); len(left) > 0 {
			t.Fatalf("seed %d: %v are left after the second roll", s, left)
		}
		for name := range w.begun {
			if first[name] && !slices.Contains(failed, name) && !slices.Contains(waiting, name) {
				t.Fatalf("seed %d: %s began in both rolls, and had not failed in the first\n%s", s, name, w.text())
			}
		}
	}
}

func TestOrder(t *testing.T) {
	r := &Roll{Max: 2, Pods: named(4, Waiting)}
	if got := r.Begin(); !slices.Equal(got, []string{"p0", "p1"}) {
		t.Fatalf("first: %v", got)
	}
	if got := r.Begin(); got != nil {
		t.Fatalf("again: %v", got)
	}
	r.Note(Ended{"p1", Done})
	if got := r.Begin(); got != nil || r.Unavailable() != 2 {
		t.Fatalf("%v begins before p1 was seen to be ready", got)
	}
	r.Note(Observed{Pod: "p1", Ready: true, Able: true})
	if got := r.Begin(); !slices.Equal(got, []string{"p2"}) {
		t.Fatalf("then: %v", got)
	}
}

// A pod that is not ready counts, and is the only one that may begin while it does.
func TestNotReady(t *testing.T) {
	r := &Roll{Max: 1, Pods: named(3, Waiting)}
	r.Note(Observed{Pod: "p1", Able: true})
	if got := r.Begin(); !slices.Equal(got, []string{"p1"}) {
		t.Fatalf("begins: %v", got)
	}
	r = &Roll{Max: 1, Pods: named(3, Waiting)}
	r.Pods[1].State = Skipped
	r.Note(Observed{Pod: "p1", Able: true})
	if got := r.Begin(); got != nil || !r.Blocked() {
		t.Fatalf("begins: %v; blocked: %v", got, r.Blocked())
	}
	r.Note(Observed{Pod: "p1", Gone: true}) // a Deployment's pod that was deleted ...
	r.Note(ObservedOthers{1})               // ... and the one that comes in its place
	if got := r.Begin(); got != nil {
		t.Fatalf("begins: %v", got)
	}
	r.Note(ObservedOthers{0})
	if got := r.Begin(); !slices.Equal(got, []string{"p0"}) || r.Blocked() {
		t.Fatalf("begins: %v", got)
	}
}

func TestDeleted(t *testing.T) {
	r := &Roll{Max: 3, Pods: named(3, Waiting)}
	r.Note(Observed{Pod: "p0"}) // being deleted: neither ready nor able
	r.Note(Observed{Pod: "p1", Gone: true})
	if got := r.Begin(); !slices.Equal(got, []string{"p2"}) {
		t.Fatalf("begins: %v", got)
	}
	if got := r.In(Skipped); !slices.Equal(got, []string{"p1"}) {
		t.Fatalf("skipped: %v", got)
	}
	r.Note(Ended{"p2", Done})
	if r.Over() || !r.Blocked() {
		t.Fatal("it does not wait for p0")
	}
	r.Note(Stop{})
	if !r.Over() {
		t.Fatal("it waits after it was told to stop")
	}
}

func TestAFailureStops(t *testing.T) {
	r := &Roll{Max: 2, Pods: named(4, Waiting)}
	r.Begin()
	r.Note(Failing{"p0"})
	r.Note(Ended{"p1", Done})
	r.Note(Observed{Pod: "p1", Ready: true, Able: true})
	if got := r.Begin(); got != nil {
		t.Fatalf("%v begins while p0 is put back", got)
	}
	if r.Over() {
		t.Fatal("over before p0 is put back")
	}
	r.Note(Ended{"p0", Failed})
	if !r.Over() || len(r.In(Waiting)) != 2 {
		t.Fatalf("%+v", r)
	}
}

func TestParseMax(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want int // 0: an error
	}{
		{"1", 20, 1}, {"5", 3, 5}, {"25%", 20, 5}, {"25%", 3, 1}, {"1%", 20, 1}, {"100%", 20, 20}, {"99%", 20, 19},
		{"0", 20, 0}, {"0%", 20, 0}, {"-1", 20, 0}, {"101%", 20, 0}, {"", 20, 0}, {"%", 20, 0}, {"half", 20, 0}, {"1.5", 20, 0},
	} {
		got, err := ParseMax(c.text, c.n)
		if got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%q of %d: %d, %v; want %d", c.text, c.n, got, err, c.want)
		}
	}
}
