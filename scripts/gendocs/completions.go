package main

import (
	"fmt"
	"strings"

	"github.com/graceinit/graceinit/internal/config"
	"github.com/graceinit/graceinit/internal/signals"
)

const notice = "# Made by scripts/gendocs from the settings table. Do not edit: run `make docs`.\n"

// values are the words that an argument can be, by the argument's name in the settings table.
func values(arg string) []string {
	switch arg {
	case "MODE":
		return []string{string(config.ModeAuto), string(config.ModeSpawn), string(config.ModeForward), string(config.ModeOff)}
	case "FORMAT":
		return []string{string(config.FormatText), string(config.FormatJSON)}
	case "LEVEL":
		return []string{string(config.LevelError), string(config.LevelWarn), string(config.LevelInfo), string(config.LevelDebug)}
	case "SIG":
		var names []string
		for s := signals.Signal(1); s <= 31; s++ {
			if signals.FateOf(s) == signals.Forward {
				names = append(names, strings.TrimPrefix(s.String(), "SIG"))
			}
		}
		return names
	}
	return nil
}

// bashCompletion completes flags and their values up to the command, and from there on leaves it to what
// bash-completion knows of the command.
func bashCompletion(flags []cliFlag) string {
	var b strings.Builder
	var names, withArg []string
	for _, f := range flags {
		long := "--" + f.long
		names = append(names, long)
		if f.arg != "" {
			withArg = append(withArg, long)
		}
		if f.short != "" {
			names = append(names, "-"+f.short)
			if f.arg != "" {
				withArg = append(withArg, "-"+f.short)
			}
		}
	}
	b.WriteString(notice + `
_graceinit() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev= i flag=
	COMPREPLY=()
	if ((COMP_CWORD > 1)); then
		case ${COMP_WORDS[1]} in
		` + strings.Join(commandNames(), " | ") + `)
			_graceinit_subcommand
			return
			;;
		esac
	fi
	# Find the command: behind "--", or the first word that is neither a flag nor a flag's argument. Bash splits
	# --flag=value into three words.
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--)
			_graceinit_command $((i + 1))
			return
			;;
		`)
	b.WriteString(strings.Join(withArg, " | ") + `)
			flag=${COMP_WORDS[i]}
			[[ ${COMP_WORDS[i + 1]} == = ]] && ((i + 1 < COMP_CWORD)) && ((i++))
			if ((i + 1 >= COMP_CWORD)); then
				prev=$flag
			fi
			((i++))
			;;
		-*) ;;
		*)
			_graceinit_command "$i"
			return
			;;
		esac
	done
	[[ $cur == = ]] && cur=
	case $prev in
`)
	for _, f := range flags {
		if f.arg == "" {
			continue
		}
		pattern := "--" + f.long
		if f.short != "" {
			pattern += " | -" + f.short
		}
		if words := values(f.arg); words != nil {
			fmt.Fprintf(&b, "\t%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n", pattern, strings.Join(words, " "))
		} else if f.arg == "PATH" {
			fmt.Fprintf(&b, "\t%s) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n", pattern)
		}
	}
	b.WriteString(`	'')
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '` + strings.Join(names, " ") + `' -- "$cur"))
		else
			_graceinit_command "$COMP_CWORD"
			((COMP_CWORD > 1)) || COMPREPLY+=($(compgen -W '` + strings.Join(commandNames(), " ") + `' -- "$cur"))
		fi
		;;
	esac
}
` + bashCommands() + `
# The command's own completion, if there is one to call.
_graceinit_command() {
	if declare -F _command_offset >/dev/null; then
		_command_offset "$1"
	elif ((COMP_CWORD == $1)); then
		COMPREPLY=($(compgen -c -- "$cur"))
	else
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
}

complete -F _graceinit -o filenames graceinit
`)
	return b.String()
}

// zshCompletion uses _arguments, with "-S" for "--" and "-A" to stop at the command.
func zshCompletion(flags []cliFlag) string {
	var b strings.Builder
	b.WriteString("#compdef graceinit\n" + notice + "\n" + zshCommands() + "_arguments -s -S -A '-*' \\\n")
	for _, f := range flags {
		argument := ""
		if f.arg != "" {
			argument = ":" + f.arg + ":"
			if words := values(f.arg); words != nil {
				argument += "(" + strings.Join(words, " ") + ")"
			} else if f.arg == "PATH" {
				argument += "_files"
			}
		}
		help := zshQuote(f.help)
		repeat := ""
		if strings.Contains(f.help, "(repeatable)") {
			repeat = "*"
		}
		long := "--" + f.long
		if f.arg != "" {
			long += "="
		}
		fmt.Fprintf(&b, "\t'%s%s[%s]%s' \\\n", repeat, long, help, argument)
		if f.short != "" {
			short := "-" + f.short
			if f.arg != "" {
				short += "+"
			}
			fmt.Fprintf(&b, "\t'%s%s[%s]%s' \\\n", repeat, short, help, argument)
		}
	}
	b.WriteString("\t'(-):command:_graceinit_commands' \\\n\t'*::arguments: _normal'\n")
	return b.String()
}

func zshQuote(s string) string {
	return strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(s)
}

// fishCompletion offers flags before the command, and the command's own completions from there on.
func fishCompletion(flags []cliFlag) string {
	var b strings.Builder
	var withArg []string
	for _, f := range flags {
		if f.arg != "" {
			withArg = append(withArg, "--"+f.long)
			if f.short != "" {
				withArg = append(withArg, "-"+f.short)
			}
		}
	}
	b.WriteString(notice + `
# Prints the words of the command, the last of which is being completed; fails while there is no command yet.
function __graceinit_command
    set -l words (commandline -opc) (commandline -ct)
    set -l skip 1 # graceinit itself
    for i in (seq (count $words))
        if test $skip -gt 0
            set skip (math $skip - 1)
            continue
        end
        switch $words[$i]
            case --
                set i (math $i + 1)
                test $i -le (count $words); or return 1
                string join \n -- $words[$i..-1]
                return 0
            case ` + strings.Join(withArg, " ") + `
                set skip 1
            case '-*'
            case '*'
                test $i -lt (count $words); or return 1
                string join \n -- $words[$i..-1]
                return 0
        end
    end
    return 1
end

# Whether the first word is that subcommand, or any.
function __graceinit_subcommand
    set -l words (commandline -opc)
    test (count $words) -gt 1; or return 1
    if set -q argv[1]
        test $words[2] = $argv[1]
    else
        contains -- $words[2] ` + strings.Join(commandNames(), " ") + `
    end
end

# Whether there is neither a command yet nor a subcommand.
function __graceinit_flags
    not __graceinit_subcommand; and not __graceinit_command
end

complete -c graceinit -f
complete -c graceinit -n 'not __graceinit_subcommand; and __graceinit_command' -a '(complete -C (string join -- " " (string escape -- (__graceinit_command))))'
complete -c graceinit -n __graceinit_flags -a '(__fish_complete_command)'
` + fishCommands())
	for _, f := range flags {
		fmt.Fprintf(&b, "complete -c graceinit -n __graceinit_flags -l %s", f.long)
		if f.short != "" {
			fmt.Fprintf(&b, " -s %s", f.short)
		}
		if f.arg != "" {
			if words := values(f.arg); words != nil {
				fmt.Fprintf(&b, " -x -a '%s'", strings.Join(words, " "))
			} else if f.arg == "PATH" {
				b.WriteString(" -r -F")
			} else {
				b.WriteString(" -x")
			}
		}
		fmt.Fprintf(&b, " -d '%s'\n", fishQuote(f.help))
	}
	return b.String()
}
