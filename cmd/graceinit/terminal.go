package main

import (
	"os"

	"golang.org/x/sys/unix"
)

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// liveLine is a line on a terminal that is drawn anew again and again. Elsewhere it shows nothing.
type liveLine struct {
	file  *os.File
	width int // zero: no terminal
	drawn bool
}

func newLiveLine(f *os.File) liveLine {
	l := liveLine{file: f}
	if isTerminal(f) {
		l.width = 80 // of a terminal that does not know
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			l.width = int(size.Col)
		}
	}
	return l
}

// draw shows the text in place of what the line showed before. It is cut where the terminal would wrap it, since
// only one line can be drawn over.
func (l *liveLine) draw(text string) {
	if l.width == 0 {
		return
	}
	if r := []rune(text); len(r) >= l.width {
		text = string(r[:l.width-1])
	}
	_, _ = l.file.WriteString("\r" + text + eraseToEnd)
	l.drawn = true
}

// clear makes place for what is to stay.
func (l *liveLine) clear() {
	if l.drawn {
		_, _ = l.file.WriteString("\r" + eraseToEnd)
		l.drawn = false
	}
}

const (
	eraseToEnd  = "\033[K"       // console_codes(4): EL
	eraseScreen = "\033[H\033[J" // CUP, ED
)
