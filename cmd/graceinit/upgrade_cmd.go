package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/control"
)

// upgradeCommand asks for an upgrade and follows it.
func upgradeCommand(a *commands.Args) int {
	question := control.Ask{Op: control.OpUpgrade}
	if !a.Has("binary") {
		for _, option := range []string{"sha256", "signature"} {
			if a.Has(option) {
				return usageError(a.Command, fmt.Errorf("--%s means nothing without --binary", option))
			}
		}
		return follow(a, question, -1)
	}
	binary, err := loadBinary(a, &question)
	if err != nil {
		complain(a.Command, err)
		return control.CodeRefused
	}
	defer binary.Close()
	return follow(a, question, int(binary.Fd()))
}

// checkTime is how long the first line may take: until then the init reads the binary.
const checkTime = 2 * time.Minute

// follow sends the request and shows how the upgrade goes, until its end. Its exit code is the upgrade's.
func follow(a *commands.Args, question control.Ask, binary int) int {
	client, code := ask(a, question, binary)
	if client == nil {
		return code
	}
	defer client.Close()
	_, code, err := attend(a, client, os.Stdout)
	switch {
	case err != nil && code != control.CodeNoInit:
		complain(a.Command, fmt.Errorf("refused: %w", err))
	case err != nil:
		complain(a.Command, err)
	}
	return code
}

// attend shows how an upgrade goes, until its end, and returns its last line. An error says why there is none.
func attend(a *commands.Args, client *control.Client, out *os.File) (last *control.Progress, code int, err error) {
	screen := progressScreen{json: a.Has("json"), out: out, line: newLiveLine(out)}
	defer screen.line.clear()
	for wait := checkTime; ; {
		line, err := client.Next(wait)
		if errors.Is(err, os.ErrDeadlineExceeded) && screen.last != nil {
			screen.redraw()
			continue
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("the init went away before the upgrade had ended")
		}
		if err != nil {
			return screen.last, control.CodeNoInit, err
		}
		if screen.json {
			_ = printJSON(a.Command, line)
		}
		switch p := line.Progress; {
		case line.Error != nil:
			return nil, line.Error.ExitCode, errors.New(line.Error.Reason)
		case p == nil: // of a later version
		case p.Final, a.Has("no-wait"):
			screen.show(p)
			return p, p.ExitCode, nil
		default:
			screen.show(p)
		}
		wait = 0
		if screen.line.width > 0 {
			wait = time.Second // and then draw the time
		}
	}
}

// progressScreen shows an upgrade: on a terminal in one line, elsewhere in a line per step.
type progressScreen struct {
	json bool
	out  *os.File
	line liveLine // on it
	last *control.Progress
	came time.Time // when last did
}

func (s *progressScreen) show(p *control.Progress) {
	step := s.last == nil || s.last.Step != p.Step || s.last.Upgrade != p.Upgrade
	s.last, s.came = p, time.Now()
	switch {
	case s.json:
	case p.Final:
		s.line.clear()
		fmt.Fprintln(s.out, describeProgress(p))
	case s.line.width > 0:
		s.redraw()
	case step:
		fmt.Fprintln(s.out, describeProgress(p))
	}
}

// redraw lets the times go on between two lines.
func (s *progressScreen) redraw() {
	p := *s.last
	passed := time.Since(s.came).Seconds()
	p.Elapsed += passed
	if p.Left > 0 {
		p.Left = max(p.Left-passed, 0)
	}
	if !s.json {
		s.line.draw(describeProgress(&p))
	}
}

func printJSON(c *commands.Command, line control.Line) int {
	text, err := json.Marshal(line)
	if err != nil {
		complain(c, err)
		return codeError
	}
	return show(c, string(text)+"\n")
}

// describeProgress is a line on how far an upgrade is, or how it ended.
func describeProgress(p *control.Progress) string {
	if p.Final {
		return describeEnd(p)
	}
	return describeStep(p)
}

// describeStep is a line on the step that an upgrade is in: "upgrade 3, 1.2s: draining, 14 connections left". What changes
// stands in front, since a terminal may be too narrow for the rest.
func describeStep(p *control.Progress) string {
	parts := []string{string(p.Step)}
	generation, pid := p.ToGeneration, p.ToPID
	if p.Step == control.StepDraining { // that is what the predecessor does
		generation, pid = p.FromGeneration, p.FromPID
	}
	if pid > 0 {
		parts[0] += fmt.Sprintf(" (generation %d, pid %d)", generation, pid)
	}
	if p.Connections != nil {
		parts = append(parts, fmt.Sprintf("%d connections left", *p.Connections))
	}
	if p.Left > 0 {
		parts = append(parts, "at most "+seconds(p.Left)+" more")
	}
	if p.Waiting != "" {
		parts = append(parts, "waits for "+p.Waiting)
	}
	if p.Ready > 0 && p.Step != control.StepReady {
		parts = append(parts, "ready after "+seconds(p.Ready))
	}
	return fmt.Sprintf("%s, %s: %s", nameOf(p), seconds(p.Elapsed), strings.Join(parts, ", "))
}

func nameOf(p *control.Progress) string {
	if p.Rollback {
		return fmt.Sprintf("upgrade %d (rollback)", p.Upgrade)
	}
	return fmt.Sprintf("upgrade %d", p.Upgrade)
}

// describeEnd is the line that says how an upgrade ended.
func describeEnd(p *control.Progress) string {
	text := fmt.Sprintf("%s %s after %s", nameOf(p), p.Step, seconds(p.Elapsed))
	if p.FromPID > 0 {
		text += fmt.Sprintf(": generation %d (pid %d)", p.FromGeneration, p.FromPID)
		if p.ToPID > 0 {
			text += fmt.Sprintf(" to %d (pid %d)", p.ToGeneration, p.ToPID)
		}
	}
	if p.Ready > 0 {
		text += ", ready after " + seconds(p.Ready)
	}
	if p.Drain > 0 {
		text += ", drained for " + seconds(p.Drain)
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}

// seconds prints a time as precisely as a person wants it: 0.042s, 3.1s, 2m5s.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
