package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/graceinit/graceinit/internal/signals"
)

// Every setting's type reads its own text (Set). Lists grow with each use of a flag; in the environment
// their members are separated by commas.

// Mode says who carries out an upgrade.
type Mode string

const (
	ModeAuto    Mode = "auto"
	ModeSpawn   Mode = "spawn"
	ModeForward Mode = "forward"
	ModeOff     Mode = "off"
)

// Set implements envconfig.Setter.
func (m *Mode) Set(text string) error {
	return setOneOf(m, text, ModeAuto, ModeSpawn, ModeForward, ModeOff)
}

// Format is a log format.
type Format string

const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// Set implements envconfig.Setter.
func (f *Format) Set(text string) error { return setOneOf(f, text, FormatText, FormatJSON) }

// Level is a log level; empty means the default.
type Level string

const (
	LevelError Level = "error"
	LevelWarn  Level = "warn"
	LevelInfo  Level = "info"
	LevelDebug Level = "debug"
)

// Set implements envconfig.Setter.
func (l *Level) Set(text string) error {
	return setOneOf(l, text, LevelError, LevelWarn, LevelInfo, LevelDebug)
}

func setOneOf[T ~string](into *T, text string, allowed ...T) error {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		if text == string(a) {
			*into = a
			return nil
		}
		names[i] = string(a)
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(names, ", "))
}

// Duration is a time span that cannot be negative.
type Duration time.Duration

// Set implements envconfig.Setter.
func (d *Duration) Set(text string) error {
	parsed, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a duration (like 500ms, 25s or 1m30s)", text)
	case parsed < 0:
		return fmt.Errorf("%q is negative", text)
	}
	*d = Duration(parsed)
	return nil
}

// Bool is a switch.
type Bool bool

// Set implements envconfig.Setter.
func (b *Bool) Set(text string) error {
	parsed, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", text)
	}
	*b = Bool(parsed)
	return nil
}

// Count is a switch that may be given several times.
type Count int

// Set implements envconfig.Setter; "true" is one more.
func (c *Count) Set(text string) error {
	if text == "true" {
		*c++
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return fmt.Errorf("%q is not a small number", text)
	}
	*c = Count(n)
	return nil
}

// Number is a count of things.
type Number int

// Set implements envconfig.Setter.
func (n *Number) Set(text string) error {
	parsed, err := strconv.ParseUint(text, 10, 20)
	if err != nil {
		return fmt.Errorf("%q is not a number up to a million", text)
	}
	*n = Number(parsed)
	return nil
}

// OptionalSignal is a signal, none (zero, but Given), or nothing said.
type OptionalSignal struct {
	signals.Signal
	Given bool
}

// Set implements envconfig.Setter.
func (o *OptionalSignal) Set(text string) error {
	o.Given = true
	if text == "none" {
		o.Signal = 0
		return nil
	}
	return o.Signal.Set(text)
}

// SignalList is a list of signals.
type SignalList []signals.Signal

// Set implements envconfig.Setter.
func (l *SignalList) Set(text string) error {
	return eachMember(text, func(member string) error {
		s, err := signals.Parse(member)
		if err != nil {
			return err
		}
		*l = append(*l, s)
		return nil
	})
}

// Rewrites maps a signal to the one that is passed on in its place; zero drops it.
type Rewrites map[signals.Signal]signals.Signal

// Set implements envconfig.Setter.
func (r *Rewrites) Set(text string) error {
	return eachMember(text, func(member string) error {
		from, to, ok := strings.Cut(member, ":")
		if !ok {
			return fmt.Errorf("%q is not of the form S:R (like 15:3 or TERM:QUIT)", member)
		}
		s, err := signals.Parse(from)
		if err != nil {
			return err
		}
		var target signals.Signal
		if err := target.Set(to); err != nil {
			return err
		}
		if *r == nil {
			*r = Rewrites{}
		}
		(*r)[s] = target
		return nil
	})
}

// ExitCodes is a set of exit codes.
type ExitCodes map[int]bool

// Set implements envconfig.Setter.
func (e *ExitCodes) Set(text string) error {
	return eachMember(text, func(member string) error {
		code, err := strconv.ParseUint(member, 10, 8)
		if err != nil {
			return fmt.Errorf("%q is not an exit code (0 to 255)", member)
		}
		if *e == nil {
			*e = ExitCodes{}
		}
		(*e)[int(code)] = true
		return nil
	})
}

func eachMember(text string, add func(string) error) error {
	for member := range strings.SplitSeq(text, ",") {
		if err := add(strings.TrimSpace(member)); err != nil {
			return err
		}
	}
	return nil
}
