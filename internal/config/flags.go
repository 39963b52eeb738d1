package config

import (
	"fmt"
	"reflect"
	"strings"
)

// option is a flag, as the tags of Settings define it.
type option struct {
	long, short, arg, help, deflt string
	value                         setter
	reset                         func() // empties a list, so that a flag replaces what came before it
	used                          bool
	request                       Request
}

type setter interface{ Set(string) error }

// text lets plain string fields be set like the others.
type text struct{ into *string }

func (t text) Set(s string) error { *t.into = s; return nil }

// options lists the flags that set s, in the order of its fields.
func options(s *Settings) []*option {
	v := reflect.ValueOf(s).Elem()
	var list []*option
	for i := range v.NumField() {
		tag, field := v.Type().Field(i).Tag, v.Field(i)
		o := &option{long: tag.Get("flag"), short: tag.Get("short"), arg: tag.Get("arg"),
			help: tag.Get("help"), deflt: tag.Get("default")}
		switch p := field.Addr().Interface().(type) {
		case *string:
			o.value = text{p}
		case setter:
			o.value = p
		}
		if k := field.Kind(); k == reflect.Slice || k == reflect.Map {
			o.reset = field.SetZero
		}
		list = append(list, o)
	}
	return append(list,
		&option{long: "help", short: "h", request: ShowHelp, help: "show this help"},
		&option{long: "version", short: "V", request: ShowVersion, help: "show the version"},
		&option{long: "license", short: "l", request: ShowLicense, help: "show the license"})
}

// catatonitLicense is catatonit's short option for --license.
const catatonitLicense = 'L'

// parseFlags sets s from the arguments and returns what follows the options.
func parseFlags(args []string, s *Settings) (Request, []string, error) {
	var opts []*option
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			return Run, args[1:], nil
		}
		if opts == nil { // as late as this: most command lines have no flag, and the tags take a while to read
			opts = options(s)
		}
		switch {
		case strings.HasPrefix(arg, "--"):
			name, value, hasValue := strings.Cut(arg[2:], "=")
			o := find(opts, func(o *option) bool { return o.long == name })
			if o == nil {
				return Run, nil, fmt.Errorf("unknown option --%s (see --help)", name)
			}
			rest, err := o.take("--"+name, value, hasValue, args[1:])
			if err != nil || o.request != Run {
				return o.request, nil, err
			}
			args = rest
		case len(arg) > 1 && arg[0] == '-':
			request, rest, err := parseShort(opts, arg[1:], args[1:])
			if err != nil || request != Run {
				return request, nil, err
			}
			args = rest
		default:
			return Run, args, nil
		}
	}
	return Run, nil, nil
}

// parseShort reads a group of short options, the last of which may have an argument: -vg, -e143, -p TERM.
func parseShort(opts []*option, group string, args []string) (Request, []string, error) {
	for i, c := range group {
		if c == catatonitLicense {
			return ShowLicense, nil, nil
		}
		o := find(opts, func(o *option) bool { return o.short == string(c) })
		if o == nil {
			return Run, nil, fmt.Errorf("unknown option -%c (see --help)", c)
		}
		if o.request != Run {
			return o.request, nil, nil
		}
		if o.arg != "" {
			value := group[i+1:]
			rest, err := o.take("-"+o.short, value, value != "", args)
			return Run, rest, err
		}
		if _, err := o.take("-"+o.short, "", false, nil); err != nil {
			return Run, nil, err
		}
	}
	return Run, args, nil
}

// take sets the option from its value, or from the first of the following arguments, which it returns
// without what it used.
func (o *option) take(name, value string, hasValue bool, args []string) ([]string, error) {
	switch {
	case o.request != Run:
		return args, nil
	case o.arg == "" && !hasValue:
		value = "true"
	case o.arg != "" && !hasValue:
		if len(args) == 0 {
			return nil, fmt.Errorf("option %s needs an argument (%s)", name, o.arg)
		}
		value, args = args[0], args[1:]
	}
	if o.reset != nil && !o.used {
		o.reset()
	}
	o.used = true
	if err := o.value.Set(value); err != nil {
		return nil, fmt.Errorf("option %s: %w", name, err)
	}
	return args, nil
}

func find(opts []*option, match func(*option) bool) *option {
	for _, o := range opts {
		if match(o) {
			return o
		}
	}
	return nil
}
