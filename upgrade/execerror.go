package upgrade

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit codes for a command that cannot be run, as shells, tini and Docker use them.
const (
	CodeNotStarted    = 1   // the fork failed: not the command's fault
	CodeNotExecutable = 126 // found, but cannot be executed
	CodeNotFound      = 127
)

// ExecError says why a program could not be executed, in words that lead to the mistake.
type ExecError struct {
	Path   string
	Code   int // exit code for it
	Errno  syscall.Errno
	Reason string
}

func (e *ExecError) Error() string { return fmt.Sprintf("cannot execute %s: %s", e.Path, e.Reason) }

// Unwrap returns the errno.
func (e *ExecError) Unwrap() error { return e.Errno }

// CodeOf is the exit code for an error of Start or Find.
func CodeOf(err error) int {
	var execErr *ExecError
	if errors.As(err, &execErr) {
		return execErr.Code
	}
	return CodeNotStarted
}

// explain finds out why execve(2) or fork(2) failed.
func explain(path string, err error) error { return explainFile(path, path, err) }

// explainFile does so for an executable that is called path, but can be read at file.
func explainFile(path, file string, err error) error {
	var known *ExecError
	if errors.As(err, &known) {
		return known
	}
	errno := asErrno(err)
	e := &ExecError{Path: path, Code: CodeNotExecutable, Errno: errno, Reason: errno.Error()}
	switch errno {
	case syscall.EAGAIN, syscall.ENOMEM:
		e.Code, e.Reason = CodeNotStarted, fmt.Sprintf("cannot fork: %s (is the pids or memory limit reached?)", errno)
	case syscall.ENOENT:
		e.Code = CodeNotFound
		if reason := missingInterpreter(file); reason != "" {
			e.Reason = reason
		}
	case syscall.ENOTDIR, syscall.ELOOP:
		e.Code = CodeNotFound
	case syscall.EACCES:
		e.Reason = denied(file)
	case syscall.ENOEXEC:
		e.Reason = badFormat(file)
	case syscall.ETXTBSY:
		e.Reason = "it is being written to"
	case syscall.E2BIG:
		e.Reason = "the arguments and the environment are too large"
	}
	return e
}

// denied explains EACCES.
func denied(path string) string {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return "permission denied (a directory on the way may not be searched)"
	case st.IsDir():
		return "it is a directory"
	case !st.Mode().IsRegular():
		return "it is not a regular file"
	case st.Mode()&0o111 == 0:
		return "permission denied (it has no x bit: chmod +x)"
	}
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_NOEXEC != 0 {
		return "permission denied (its file system is mounted noexec)"
	}
	return fmt.Sprintf("permission denied (mode %s, we run as uid %d)", st.Mode().Perm(), os.Getuid())
}

// missingInterpreter explains ENOENT for a file that exists: what is missing is what it asks for.
func missingInterpreter(path string) string {
	head := readHead(path)
	if head == nil {
		return ""
	}
	if line, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		interpreter, _, _ := strings.Cut(strings.Trim(string(line), " \t"), " ")
		if strings.HasSuffix(interpreter, "\r") {
			return fmt.Sprintf("its interpreter %q ends in a carriage return (DOS line endings?)", interpreter)
		}
		return fmt.Sprintf("its interpreter %s (line 1) does not exist", interpreter)
	}
	if interpreter := elfInterpreter(head); interpreter != "" {
		return fmt.Sprintf("its dynamic loader %s does not exist (a dynamically linked program in an image without that C library?)", interpreter)
	}
	return ""
}

// badFormat explains ENOEXEC.
func badFormat(path string) string {
	head := readHead(path)
	if len(head) > 0 && !isELF(head) {
		return "it is neither an ELF program nor a script with a #! line"
	}
	if reason := damage(head, math.MaxUint64); reason != "" {
		return reason
	}
	if machine := elfOrder(head).Uint16(head[18:]); machine != ownMachine {
		return fmt.Sprintf("it is built for %s, this machine is %s", machineName(machine), machineName(ownMachine))
	}
	return "it is a damaged or unsupported ELF program"
}

// damage says what is wrong with an executable of that size which begins with head, or nothing. Of a program that
// was cut off, the kernel notices only a missing header; the rest would be a SIGBUS later on.
func damage(head []byte, size uint64) string {
	switch {
	case len(head) == 0:
		return "it is empty"
	case !isELF(head):
		return ""
	case len(head) < elfHeaderSize:
		return "it is a truncated ELF program"
	}
	order := elfOrder(head)
	for h := range programHeaders(head) {
		if from, length := order.Uint64(h[8:]), order.Uint64(h[32:]); length > 0 && (from > size || length > size-from) {
			return fmt.Sprintf("it is a truncated ELF program: %d bytes, but it has contents up to byte %d", size, from+length)
		}
	}
	return ""
}

// isScript reports whether execvp(3) would hand the file to the shell and that could make sense of it.
func isScript(path string) bool {
	head := readHead(path)
	return len(head) > 0 && !isELF(head) && bytes.IndexByte(head[:min(len(head), 256)], 0) < 0
}

// headSize is enough for a #! line, the ELF header and the program headers.
const headSize = 4096

// readHead reads the part of a file in which a #! line, the ELF header and the program headers are.
func readHead(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, headSize)
	n, _ := f.Read(head)
	return head[:n]
}

// elf(5), enough of it for an error message.

const elfHeaderSize = 64

func isELF(head []byte) bool { return bytes.HasPrefix(head, []byte("\x7fELF")) }

func elfOrder(head []byte) binary.ByteOrder {
	if head[5] == 2 { // ELFDATA2MSB
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// programHeaders yields the program headers of a 64-bit program, as far as they are in head.
func programHeaders(head []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if !isELF(head) || len(head) < elfHeaderSize || head[4] != 2 { // ELFCLASS64
			return
		}
		const size = 56
		order := elfOrder(head)
		at := order.Uint64(head[32:])
		for range order.Uint16(head[56:]) {
			if at > uint64(len(head)-size) || !yield(head[at:at+size]) {
				return
			}
			at += size
		}
	}
}

// elfInterpreter returns the path in the PT_INTERP program header.
func elfInterpreter(head []byte) string {
	const ptInterp = 3
	for h := range programHeaders(head) {
		order := elfOrder(head)
		if order.Uint32(h) != ptInterp {
			continue
		}
		from, size := order.Uint64(h[8:]), order.Uint64(h[32:])
		if from > uint64(len(head)) || size > uint64(len(head))-from {
			return ""
		}
		return string(bytes.TrimRight(head[from:from+size], "\x00"))
	}
	return ""
}

var ownMachine = map[string]uint16{"386": 3, "arm": 40, "amd64": 62, "arm64": 183, "riscv64": 243}[runtime.GOARCH]

func machineName(m uint16) string {
	if name, ok := map[uint16]string{3: "i386", 8: "MIPS", 20: "PowerPC", 21: "ppc64", 22: "s390x", 40: "arm",
		62: "x86-64 (amd64)", 183: "aarch64 (arm64)", 243: "RISC-V"}[m]; ok {
		return name
	}
	return fmt.Sprintf("ELF machine %d", m)
}
