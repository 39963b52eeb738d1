package upgrade

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Image is an executable that is held open. It can be started again although the file at its path has been
// replaced or removed; only a file that is truncated or overwritten in place is lost, and the kernel forbids
// that while a program runs from it (ETXTBSY), but not for scripts.
type Image struct {
	Path      string // where it was found, or what it is called where it has no path
	FD        int    // open for reading, close-on-exec
	Delivered bool   // it came over the control socket and has no path
}

// Delivered returns the image of an executable that is only an fd, which the image owns from now on.
func Delivered(fd int) *Image { return &Image{Path: "the delivered binary", FD: fd, Delivered: true} }

// Close lets go of the executable.
func (i *Image) Close() { unix.Close(i.FD) }

// Find resolves the command anew, holds what it finds, and refuses what cannot be executed. The error is an
// *ExecError.
func (p *Program) Find() (*Image, error) {
	p.enterDir()
	path, err := Resolve(p.Args[0], environ(p.Env, "PATH"))
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EACCES) { // it may be executed all the same
		fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, explain(path, err)
	}
	image := &Image{Path: path, FD: fd}
	// The app's user may be allowed what we are not: a root without CAP_DAC_OVERRIDE.
	if err := image.Check(); err != nil && (p.User == nil || !errors.Is(err, unix.EACCES)) {
		image.Close()
		return nil, err
	}
	return image, nil
}

// Check finds early, while nothing has been touched yet, what execve(2) would refuse or not even notice. Whether
// the kernel runs programs for another machine only it can tell (binfmt_misc).
func (i *Image) Check() error {
	if err := unix.Faccessat(unix.AT_FDCWD, i.fdPath(), unix.X_OK, unix.AT_EACCESS); errors.Is(err, unix.EACCES) {
		return explainFile(i.Path, i.fdPath(), err)
	}
	head := make([]byte, headSize)
	n, err := unix.Pread(i.FD, head, 0)
	if errors.Is(err, unix.EBADF) {
		return nil // O_PATH
	}
	if err != nil {
		return &ExecError{Path: i.Path, Code: CodeNotExecutable, Errno: asErrno(err), Reason: "it cannot be read: " + err.Error()}
	}
	head = head[:n]
	var st unix.Stat_t
	if err := unix.Fstat(i.FD, &st); err != nil {
		return explain(i.Path, err)
	}
	if reason := damage(head, uint64(st.Size)); reason != "" {
		return &ExecError{Path: i.Path, Code: CodeNotExecutable, Errno: syscall.ENOEXEC, Reason: reason}
	}
	return nil
}

// inPlace reports whether the file at the path is still this one.
func (i *Image) inPlace() bool {
	var held, there unix.Stat_t
	return !i.Delivered && unix.Fstat(i.FD, &held) == nil && unix.Stat(i.Path, &there) == nil &&
		held.Dev == there.Dev && held.Ino == there.Ino
}

// isScript reports whether the executable is a script, whose interpreter opens it once more.
func (i *Image) isScript() bool {
	head := make([]byte, 4)
	n, err := unix.Pread(i.FD, head, 0) // O_PATH: EBADF, but an interpreter could not read it either
	return err == nil && !isELF(head[:n])
}

// Reachable is a path by which a helper of ours can open the executable.
func (i *Image) Reachable() string {
	if i.inPlace() {
		return i.Path
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), i.FD)
}

func (i *Image) fdPath() string { return fmt.Sprintf("/proc/self/fd/%d", i.FD) }

// Dir is the working directory as a path, so that a symbolic link on the way is followed anew by every
// generation. It is empty where the path is unknown.
func Dir() string {
	var here, there unix.Stat_t
	if pwd := os.Getenv("PWD"); pwd != "" && unix.Stat(".", &here) == nil && unix.Stat(pwd, &there) == nil &&
		here.Dev == there.Dev && here.Ino == there.Ino {
		return pwd // as the shell or the engine wrote it, links and all
	}
	dir, _ := os.Getwd()
	return dir
}

// enterDir goes to the working directory that a generation starts in. Where that has gone, we stay in what it was.
func (p *Program) enterDir() {
	if p.Dir != "" {
		_ = os.Chdir(p.Dir)
	}
}
