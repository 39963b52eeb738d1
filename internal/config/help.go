package config

import (
	"fmt"
	"io"
	"strings"

	"github.com/graceinit/graceinit/internal/commands"
)

// Synopsis is the one-line usage.
const Synopsis = "graceinit [flags] [--] command [args...]"

// WriteHelp prints what --help shows.
func WriteHelp(w io.Writer) {
	fmt.Fprintf(w, "Usage: %s\n       graceinit COMMAND [options]\n\n%s\n\nFlags:\n", Synopsis,
		"An init for containers: reaps orphans, forwards signals, and lets the app be replaced by a new\n"+
			"binary on SIGUSR2 without losing a request.")
	for _, o := range options(&Settings{}) {
		fmt.Fprintf(w, "  %s\n%s", o.heading(), commands.Indent(o.describe(), "        "))
	}
	fmt.Fprintf(w, "\nEvery --flag-name is also an environment variable %s_FLAG_NAME; a flag wins.\n"+
		"TINI_SUBREAPER, TINI_KILL_PROCESS_GROUP, TINI_VERBOSITY, DUMB_INIT_SETSID and DUMB_INIT_DEBUG work too.\n"+
		"Exit code: the app's, 128+n after signal n; 127 command not found, 126 not executable, 1 bad usage.\n", EnvPrefix)
}

// WriteManOptions prints the flags as the OPTIONS section of the man page's Markdown source.
func WriteManOptions(w io.Writer) {
	for _, o := range options(&Settings{}) {
		names := strings.Split(o.heading(), ", ")
		for i, n := range names {
			flag, arg, hasArg := strings.Cut(n, " ")
			names[i] = "**" + flag + "**"
			if hasArg {
				names[i] += " *" + arg + "*"
			}
		}
		fmt.Fprintf(w, "%s\n: %s\n\n", strings.Join(names, ", "), strings.TrimSpace(o.describe()))
	}
}

// WriteCompletions prints the flags one per line, for the shell completions: name, whether it takes an
// argument, description.
func WriteCompletions(w io.Writer) {
	for _, o := range options(&Settings{}) {
		fmt.Fprintf(w, "%s\t%s\t%s\n", o.long, o.arg, o.help)
	}
}

func (o *option) heading() string {
	names := "--" + o.long
	if o.short != "" {
		names = "-" + o.short + ", " + names
	}
	if o.arg != "" {
		names += " " + o.arg
	}
	return names
}

func (o *option) describe() string {
	text := o.help
	if o.deflt != "" {
		text += " (default " + o.deflt + ")"
	}
	return text + "."
}
