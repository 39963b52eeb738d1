package signals

import (
	"strings"
	"syscall"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Signal{
		"TERM": 15, "SIGTERM": 15, "sigterm": 15, "15": 15, "1": 1, "64": 64,
		"RTMIN": 34, "RTMIN+1": 35, "SIGRTMIN+30": 64, "RTMAX": 64, "RTMAX-1": 63, "RTMAX-30": 34,
		"IOT": 6, "POLL": 29, "STKFLT": 16, "CLD": 17,
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	if got, err := Parse(" term "); err != nil || got != 15 {
		t.Errorf("white space: %d, %v", got, err)
	}
	for _, text := range []string{"", "0", "65", "-1", "SIG", "TERMINATE", "RTMIN+31", "RTMAX-31", "RTMIN+", "RTMIN+-1", "RTMAX+1", "1 5"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %d, want an error", text, got)
		}
	}
}

func TestNamesAreParsed(t *testing.T) {
	for s := Signal(1); s <= Last; s++ {
		if got, err := Parse(s.String()); err != nil || got != s {
			t.Errorf("Parse(%q) = %d, %v; want %d", s.String(), got, err, s)
		}
	}
}

// Every signal is decided, with a reason.
func TestEverySignalIsDecided(t *testing.T) {
	for s := Signal(1); s <= Last; s++ {
		if table[s].name == "" || table[s].reason == "" {
			t.Errorf("signal %d has no entry", s)
		}
	}
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, 32, 33} {
		if FateOf(Signal(s)) != Never {
			t.Errorf("%v would be forwarded", s)
		}
	}
}

func TestSet(t *testing.T) {
	var s Set
	s.Add(1)
	s.Add(64)
	if !s.Has(1) || !s.Has(64) || s.Has(2) || s.Has(0) || s.Has(65) {
		t.Errorf("set %x", uint64(s))
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"TERM", "RTMIN+5", "15", "sigusr1", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err == nil && (s < 1 || s > Last) {
			t.Errorf("Parse(%q) = %d", text, s)
		}
		if err != nil && !strings.Contains(err.Error(), "signal") {
			t.Errorf("Parse(%q): %v does not say what was expected", text, err)
		}
	})
}
