package main

import (
	"fmt"
	"strings"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/signals"
)

// commandsManual is the COMMANDS section of the man page.
func commandsManual() string {
	var b strings.Builder
	for i := range commands.Table {
		c := &commands.Table[i]
		fmt.Fprintf(&b, "## %s\n\n%s.\n\n", c.Synopsis(), c.Summary)
		for _, o := range c.Options {
			if o.Short != "" {
				fmt.Fprintf(&b, "**-%s**, ", o.Short)
			}
			fmt.Fprintf(&b, "**--%s**", o.Long)
			if o.Arg != "" {
				fmt.Fprintf(&b, " *%s*", o.Arg)
			}
			fmt.Fprintf(&b, "\n: %s.\n\n", o.Help)
		}
		fmt.Fprintf(&b, "%s\n\n", c.ExitCodes())
	}
	return b.String()
}

func commandNames() []string {
	var names []string
	for _, c := range commands.Table {
		names = append(names, c.Name)
	}
	return names
}

// isFile says whether an argument is the name of a file.
func isFile(arg string) bool { return arg == "FILE" || arg == "ADDRESS" }

// bashCommands completes the options of a subcommand.
func bashCommands() string {
	var b strings.Builder
	b.WriteString(`
_graceinit_subcommand() {
	[[ $cur == = ]] && cur=
	prev=${COMP_WORDS[COMP_CWORD - 1]}
	[[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}
	case ${COMP_WORDS[1]}:$prev in
`)
	for _, c := range commands.Table {
		for _, o := range c.Options {
			if o.Arg == "" {
				continue
			}
			pattern := c.Name + ":--" + o.Long
			if o.Short != "" {
				pattern += " | " + c.Name + ":-" + o.Short
			}
			words := "return"
			if v := commandValues(o.Arg); v != nil {
				words = "COMPREPLY=($(compgen -W '" + strings.Join(v, " ") + "' -- \"$cur\"))"
			} else if isFile(o.Arg) {
				words = `COMPREPLY=($(compgen -f -- "$cur"))`
			}
			fmt.Fprintf(&b, "\t%s) %s ;;\n", pattern, words)
		}
		fmt.Fprintf(&b, "\t%s:*)\n", c.Name)
		var names []string
		for _, o := range c.Options {
			names = append(names, "--"+o.Long)
		}
		fmt.Fprintf(&b, "\t\tif [[ $cur == -* ]]; then\n\t\t\tCOMPREPLY=($(compgen -W '%s' -- \"$cur\"))\n",
			strings.Join(append(names, "--help"), " "))
		if c.Operands == "DIR" {
			b.WriteString("\t\telse\n\t\t\tCOMPREPLY=($(compgen -d -- \"$cur\"))\n")
		}
		b.WriteString("\t\tfi\n\t\t;;\n")
	}
	b.WriteString("\tesac\n}\n")
	return b.String()
}

// zshCommands completes the options of a subcommand, and goes on behind it where there is none.
func zshCommands() string {
	var b strings.Builder
	b.WriteString("if (( CURRENT > 2 )); then\n\tcase $words[2] in\n")
	for _, c := range commands.Table {
		fmt.Fprintf(&b, "\t(%s)\n\t\tshift words\n\t\t(( CURRENT-- ))\n\t\t_arguments", c.Name)
		for _, o := range c.Options {
			long, argument := "--"+o.Long, ""
			if o.Arg != "" {
				long, argument = long+"=", ":"+o.Arg+":"
				if v := commandValues(o.Arg); v != nil {
					argument += "(" + strings.Join(v, " ") + ")"
				} else if isFile(o.Arg) {
					argument += "_files"
				}
			}
			fmt.Fprintf(&b, " \\\n\t\t\t'%s[%s]%s'", long, zshQuote(o.Help), argument)
		}
		switch c.Operands {
		case "DIR":
			b.WriteString(" \\\n\t\t\t':DIR:_files -/'")
		case "PID...":
			b.WriteString(" \\\n\t\t\t'*:PID:_pids'")
		}
		b.WriteString(" \\\n\t\t\t'--help[show this help]'\n\t\treturn\n\t\t;;\n")
	}
	b.WriteString("\tesac\nfi\n\n_graceinit_commands() {\n\tlocal -a list=(\n")
	for _, c := range commands.Table {
		fmt.Fprintf(&b, "\t\t'%s:%s'\n", c.Name, zshQuote(c.Summary))
	}
	b.WriteString("\t)\n\t(( CURRENT == 1 )) && _describe -t subcommands 'graceinit command' list\n\t_command_names -e\n}\n\n")
	return b.String()
}

// fishCommands offers the subcommands as the first word, and behind one its options.
func fishCommands() string {
	var b strings.Builder
	for _, c := range commands.Table {
		fmt.Fprintf(&b, "complete -c graceinit -n 'test (count (commandline -opc)) -eq 1' -a %s -d '%s'\n", c.Name, fishQuote(c.Summary))
		for _, o := range c.Options {
			fmt.Fprintf(&b, "complete -c graceinit -n '__graceinit_subcommand %s' -l %s", c.Name, o.Long)
			if o.Short != "" {
				fmt.Fprintf(&b, " -s %s", o.Short)
			}
			if v := commandValues(o.Arg); v != nil {
				fmt.Fprintf(&b, " -x -a '%s'", strings.Join(v, " "))
			} else if isFile(o.Arg) {
				b.WriteString(" -r -F")
			} else if o.Arg != "" {
				b.WriteString(" -x")
			}
			fmt.Fprintf(&b, " -d '%s'\n", fishQuote(o.Help))
		}
		if c.Operands == "DIR" {
			fmt.Fprintf(&b, "complete -c graceinit -n '__graceinit_subcommand %s' -a '(__fish_complete_directories)'\n", c.Name)
		}
	}
	return b.String()
}

func fishQuote(s string) string { return strings.ReplaceAll(s, "'", `\'`) }

// commandValues are the words that an argument can be. Unlike the init, kill takes every signal.
func commandValues(arg string) []string {
	if arg != "SIG" {
		return nil
	}
	var names []string
	for s := signals.Signal(1); s <= 31; s++ {
		names = append(names, strings.TrimPrefix(s.String(), "SIG"))
	}
	return names
}
