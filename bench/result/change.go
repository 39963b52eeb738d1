package result

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/graceinit/graceinit/bench/plot"
)

// Change is a figure of a subject in two runs.
type Change struct {
	Group, Figure, Unit, Subject string
	Before, After                float64
	// Beyond says that the intervals do not overlap: the change is more than noise, if the machine is the same.
	Beyond bool
}

// Changes compares what both runs have measured.
func Changes(before, after *Result) []Change {
	var out []Change
	for _, f := range after.Figures {
		old, ok := before.Figure(f.Group, f.Name)
		if !ok {
			continue
		}
		for _, now := range f.Subjects {
			was := old.Subject(now.Name)
			if !was.Measured() || !now.Measured() {
				continue
			}
			c := Change{Group: f.Group, Figure: f.Name, Unit: f.Unit, Subject: now.Name, Before: was.Median, After: now.Median}
			if was.CI != nil && now.CI != nil {
				c.Beyond = !was.CI.Overlaps(*now.CI)
			} else {
				c.Beyond = was.Median != now.Median
			}
			out = append(out, c)
		}
	}
	return out
}

// PrintChanges writes those beyond the intervals, and how many others there are.
func PrintChanges(w io.Writer, changes []Change) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	same := 0
	for _, c := range changes {
		if !c.Beyond {
			same++
			continue
		}
		ratio := ""
		if c.Before != 0 {
			ratio = fmt.Sprintf("%+.0f %%", 100*(c.After/c.Before-1))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t→\t%s %s\t%s\n", c.Subject, c.Group+": "+c.Figure, plot.Value(c.Before), plot.Value(c.After), c.Unit, ratio)
	}
	_ = t.Flush() // what is printed to stdout is not worth an error
	fmt.Fprintf(w, "%d of %d figures changed beyond their confidence intervals\n", len(changes)-same, len(changes))
}
