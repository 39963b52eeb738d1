package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/control"
)

// statusCommand shows the init's status.
func statusCommand(a *commands.Args) int {
	if a.Has("watch") {
		if a.Has("ready") {
			return usageError(a.Command, errors.New("--watch and --ready exclude each other"))
		}
		return watch(a)
	}
	line, code := askOnce(a, control.Ask{Op: control.OpStatus})
	st := line.Status
	if st == nil {
		return code
	}
	text := describeStatus(st)
	if a.Has("ready") {
		text = "ready\n"
		if !st.Ready {
			text, code = "not ready: "+st.State+"\n", codeError
		}
	}
	if a.Has("json") {
		return max(code, printJSON(a.Command, line))
	}
	return max(code, show(a.Command, text))
}

// watch shows the status at every change: on a terminal in the same place, elsewhere what has changed. It ends
// with the init, or by ^C.
func watch(a *commands.Args) int {
	client, code := ask(a, control.Ask{Op: control.OpWatch}, -1)
	if client == nil {
		return code
	}
	defer client.Close()
	terminal, last := isTerminal(os.Stdout), ""
	wait := answerTime // for the first status, which comes at once
	for {
		line, err := client.Next(wait)
		if errors.Is(err, io.EOF) {
			err = errors.New("the init went away")
		}
		if err != nil {
			complain(a.Command, err)
			return control.CodeNoInit
		}
		wait = 0
		text := ""
		switch {
		case line.Error != nil:
			complain(a.Command, fmt.Errorf("refused: %s", line.Error.Reason))
			return line.Error.ExitCode
		case a.Has("json"):
			code = printJSON(a.Command, line)
		case line.Status != nil && terminal:
			text = eraseScreen + describeStatus(line.Status)
		case line.Status != nil:
			text = describeState(line.Status) + "\n"
		case line.Progress != nil && !terminal:
			text = describeProgress(line.Progress) + "\n"
		}
		if text != "" && text != last {
			last = text
			code = show(a.Command, text)
		}
		if code != 0 {
			return code
		}
	}
}

// describeState is a status in one line.
func describeState(st *control.Status) string {
	text := fmt.Sprintf("%s, generation %d", st.State, st.Generation)
	if st.Main != nil {
		text += fmt.Sprintf(", pid %d", st.Main.PID)
	}
	if st.Ready {
		text += ", ready"
	}
	return text
}

// describeStatus is a status for people.
func describeStatus(st *control.Status) string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-13s%s\n", name, fmt.Sprintf(format, args...))
	}
	row("graceinit", "%s, pid %d, for %s", st.Version, st.PID, since(st.Started))
	ready := "not ready"
	if st.Ready {
		ready = "ready"
	}
	row("state", "%s, %s", st.State, ready)
	row("upgrades by", "%s", st.Mode)
	for _, p := range []struct {
		name string
		*control.Process
	}{{"main", st.Main}, {"successor", st.Successor}, {"predecessor", st.Predecessor}} {
		if p.Process == nil {
			continue
		}
		row(p.name, "generation %d, pid %d, for %s", p.Generation, p.PID, since(p.Since))
		if p.Executable != "" {
			row("", "runs %s", p.Executable)
		}
		if p.SHA256 != "" {
			row("", "SHA-256 %s", p.SHA256)
		}
		if p.Said != "" {
			row("", "says %q", p.Said)
		}
	}
	if st.Upgrade != nil {
		row("now", "%s", describeProgress(st.Upgrade))
	}
	if st.LastUpgrade != nil {
		row("last", "%s", describeProgress(st.LastUpgrade))
	}
	if st.Probation > 0 {
		row("probation", "%s more", seconds(st.Probation))
	}
	if st.CanRollBack {
		row("rollback", "possible")
	}
	for _, l := range st.Listeners {
		row("listener", "%s", strings.TrimSpace(l.Name+" "+l.URL))
	}
	for _, stored := range st.Store {
		row("stored", "%d fds named %s", stored.FDs, stored.Name)
	}
	if st.Zombies > 0 {
		row("zombies", "%d", st.Zombies)
	}
	return b.String()
}

func since(t time.Time) string { return seconds(time.Since(t).Seconds()) }
