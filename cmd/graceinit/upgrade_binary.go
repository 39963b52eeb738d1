package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/control"
)

// loadBinary puts an executable into a sealed memfd, and into the request what goes with it.
func loadBinary(a *commands.Args, question *control.Ask) (*os.File, error) {
	name := a.Value("binary")
	file, err := openBinary(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	question.Binary, question.SHA256 = true, strings.ToLower(a.Value("sha256"))
	if question.Signature, err = readSignature(name, a.Value("signature")); err != nil {
		return nil, err
	}
	memfd, err := newMemfd(file.Name())
	if err != nil {
		return nil, err
	}
	if err := fillMemfd(memfd, file, question.SHA256); err != nil {
		memfd.Close()
		return nil, err
	}
	return memfd, nil
}

func openBinary(name string) (*os.File, error) {
	if name != "-" {
		return os.Open(name)
	}
	if isTerminal(os.Stdin) {
		return nil, errors.New("standard input is a terminal (use: graceinit upgrade --binary - <FILE)")
	}
	return os.Stdin, nil
}

// fillMemfd copies the file, compares its digest if one is wanted, and seals the copy.
func fillMemfd(memfd, file *os.File, want string) error {
	progress, hash := newLiveLine(os.Stderr), sha256.New()
	sum, err := copyFile(memfd, file, func(piece []byte, sum int64) {
		_, _ = hash.Write(piece)
		if sum>>20 != (sum-int64(len(piece)))>>20 {
			progress.draw(fmt.Sprintf("%s: %d MiB", file.Name(), sum>>20))
		}
	})
	progress.clear()
	if err != nil {
		return fmt.Errorf("cannot copy %s into memory: %w", file.Name(), err)
	}
	if sum == 0 {
		return fmt.Errorf("%s is empty", file.Name())
	}
	if is := fmt.Sprintf("%x", hash.Sum(nil)); want != "" && want != is {
		return fmt.Errorf("the SHA-256 of %s is %s, not %s", file.Name(), is, want)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(memfd.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("cannot seal the copy of %s: %w", file.Name(), err)
	}
	return nil
}

// newMemfd makes a file in memory that can be executed (memfd_create(2)).
func newMemfd(name string) (*os.File, error) {
	name = fmt.Sprintf("%.200s", filepath.Base(name)) // at most 249 bytes
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags) // before Linux 6.3 there is no MFD_EXEC, and all are executable
	}
	if errors.Is(err, unix.EACCES) {
		err = fmt.Errorf("%w (sysctl vm.memfd_noexec=2 forbids it)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot create an executable memfd: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readSignature reads the signature's file, or the one beside the binary if there is one.
func readSignature(binary, path string) (string, error) {
	beside := path == ""
	if beside && binary == "-" {
		return "", nil
	}
	if beside {
		path = binary + ".minisig"
	}
	text, err := os.ReadFile(path)
	if beside && errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if len(text) > maxSignature {
		return "", fmt.Errorf("%s is too long for a minisign signature", path)
	}
	return string(text), err
}

const maxSignature = 16 << 10 // one has four lines
