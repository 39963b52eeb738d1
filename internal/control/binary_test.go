//go:build linux

package control

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/minisign"
)

// memfd returns a file in memory with the content and seals given.
func memfd(t *testing.T, content string, seals int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.Write(fd, []byte(content)); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return fd
}

func sumOf(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }

func TestBinary(t *testing.T) {
	s := listenForTest(t, nil)
	content := "\x7fELF" + strings.Repeat("program", 50000)
	fd := memfd(t, content, immutable)
	for _, digest := range []string{"", sumOf(content), strings.ToUpper(sumOf(content))} {
		c := dial(t, s)
		if err := c.Send(Ask{Op: OpUpgrade, Binary: true, SHA256: digest}, fd); err != nil {
			t.Fatal(err)
		}
		r := <-s.Requests()
		if r.Digest != sumOf(content) || r.Signed != "" {
			t.Errorf("digest %s, signed %q", r.Digest, r.Signed)
		}
		r.Close()
		rest(t, c)
		// The fd is the loop's, also when the client has been answered.
		got := make([]byte, len(content)+1)
		if n, err := unix.Pread(r.Binary, got, 0); err != nil || string(got[:n]) != content {
			t.Errorf("%d bytes came, %v", n, err)
		}
		if flags, err := unix.FcntlInt(uintptr(r.Binary), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("the fd would leak into the app: %#x, %v", flags, err)
		}
		_ = unix.Close(r.Binary)
	}
}

func TestRefusedBinaries(t *testing.T) {
	s := listenForTest(t, nil)
	go loop(s)
	elf, script := "\x7fELF and so on", "#!/bin/sh\n"
	removed := openExecutable(t, elf)
	if err := os.Remove(removed.Name()); err != nil {
		t.Fatal(err)
	}
	directory, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	huge := memfd(t, "", 0)
	if err := unix.Ftruncate(huge, maxBinary+1); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(huge), unix.F_ADD_SEALS, immutable); err != nil {
		t.Fatal(err)
	}
	data := memfd(t, elf, 0)
	if err := unix.Fchmod(data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(data), unix.F_ADD_SEALS, immutable); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		fd     int
		digest string
		want   string
	}{
		"a removed file":   {int(removed.Fd()), "", "not a memfd"},
		"a directory":      {int(directory.Fd()), "", "not a memfd"},
		"no seals":         {memfd(t, elf, 0), "", "sealed"},
		"may be written":   {memfd(t, elf, immutable&^unix.F_SEAL_WRITE), "", "sealed"},
		"may shrink":       {memfd(t, elf, immutable&^unix.F_SEAL_SHRINK), "", "sealed"},
		"may grow":         {memfd(t, elf, immutable&^unix.F_SEAL_GROW), "", "sealed"},
		"may be sealed":    {memfd(t, elf, immutable&^unix.F_SEAL_SEAL), "", "sealed"},
		"empty":            {memfd(t, "", immutable), "", "empty"},
		"huge":             {huge, "", "more than 1073741824"},
		"not executable":   {data, "", "not executable"},
		"text":             {memfd(t, "hello", immutable), "", "neither an ELF file"},
		"one byte":         {memfd(t, "#", immutable), "", "neither an ELF file"},
		"cut off":          {memfd(t, elf, immutable), "", "truncated ELF"},
		"another digest":   {memfd(t, script, immutable), sumOf("other"), "not " + sumOf("other")},
		"no digest at all": {memfd(t, elf, immutable), "abc", "64 hexadecimal digits"},
	} {
		if got := refusal(t, ask(t, s, Ask{Op: OpUpgrade, Binary: true, SHA256: c.digest}, c.fd)); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q in it", name, got, c.want)
		}
	}
	if lines := ask(t, s, Ask{Op: OpUpgrade, Binary: true}, memfd(t, script, immutable)); len(lines) != 3 {
		t.Errorf("a script: %+v", lines)
	}
	if lines := ask(t, s, Ask{Op: OpUpgrade, Binary: true, SHA256: sumOf(script)}, int(openExecutable(t, script).Fd())); len(lines) != 3 {
		t.Errorf("a file: %+v", lines)
	}
}

func openExecutable(t *testing.T, content string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func TestSignedBinaries(t *testing.T) {
	golden := func(name string) string {
		text, err := os.ReadFile(filepath.Join("../minisign/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	key, err := minisign.ParsePublicKey(golden("key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s := listenForTest(t, key)
	program := golden("program")
	good, changed := memfd(t, program, immutable), memfd(t, program+" ", immutable)
	for name, c := range map[string]struct {
		fd        int
		signature string
		want      string
	}{
		"unsigned":      {good, "", "not signed"},
		"a file":        {int(openExecutable(t, "\x7fELF").Fd()), golden("program.minisig"), "sealed"},
		"garbage":       {good, "garbage", "not a minisign signature"},
		"another key":   {good, golden("other.minisig"), "made with key"},
		"changed":       {changed, golden("program.minisig"), "not that of this file"},
		"changed (old)": {changed, golden("legacy.minisig"), "not that of this file"},
	} {
		go func() {
			r := <-s.Requests()
			r.Send(Line{Error: &Error{Reason: r.Refused.Error(), ExitCode: CodeRefused}})
			r.Close()
		}()
		if got := refusal(t, ask(t, s, Ask{Op: OpUpgrade, Binary: true, Signature: c.signature}, c.fd)); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q in it", name, got, c.want)
		}
	}
	for name, comment := range map[string]string{"program.minisig": "timestamp:1795357830 version 1.2.3", "legacy.minisig": "the old kind"} {
		c := dial(t, s)
		if err := c.Send(Ask{Op: OpUpgrade, Binary: true, Signature: golden(name)}, good); err != nil {
			t.Fatal(err)
		}
		r := <-s.Requests()
		if r.Signed != comment {
			t.Errorf("%s: signed %q", name, r.Signed)
		}
		_ = unix.Close(r.Binary)
		r.Close()
		rest(t, c)
	}
}

// A client that goes while its binary is read stops that.
func TestReadingEndsWithTheClient(t *testing.T) {
	fd := memfd(t, "\x7fELF"+strings.Repeat("x", 1<<20), immutable)
	r := &Request{Binary: fd, gone: make(chan struct{})}
	r.hangUp()
	if err := r.readBinary(nil, 1<<20); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("readBinary: %v", err)
	}
	if !bytes.Contains([]byte(fmt.Sprint(r.readBinary(nil, 1<<40))), []byte("gone")) {
		t.Error("it went on")
	}
}
