// Package signals decides, for every signal there is, what an init does with it, and subscribes to
// them early enough that none is lost.
//
// One table holds the decision with its reason. Names and numbers are those of signal(7) on
// linux/amd64 and linux/arm64, which agree.
package signals

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// Signal is a signal number with the textual forms that people write: TERM, SIGTERM, 15, RTMIN+1.
// Zero is "no signal".
type Signal syscall.Signal

// Fate is what happens to a signal that reaches the init.
type Fate uint8

const (
	// Forward: caught and passed on, unless the configuration gives it a meaning.
	Forward Fate = iota
	// Never: it cannot be caught, or it is not ours to pass on.
	Never
)

// Last is the highest signal number of Linux (SIGRTMAX).
const Last = 64

// rtmin is what C programs call SIGRTMIN: the kernel's 32, and 33, are taken by the C library's threads.
const rtmin = 34

type entry struct {
	name   string
	fate   Fate
	reason string
}

var table = [Last + 1]entry{
	1:  {"HUP", Forward, "reload, or the terminal went away"},
	2:  {"INT", Forward, "a REPL survives ^C; it is the app's to decide"},
	3:  {"QUIT", Forward, "a JVM prints its threads; nginx drains"},
	4:  {"ILL", Forward, "sent by a person: the app's; raised by a fault of ours: the runtime's"},
	5:  {"TRAP", Forward, "as ILL"},
	6:  {"ABRT", Forward, "as ILL"},
	7:  {"BUS", Forward, "as ILL"},
	8:  {"FPE", Forward, "as ILL"},
	9:  {"KILL", Never, "cannot be caught (signal(7))"},
	10: {"USR1", Forward, "the app's (nginx reopens its logs)"},
	11: {"SEGV", Forward, "as ILL"},
	12: {"USR2", Forward, "the default upgrade signal; the app's where upgrades are off"},
	13: {"PIPE", Forward, "the app's; one that a write of our own raises is dropped"},
	14: {"ALRM", Forward, "the app's"},
	15: {"TERM", Forward, "the default shutdown signal"},
	16: {"STKFLT", Forward, "unused by the kernel, so only a person sends it"},
	17: {"CHLD", Never, "about our own children, which are reaped"},
	18: {"CONT", Forward, "continues what TSTP stopped"},
	19: {"STOP", Never, "cannot be caught (signal(7))"},
	20: {"TSTP", Forward, "job control of whoever runs the app"},
	21: {"TTIN", Forward, "gunicorn adds a worker"},
	22: {"TTOU", Forward, "gunicorn removes a worker"},
	23: {"URG", Forward, "the app's; what the runtime sends itself comes by tgkill and stays with it"},
	24: {"XCPU", Forward, "the app's"},
	25: {"XFSZ", Forward, "the app's"},
	26: {"VTALRM", Forward, "the app's"},
	27: {"PROF", Forward, "the app's"},
	28: {"WINCH", Forward, "apache and httpd stop gracefully on it"},
	29: {"IO", Forward, "the app's"},
	30: {"PWR", Forward, "the app's"},
	31: {"SYS", Forward, "as ILL"},
	32: {"32", Never, "the C library's: thread cancellation"},
	33: {"33", Never, "the C library's: setuid in all threads"},
	34: {"RTMIN", Forward, "the app's; only musl has a use of its own for it, within one process"},
	35: {"RTMIN+1", Forward, realTime},
	36: {"RTMIN+2", Forward, realTime},
	37: {"RTMIN+3", Forward, realTime},
	38: {"RTMIN+4", Forward, realTime},
	39: {"RTMIN+5", Forward, realTime},
	40: {"RTMIN+6", Forward, realTime},
	41: {"RTMIN+7", Forward, realTime},
	42: {"RTMIN+8", Forward, realTime},
	43: {"RTMIN+9", Forward, realTime},
	44: {"RTMIN+10", Forward, realTime},
	45: {"RTMIN+11", Forward, realTime},
	46: {"RTMIN+12", Forward, realTime},
	47: {"RTMIN+13", Forward, realTime},
	48: {"RTMIN+14", Forward, realTime},
	49: {"RTMIN+15", Forward, realTime},
	50: {"RTMIN+16", Forward, realTime},
	51: {"RTMIN+17", Forward, realTime},
	52: {"RTMIN+18", Forward, realTime},
	53: {"RTMIN+19", Forward, realTime},
	54: {"RTMIN+20", Forward, realTime},
	55: {"RTMIN+21", Forward, realTime},
	56: {"RTMIN+22", Forward, realTime},
	57: {"RTMIN+23", Forward, realTime},
	58: {"RTMIN+24", Forward, realTime},
	59: {"RTMIN+25", Forward, realTime},
	60: {"RTMIN+26", Forward, realTime},
	61: {"RTMIN+27", Forward, realTime},
	62: {"RTMIN+28", Forward, realTime},
	63: {"RTMIN+29", Forward, realTime},
	64: {"RTMIN+30", Forward, realTime},
}

const realTime = "a real-time signal is the app's"

// alias returns the signal that has a second name, or zero.
func alias(name string) Signal {
	switch name {
	case "IOT":
		return 6
	case "CLD":
		return 17
	case "POLL":
		return 29
	case "RTMAX":
		return 64
	}
	return 0
}

// FateOf returns what the init does with the signal.
func FateOf(s Signal) Fate {
	if s < 1 || s > Last {
		return Never
	}
	return table[s].fate
}

// Parse reads a signal: a name with or without SIG, in any case, a number, RTMIN+n or RTMAX-n.
// Zero is an error here; where it has a meaning, the caller looks for it.
func Parse(text string) (Signal, error) {
	name := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(text)), "SIG")
	if n, err := strconv.Atoi(name); err == nil {
		if n < 1 || n > Last {
			return 0, fmt.Errorf("signal %q is out of range (1 to %d)", text, Last)
		}
		return Signal(n), nil
	}
	if s := alias(name); s != 0 {
		return s, nil
	}
	base, offset, hasOffset := rtmin, 0, false
	for prefix, b := range map[string]int{"RTMIN+": rtmin, "RTMAX-": Last} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			if n, err := strconv.ParseUint(rest, 10, 6); err == nil {
				base, offset, hasOffset = b, int(n), true
			}
		}
	}
	if hasOffset {
		if base == Last {
			offset = -offset
		}
		if n := base + offset; n >= rtmin && n <= Last {
			return Signal(n), nil
		}
	}
	for i, e := range table {
		if e.name != "" && e.name == name {
			return Signal(i), nil
		}
	}
	return 0, fmt.Errorf("%q is not a signal (names are like TERM or SIGTERM, numbers 1 to %d)", text, Last)
}

// String returns the signal's name with SIG, or "none" for zero.
func (s Signal) String() string {
	switch {
	case s == 0:
		return "none"
	case s < 0 || s > Last:
		return "signal " + strconv.Itoa(int(s))
	default:
		return "SIG" + table[s].name
	}
}

// Set implements envconfig.Setter; the empty string and 0 mean none.
func (s *Signal) Set(text string) error {
	if text == "" || text == "0" {
		*s = 0
		return nil
	}
	parsed, err := Parse(text)
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
