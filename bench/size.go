package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/graceinit/graceinit/bench/result"
)

// sizes adds up the files of an init: its programs, and apart from them the libraries that they have mapped.
func (b *bench) sizes() error {
	programs, libraries := b.figure("size", "programs", "kB", result.Lower), b.figure("size", "libraries mapped", "kB", result.Lower)
	for _, s := range b.inits() {
		program, library, err := b.sizeOf(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		programs.Add(s.name, float64(program)/1024)
		libraries.Add(s.name, float64(library)/1024)
	}
	return nil
}

func (b *bench) sizeOf(s subject) (programs, libraries int64, err error) {
	l, _, err := b.begin(s, nil)
	if err != nil {
		return 0, 0, err
	}
	defer l.end()
	init, _, err := l.pids()
	if err != nil {
		return 0, 0, err
	}
	seen := map[string]bool{}
	for _, pid := range init {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			return 0, 0, err
		}
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.Lines(string(maps)) {
			f := strings.Fields(line)
			if len(f) < 6 || f[5][0] != '/' || seen[f[5]] {
				continue // memory without a file
			}
			seen[f[5]] = true
			fi, err := os.Stat(f[5])
			if err != nil {
				return 0, 0, err
			}
			if f[5] == exe {
				programs += fi.Size()
			} else {
				libraries += fi.Size()
			}
		}
	}
	return programs, libraries, nil
}
