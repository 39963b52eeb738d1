package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/upgrade"
)

// codeError is the exit code of commands that upgrade nothing and could not do what they are for.
const codeError = 1

// runCommand runs a subcommand, if that is what the arguments name: in the first argument, and under a name of ours or
// under one that an engine gives an init, which always writes "--" before the app's command. Everything else is a
// command for the init to run, and so is all that follows "--".
func runCommand(args []string) (code int, ok bool) {
	if len(args) < 2 {
		return 0, false
	}
	switch filepath.Base(args[0]) {
	case "graceinit", "docker-init", "podman-init":
	default:
		return 0, false
	}
	c := commands.Find(args[1])
	if c == nil {
		return misspelt(args[1])
	}
	args = args[2:]
	if c.Name == "kill" {
		args = killArgs(args)
	}
	a, err := c.Parse(args)
	if err != nil {
		return usageError(c, err), true
	}
	if a.Help {
		return show(c, c.Help()), true
	}
	if a.Has("sha256") {
		if err := control.CheckDigest(a.Value("sha256")); err != nil {
			return usageError(c, fmt.Errorf("--sha256 %w", err)), true
		}
	}
	switch c.Name {
	case "upgrade":
		code = upgradeCommand(a)
	case "rollback":
		code = follow(a, control.Ask{Op: control.OpRollback}, -1)
	case "status":
		code = statusCommand(a)
	case "stop":
		code = stopCommand(a)
	case "metrics":
		code = metricsCommand(a)
	case "deliver":
		code = deliverCommand(a)
	case "install":
		code = installCommand(a)
	case "notify":
		code = notifyCommand(a)
	case "kill":
		code = killCommand(a)
	}
	return code, true
}

// misspelt answers a word that is close to a command's, and no program. Everything else is run.
func misspelt(word string) (code int, ok bool) {
	names := []string{"help"}
	for _, c := range commands.Table {
		names = append(names, c.Name)
	}
	meant := commands.Similar(word, names)
	if meant == "" || word[0] == '-' {
		return 0, false
	}
	if _, err := upgrade.Resolve(word, os.Getenv("PATH")); err == nil || strings.Contains(word, "/") {
		return 0, false
	}
	if meant == "help" {
		meant = "--help"
	}
	fmt.Fprintf(os.Stderr, "graceinit: %q is no command, and no program in PATH: did you mean graceinit %s? (see graceinit --help)\n", word, meant)
	return upgrade.CodeNotFound, true
}

func complain(c *commands.Command, err error) {
	fmt.Fprintf(os.Stderr, "graceinit %s: %v\n", c.Name, err)
}

func usageError(c *commands.Command, err error) int {
	complain(c, fmt.Errorf("%w (see graceinit %s --help)", err, c.Name))
	return control.CodeUsage
}

// show prints what a command is for. A full disk behind standard output is no success.
func show(c *commands.Command, text string) int {
	if _, err := os.Stdout.WriteString(text); err != nil {
		complain(c, err)
		return codeError
	}
	return 0
}

// connect connects to the init.
func connect(a *commands.Args) (*control.Client, error) {
	setting := a.Value("control")
	if setting == "" {
		setting = os.Getenv("GRACEINIT_CONTROL")
	}
	if setting == "off" {
		return nil, errors.New("the control socket is switched off (GRACEINIT_CONTROL or --control)")
	}
	return control.Dial(setting)
}

// ask connects to the init and sends it a request; the code is for when that fails.
func ask(a *commands.Args, question control.Ask, binary int) (*control.Client, int) {
	client, err := connect(a)
	if err == nil {
		if err = client.Send(question, binary); err == nil {
			return client, 0
		}
		client.Close()
	}
	complain(a.Command, err)
	return nil, control.CodeNoInit
}

// answerTime is how long an init may take for an answer that asks nothing of the app. It is an init: what keeps
// it so long is a machine in trouble.
const answerTime = 10 * time.Second

// askOnce returns the one line that answers a request, and an exit code where that is none or an Error.
func askOnce(a *commands.Args, question control.Ask) (line control.Line, code int) {
	client, code := ask(a, question, -1)
	if client == nil {
		return line, code
	}
	defer client.Close()
	line, err := client.Next(answerTime)
	switch {
	case err != nil:
		complain(a.Command, fmt.Errorf("the init did not answer: %w", err))
		return line, control.CodeNoInit
	case line.Error != nil:
		complain(a.Command, fmt.Errorf("refused: %s", line.Error.Reason))
		return line, line.Error.ExitCode
	case line.Status != nil && a.Has("digest") && line.Status.Main != nil && line.Status.PID == client.PID: // else its pids are not ours
		line.Status.Main.SHA256, err = hashFile(fmt.Sprintf("/proc/%d/exe", line.Status.Main.PID))
		if err != nil {
			complain(a.Command, fmt.Errorf("--digest: %w", err))
		}
	}
	return line, 0
}
