package commands

import (
	"fmt"
	"strings"
)

// Args are a command's arguments, by the long name of each option that was given.
type Args struct {
	Command  *Command
	Help     bool
	Operands []string
	values   map[string]string
}

// Has reports whether an option was given.
func (a *Args) Has(option string) bool {
	_, ok := a.values[option]
	return ok
}

// Value is the argument of an option, or empty where it was not given.
func (a *Args) Value(option string) string { return a.values[option] }

// Parse reads what follows the command's name. Options may stand behind operands, up to "--".
func (c *Command) Parse(args []string) (*Args, error) {
	a := &Args{Command: c, values: map[string]string{}}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			a.Operands = append(a.Operands, args...)
			args = nil
		case arg == "-h" || arg == "--help":
			a.Help = true
			return a, nil
		case len(arg) < 2 || arg[0] != '-':
			a.Operands = append(a.Operands, arg)
		default:
			name, value, hasValue := strings.Cut(arg, "=")
			o := c.option(name)
			switch {
			case o == nil:
				return nil, fmt.Errorf("unknown option %s", name)
			case o.Arg == "" && hasValue:
				return nil, fmt.Errorf("option %s has no argument", name)
			case o.Arg != "" && !hasValue:
				if len(args) == 0 {
					return nil, fmt.Errorf("option %s needs an argument (%s)", name, o.Arg)
				}
				value, args = args[0], args[1:]
			}
			a.values[o.Long] = value
		}
	}
	if most := c.Operands; most == "" && len(a.Operands) > 0 || !strings.HasSuffix(most, "...") && len(a.Operands) > 1 {
		return nil, fmt.Errorf("one argument too many: %q", a.Operands[len(a.Operands)-1])
	}
	if c.Operands != "" && len(a.Operands) == 0 {
		return nil, fmt.Errorf("an argument is missing: %s", c.Operands)
	}
	return a, nil
}

func (c *Command) option(name string) *Option {
	for i := range c.Options {
		if o := &c.Options[i]; name == "--"+o.Long || o.Short != "" && name == "-"+o.Short {
			return o
		}
	}
	return nil
}
