package fleet

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
	"github.com/graceinit/graceinit/internal/control"
)

// screen is a terminal that knows what a table needs: up, erase, newline.
type screen struct {
	lines []string
	row   int
}

var moves = regexp.MustCompile(`^\x1b\[([0-9]+)A\r\x1b\[J`)

func (s *screen) Write(p []byte) (int, error) {
	text := string(p)
	for text != "" {
		if m := moves.FindStringSubmatch(text); m != nil {
			var n int
			_, _ = fmt.Sscan(m[1], &n)
			s.row -= n
			s.lines = s.lines[:s.row]
			text = text[len(m[0]):]
			continue
		}
		line, rest, _ := strings.Cut(text, "\n")
		s.lines = append(s.lines, line)
		s.row++
		text = rest
	}
	return len(p), nil
}

func TestTableOnATerminal(t *testing.T) {
	var s screen
	var errs bytes.Buffer
	now := time.Unix(1000, 0)
	r := &Report{Out: &s, Err: &errs, Now: func() time.Time { return now }, Size: func() (int, int) { return 60, 7 }}
	left := 14
	rows := []Row{
		{Pod: "hello-2", State: plan.Done, Took: 1200 * time.Millisecond, Note: "delivered"},
		{Pod: "hello-1", State: plan.Upgrading, Began: now.Add(-3 * time.Second), Step: "draining",
			Progress: &control.Progress{Connections: &left, Left: 57.2}},
		{Pod: "hello-0", State: plan.Waiting},
	}
	r.Warn("something")
	r.Table(rows)
	r.Say(Line{Event: EventProgress, Pod: "hello-1", Step: "draining"}) // the table says it
	r.Say(Line{Event: EventTemplate, Object: "statefulset/hello", Reason: "its template names v2 now"})
	now = now.Add(time.Second)
	r.Table(rows)
	want := `warning: something
statefulset/hello: its template names v2 now
POD       STATE       TIME   STEP
hello-2   done        1.2s   delivered
hello-1   upgrading   4.0s   draining, 14 connections left, 
hello-0   waiting`
	if got := strings.Join(s.lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// More pods than lines: only those that something happens to.
	for i := range 10 {
		rows = append(rows, Row{Pod: fmt.Sprintf("more-%d", i), State: plan.Waiting})
	}
	rows[8].State, rows[8].Note = plan.Failed, "refused"
	r.Table(rows)
	want = `warning: something
statefulset/hello: its template names v2 now
POD       STATE       TIME   STEP
hello-1   upgrading   4.0s   draining, 14 connections left, 
more-5    failed             refused
… and 1 done, 10 waiting`
	if got := strings.Join(s.lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// In the end there are all.
	r.End(Line{Event: EventResult, Reason: "stopped at a failure", Result: &Summary{ExitCode: 2, Done: 1, Failed: 1, Left: 11, WayOut: "Go on."}})
	if got := strings.Join(s.lines, "\n"); !strings.Contains(got, "more-9") || !strings.HasSuffix(got, "\n13 pods: 1 done, 1 failed, 11 left") {
		t.Errorf("in the end\n%s", got)
	}
	if got := errs.String(); got != "more-5: failed: refused\nkubectl graceinit: stopped at a failure\nGo on.\n" {
		t.Errorf("stderr: %s", got)
	}
}

func TestVerdict(t *testing.T) {
	final := func(code int) answer {
		return answer{progress: &control.Progress{Step: control.StepDone, Final: true, ExitCode: code}}
	}
	for _, c := range []struct {
		name string
		said answer
		want int
	}{
		{"done", final(0), 0},
		{"failed", final(2), 2},
		{"forced", final(3), 3},
		{"refused", answer{refused: &control.Error{ExitCode: 1}}, 1},
		{"cut off", answer{progress: &control.Progress{Step: control.StepDraining}}, lost},
		{"nothing said", answer{}, lost},
	} {
		if got := c.said.verdict(nil); got != c.want {
			t.Errorf("%s: %d, not %d", c.name, got, c.want)
		}
	}
}

func TestDeliveryOf(t *testing.T) {
	if d := deliveryOf([]byte(`{"delivery":{"result":"delivered","exit_code":3}}`)); d == nil || d.Result != control.ResultDelivered || d.ExitCode != 3 {
		t.Errorf("%+v", d)
	}
	for _, line := range []string{"deliver: staged", `noise {"delivery":{}}`, `{"delivery":{"result"`, "{}", `{"delivery":null}`, ""} {
		if d := deliveryOf([]byte(line)); d != nil {
			t.Errorf("%s: %+v", line, d)
		}
	}
}

// The name of an image in a message is that image, and not one that only begins like it.
func TestNames(t *testing.T) {
	for text, want := range map[string]bool{
		`Back-off pulling image "x/hello:v1"`: true, "pulling x/hello:v1: no such image": true, "x/hello:v1": true,
		`Back-off pulling image "x/hello:v10"`: false, "x/hello:v1-rc x/hello": false, "": false,
	} {
		if got := names(text, "x/hello:v1"); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
