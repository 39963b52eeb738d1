package lifecycle

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestStore(t *testing.T) {
	s := store{max: 3}
	defer s.keep(func(storedFD) bool { return false })
	add := func(name string, want int) {
		t.Helper()
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		before := len(s.entries)
		err = s.add(name, []int{fd})
		if got := len(s.entries) - before; got != want || (err == nil) != (want == 1) {
			t.Errorf("%d more: %v", got, err)
		}
	}
	add("a", 1)
	add("a", 1) // which has the inode of the first
	add("b", 1)
	add("c", 0)

	// What the app is told of them must fit into its environment.
	s.max = 10_000
	s.entries[0].name = strings.Repeat("x", maxNames-5)
	add("c", 0)
	s.remove("b")
	add("c", 1)
}

func TestStorable(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was) }()
	for limit, want := range map[uint64]int{1024: 362, 500: 100, 20: 0} {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		if got := storable(4096); got != want {
			t.Errorf("of %d fds %d can be stored, want %d", limit, got, want)
		}
	}
	if got := storable(0); got != 0 {
		t.Errorf("%d fds where none may be stored", got)
	}
}
