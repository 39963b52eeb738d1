package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// screen shows what happens: on a terminal a table that is drawn again and again, elsewhere a line a second.
type screen struct {
	w        io.Writer
	terminal bool
	height   int // lines of the table that are on the terminal

	mu    sync.Mutex
	lines []string // from the init's log
}

const (
	bold, dim, green, yellow, red, plain = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
	up, erase                            = "\x1b[%dA", "\x1b[J"
)

func (s *screen) every() time.Duration {
	if s.terminal {
		return 200 * time.Millisecond
	}
	return time.Second
}

// paint colours a text on a terminal.
func (s *screen) paint(colour, text string) string {
	if !s.terminal {
		return text
	}
	return colour + text + plain
}

// clear takes the table away, so that a line can stand where it was.
func (s *screen) clear() {
	if s.height > 0 {
		fmt.Fprintf(s.w, up+erase, s.height)
		s.height = 0
	}
}

func (s *screen) begin(title string) {
	s.height = 0
	fmt.Fprintf(s.w, "\n%s\n", s.paint(bold, title))
}

// say prints a line that stays.
func (s *screen) say(at float64, text string) {
	s.clear()
	fmt.Fprintf(s.w, "%s  %s\n", s.paint(dim, fmt.Sprintf("%6.1f s", at)), text)
}

// end leaves what stands there.
func (s *screen) end() { s.height = 0 }

func (s *screen) show(at float64, t table) {
	if s.terminal {
		s.table(at, t)
		return
	}
	var parts []string
	for _, l := range t.lines {
		if l.state != "gone" {
			parts = append(parts, fmt.Sprintf("generation %d (pid %d) %s %d/s, %d slow in flight", l.Number, l.PID, l.state, l.perSecond, l.slow))
		}
	}
	if len(parts) == 0 {
		parts = []string{"nobody answers"}
	}
	fmt.Fprintf(s.w, "%6.1f s  %s | %d requests, %d without a response\n", at, strings.Join(parts, " | "), t.requests, t.failed)
}

func (s *screen) table(at float64, t table) {
	s.clear()
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", s.paint(dim, "generation    pid  binary    state     requests/s  answered  slow in flight"))
	for _, l := range t.lines {
		colour := map[string]string{"serving": green, "draining": yellow, "gone": dim}[l.state]
		row := fmt.Sprintf("%10d  %5d  build %-2d  %-8s  %10d  %8d  %3d %s", l.Number, l.PID, l.Build, l.state, l.perSecond, l.OK, l.slow,
			strings.Repeat("■", l.slow))
		fmt.Fprintln(&b, s.paint(colour, row))
	}
	failed := s.paint(green, "0")
	if t.failed > 0 {
		failed = s.paint(red, fmt.Sprint(t.failed))
	}
	fmt.Fprintf(&b, "%.1f s, %d requests, %s without a response\n", at, t.requests, failed)
	s.height = strings.Count(b.String(), "\n")
	_, _ = io.WriteString(s.w, b.String())
}

// queue keeps a line for the goroutine that draws.
func (s *screen) queue(line string) {
	if line == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *screen) queued() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.lines
	s.lines = nil
	return out
}
