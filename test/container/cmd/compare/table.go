package main

import (
	"fmt"
	"iter"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/graceinit/graceinit/test/container/harness"
)

// The lines that each init has for a server.
var lines = []struct {
	name string
	cell func(*harness.Report) (text string, good bool)
}{
	{"starts", func(r *harness.Report) (string, bool) {
		if r.Started {
			return "yes", true
		}
		return died(r), false
	}},
	{"upgrade 1", func(r *harness.Report) (string, bool) { return upgrade(r, 0) }},
	{"upgrade 2", func(r *harness.Report) (string, bool) { return upgrade(r, 1) }},
	{"failed", func(r *harness.Report) (string, bool) {
		if !r.Started {
			return "-", false
		}
		text := fmt.Sprintf("%d of %d", len(r.Failed), r.Load.Requests)
		if n := len(r.Crossed); n > 0 {
			text += fmt.Sprintf(" (+%d crossed)", n)
		}
		return text, len(r.Failed) == 0
	}},
	{"zombies", func(r *harness.Report) (string, bool) {
		n := 0
		for _, u := range r.Upgrades {
			n = max(n, len(u.Zombies))
		}
		if len(r.Upgrades) == 0 {
			return "-", false
		}
		return fmt.Sprint(n), n == 0
	}},
	{"stop", func(r *harness.Report) (string, bool) {
		if r.Died || !r.Started || r.InFlight == 0 {
			return "-", false
		}
		text := fmt.Sprintf("%.1fs, exit %d", r.StopTook.Seconds(), r.Exit)
		if n := len(r.Dropped); n > 0 {
			text += fmt.Sprintf(", drops %d", n)
		}
		return text, len(r.Dropped) == 0 && r.Exit == r.Case.Server.Exit
	}},
}

func died(r *harness.Report) string {
	if r.Died {
		return fmt.Sprintf("died, exit %d", r.Exit)
	}
	return "error"
}

func upgrade(r *harness.Report, i int) (string, bool) {
	if i >= len(r.Upgrades) {
		return "-", false
	}
	u := r.Upgrades[i]
	switch unchanged := r.Case.Server.Outcome == harness.Unchanged; {
	case !u.Alive:
		return died(r), false
	case unchanged && u.Gone && u.Answered:
		return "serves on", true
	case unchanged:
		return "disturbed", false
	case !u.Answered:
		return "no successor", false
	case !u.Gone:
		return "old one stays", false
	}
	return fmt.Sprintf("done, %.1fs", u.Drained.Seconds()), true
}

const (
	red   = "\x1b[31m"
	green = "\x1b[32m"
	reset = "\x1b[0m"
)

// printTable writes the table. Without colour a failure is marked with an exclamation mark.
func printTable(columns []harness.Init, rows []harness.Server, reports map[string]*harness.Report, color bool) {
	const first, width = 26, 24
	rule := strings.Repeat("-", first+len(columns)*width)
	fmt.Print(pad("", first))
	for _, in := range columns {
		fmt.Print(pad(in.Name, width))
	}
	fmt.Println()
	for _, s := range rows {
		fmt.Println(rule)
		for i, l := range lines {
			label := strings.Repeat(" ", 14) + l.name
			if i == 0 {
				label = pad(s.Name, 14) + l.name
			}
			fmt.Print(pad(label, first))
			for _, in := range columns {
				text, good := l.cell(reports[s.Name+" "+in.Name])
				cell := pad(text, width)
				switch {
				case text == "-":
				case color && good:
					cell = green + cell + reset
				case color:
					cell = red + cell + reset
				case !good:
					cell = pad("! "+text, width)
				}
				fmt.Print(cell)
			}
			fmt.Println()
		}
	}
	fmt.Println(rule)
}

func pad(s string, n int) string {
	if l := utf8.RuneCountInString(s); l < n {
		return s + strings.Repeat(" ", n-l)
	}
	return s + " "
}

func keys[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }
