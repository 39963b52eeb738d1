package upgrade

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"

	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/internal/testproc"
	"github.com/graceinit/graceinit/reaper"
)

func TestResolve(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for path, mode := range map[string]os.FileMode{a + "/app": 0o644, b + "/app": 0o755, a + "/plain": 0o644} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(a, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := a + ":" + b
	for name, want := range map[string]string{
		"app": b + "/app", // the one in a cannot be executed
		"./x": "./x", "/x": "/x",
	} {
		if got, err := Resolve(name, path); err != nil || got != want {
			t.Errorf("Resolve(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	for name, code := range map[string]int{"nothing": CodeNotFound, "plain": CodeNotExecutable, "dir": CodeNotExecutable} {
		_, err := Resolve(name, path)
		var execErr *ExecError
		if !errors.As(err, &execErr) || execErr.Code != code {
			t.Errorf("Resolve(%q): %v, want code %d", name, err, code)
		}
	}
}

// The pipe of a shim that dies closes as that of one that has executed the program does.
func TestShimThatDies(t *testing.T) {
	testproc.NotEmulated(t, "name of its own for what /proc/self/exe started")
	for path, died := range map[string]bool{self: true, "/bin/true": false} {
		pid, err := reaper.Start(reaper.Command{Path: path, Args: []string{path, "-test.run=^$"}, Env: os.Environ()})
		if err != nil {
			t.Fatal(err)
		}
		p, err := shim{}.result(pid, "/app", "")
		if died != errors.Is(err, syscall.EAGAIN) || !died && p.PID != pid {
			t.Errorf("%s: %+v, %v", path, p, err)
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestShimTravelsUnchanged(t *testing.T) {
	for _, s := range []shim{
		{},
		{Inherited: signals.Inherited{Ignored: 1 << 63, Mask: 1}, Setsid: true, ReparentUntil: 12, Result: 200, Errors: 201},
		{Foreground: true, Terminal: true, ListenPID: true, Reparent: true},
		{Guard: true, KeepImage: true, FDs: 1000, Image: 1004, User: &User{UID: 1000, GID: 1000}},
		{User: &User{UID: 1, GID: 2, Groups: []int{2, 3, 4}}},
	} {
		got, err := decodeShim(s.encode())
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%+v became %+v, %v", s, got, err)
		}
	}
	for _, text := range []string{"", "1 2 3", "x 0 0 0 0 0 0 0", "1 2 3 4 5 6 7", "1 2 3 4 5 6 7 8 9"} {
		if _, err := decodeShim(text); err == nil {
			t.Errorf("%q was decoded", text)
		}
	}
}

func TestExplain(t *testing.T) {
	for errno, code := range map[syscall.Errno]int{
		syscall.ENOENT: CodeNotFound, syscall.EACCES: CodeNotExecutable, syscall.ENOEXEC: CodeNotExecutable,
		syscall.EAGAIN: CodeNotStarted, syscall.ENOMEM: CodeNotStarted, syscall.ETXTBSY: CodeNotExecutable, syscall.E2BIG: CodeNotExecutable,
	} {
		err := explain("/no/such/file", errno)
		var execErr *ExecError
		if !errors.As(err, &execErr) || execErr.Code != code || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

// A dynamically linked program in an image without its loader is the commonest "no such file or directory"
// about a file that is there.
func TestELFInterpreter(t *testing.T) {
	head := readHead("/bin/sh")
	if !isELF(head) {
		t.Skip("SKIPPED: /bin/sh is not an ELF program")
	}
	if got := elfInterpreter(head); got == "" {
		t.Error("the dynamic loader of /bin/sh was not found")
	}
}

func FuzzELF(f *testing.F) {
	f.Add(readHead("/bin/sh"))
	f.Add([]byte("\x7fELF"))
	f.Add([]byte("#!/bin/sh\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, head, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, errno := range []syscall.Errno{syscall.ENOENT, syscall.ENOEXEC, syscall.EACCES} {
			if explain(path, errno).Error() == "" {
				t.Error("no explanation")
			}
		}
		_ = isScript(path)
	})
}
