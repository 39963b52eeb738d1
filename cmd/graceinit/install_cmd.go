package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/graceinit/graceinit/internal/commands"
)

// installCommand copies this very program into a directory.
func installCommand(a *commands.Args) int {
	path := a.Operands[0] + "/graceinit"
	err := installAt(path)
	sum := ""
	if err == nil {
		sum, err = hashFile(path)
	}
	if err != nil {
		complain(a.Command, fmt.Errorf("cannot install %s: %w", path, err))
		return codeError
	}
	return show(a.Command, sum+"  "+path+"\n") // as sha256sum(1) prints it
}

// installAt replaces the file at once, by a rename: somebody may be executing it, and a part of it must never
// be there.
func installAt(path string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	temporary := fmt.Sprintf("%s.%d", path, os.Getpid())
	err = writeExecutable(temporary, self)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}

// writeExecutable makes a file, which must not be there yet, with the content of another.
func writeExecutable(path string, from *os.File) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = copyFile(file, from, nil)
	if err == nil {
		err = file.Chmod(0o755) // a umask may have taken bits away
	}
	if err == nil {
		err = file.Sync()
	}
	return err
}

// copyFile copies up to the end and returns how much that was. Whoever wants to sees each piece and the sum so far.
func copyFile(to io.Writer, from *os.File, look func(piece []byte, sum int64)) (sum int64, err error) {
	piece := make([]byte, 128<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			if _, err := to.Write(piece[:n]); err != nil {
				return sum, err
			}
			sum += int64(n)
			if look != nil {
				look(piece[:n], sum)
			}
		}
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
	}
}
