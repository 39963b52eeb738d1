//go:build linux

package control

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/minisign"
	"github.com/graceinit/graceinit/upgrade"
)

const (
	// maxBinary bounds the time that reading takes: a sparse memfd costs its sender nothing.
	maxBinary = 1 << 30
	// maxUnhashed is for signatures of the old kind, which are of the whole file at once: the loop waits
	// meanwhile, a fifth of a second for so much.
	maxUnhashed = 64 << 20
)

// immutable are the seals (fcntl(2)) of a file that stays as it is for ever, so that what is checked is what is
// executed.
const immutable = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// check looks at the binary of a request: whether it can be trusted to stay as it is, whether it could be a
// program, its digest and its signature.
func (s *Server) check(r *Request) error {
	s.checking.Lock()
	defer s.checking.Unlock()
	size, err := inspect(r.Binary, s.key != nil)
	if err != nil {
		return err
	}
	if err := upgrade.Delivered(r.Binary).Check(); err != nil {
		return err
	}
	var signature *minisign.Signature
	if s.key != nil {
		if r.ask.Signature == "" {
			return errors.New("it is not signed, and this init has a --verify-key")
		}
		if signature, err = minisign.ParseSignature(r.ask.Signature); err != nil {
			return err
		}
	}
	sum, signed := sha256.New(), minisign.NewDigest()
	hashes := []io.Writer{sum}
	if signature != nil && signature.Prehashed {
		hashes = append(hashes, signed)
	}
	if err := r.readBinary(hashes, size); err != nil {
		return err
	}
	r.Digest = fmt.Sprintf("%x", sum.Sum(nil))
	if want := r.ask.SHA256; want != "" && want != r.Digest {
		return fmt.Errorf("its SHA-256 is %s, not %s", r.Digest, want)
	}
	if signature != nil {
		if err := s.verify(signature, signed, r.Binary, size); err != nil {
			return err
		}
		r.Signed = signature.Comment
	}
	return nil
}

// inspect returns the size of an executable file that begins like a program. Where it matters who made it, it must
// be a memfd that nobody can change any more. A file on disk is no worse than the one at the app's path, and is not
// held in memory beside its copy there.
func inspect(fd int, sealed bool) (size int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	// EINVAL: not a file that can have seals.
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	switch {
	case (sealed || st.Nlink == 0 || st.Mode&unix.S_IFMT != unix.S_IFREG) && (err != nil || seals&immutable != immutable):
		return 0, errors.New("it is not a memfd sealed against writing, shrinking, growing and sealing (memfd_create(2))")
	case st.Size == 0:
		return 0, errors.New("it is empty")
	case st.Size > maxBinary:
		return 0, fmt.Errorf("it has %d bytes, more than %d", st.Size, maxBinary)
	case st.Mode&0o111 == 0:
		return 0, errors.New("it is not executable (MFD_EXEC, or fchmod(2))")
	}
	var start [4]byte
	n, err := unix.Pread(fd, start[:], 0)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(start[:n], []byte("\x7fELF")) && !bytes.HasPrefix(start[:n], []byte("#!")) {
		return 0, fmt.Errorf("it is neither an ELF file nor a script with #!, but begins with %q", start[:n])
	}
	return st.Size, nil
}

// readBinary passes the binary on piece by piece, until the client has gone.
func (r *Request) readBinary(to []io.Writer, size int64) error {
	piece := make([]byte, 64<<10)
	for at := int64(0); at < size; {
		n, err := unix.Pread(r.Binary, piece, at)
		switch {
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		case r.Gone():
			return errors.New("the client has gone")
		}
		for _, h := range to {
			_, _ = h.Write(piece[:n])
		}
		at += int64(n)
		runtime.Gosched() // the init runs on one thread and is not preempted: its loop comes first
	}
	return nil
}

func (s *Server) verify(signature *minisign.Signature, digest *minisign.Digest, fd int, size int64) error {
	if signature.Prehashed {
		return s.key.Verify(signature, digest.Sum())
	}
	if size > maxUnhashed {
		return fmt.Errorf("its signature is of the old kind, which is for files up to %d bytes (sign without minisign's -l)", maxUnhashed)
	}
	// A mapping takes no memory of ours, and what is sealed cannot shrink beneath it.
	whole, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("cannot map it: %w", err)
	}
	defer func() { _ = unix.Munmap(whole) }()
	return s.key.Verify(signature, whole)
}
