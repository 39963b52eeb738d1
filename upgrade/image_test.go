package upgrade

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A program that we may execute but not read is held by O_PATH, and started by that when it has been replaced.
func TestUnreadableImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(path, []byte("\x7fELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	image := &Image{Path: path, FD: fd}
	defer image.Close()
	if err := image.Check(); err != nil {
		t.Error(err)
	}
	if image.isScript() {
		t.Error("nobody may read it, so it is no script")
	}
}

// Only the app's user may execute it, and as that it will be executed.
func TestImageOfTheUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	path := filepath.Join(t.TempDir(), "app")
	if err := errors.Join(os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700), os.Chown(path, 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread gives up capabilities
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		err := unix.Capget(&header, &caps[0])
		caps[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
		if err = errors.Join(err, unix.Capset(&header, &caps[0])); err != nil {
			t.Error(err)
			return
		}
		for _, user := range []*User{nil, {UID: 1234, GID: 1234}} {
			p := Program{Args: []string{path}, User: user}
			image, err := p.Find()
			if (err == nil) != (user != nil) {
				t.Errorf("as %v: %v", user, err)
			}
			if image != nil {
				image.Close()
			}
		}
	}()
	<-done
}

// What is cut off is noticed, but a segment without contents (.bss, .tbss) may lie anywhere.
func TestDamage(t *testing.T) {
	program := func(offset, length uint64) []byte {
		b := make([]byte, 128)
		copy(b, "\x7fELF\x02\x01\x01")
		b[32], b[56] = 64, 1 // e_phoff, e_phnum
		binary.LittleEndian.PutUint64(b[64+8:], offset)
		binary.LittleEndian.PutUint64(b[64+32:], length)
		return b
	}
	for _, c := range []struct {
		offset, length uint64
		damaged        bool
	}{{0, 128, false}, {0, 129, true}, {200, 1, true}, {4096, 0, false}, {1 << 63, 1 << 63, true}} {
		if got := damage(program(c.offset, c.length), 128); got != "" != c.damaged {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
