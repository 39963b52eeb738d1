package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/graceinit/graceinit/internal/commands"
)

// installCommand copies this very program into a directory.
func installCommand(a *commands.Args) int {
	path := a.Operands[0] + "/graceinit"
	sum, err := installAt(path)
	if err != nil {
		complain(a.Command, fmt.Errorf("cannot install %s: %w", path, err))
		return codeError
	}
	return show(a.Command, sum+"  "+path+"\n") // as sha256sum(1) prints it
}

// installAt copies this very program to the path.
func installAt(path string) (sum string, err error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer self.Close()
	return writeExecutable(path, fmt.Sprintf("%s.%d", path, os.Getpid()), self)
}

// writeExecutable replaces the file at the path at once, by a rename: somebody may be executing it, and a part of it
// must never be there. It returns the SHA-256 in hexadecimal. What is left of an attempt that was killed is replaced.
func writeExecutable(path, temporary string, from *os.File) (sum string, err error) {
	_ = os.Remove(temporary)
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	_, err = copyFile(io.MultiWriter(file, hash), from, nil)
	if err == nil {
		err = file.Chmod(0o755) // a umask may have taken bits away
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), err
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
