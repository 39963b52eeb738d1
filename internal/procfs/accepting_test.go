package procfs

import (
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestAccepts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	inode := inodeOf(t, l)
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	sleeper := exec.Command("/bin/sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	ask := func(pid int) Accepting {
		table, err := Take()
		if err != nil {
			t.Fatal(err)
		}
		return table.Accepts(pid, map[uint64]bool{inode: true})
	}
	for deadline := time.Now().Add(10 * time.Second); ask(os.Getpid()) != AcceptingYes; {
		if time.Now().After(deadline) {
			t.Fatalf("a Go program that accepts: %d", ask(os.Getpid()))
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ask(sleeper.Process.Pid) != AcceptingNo; {
		if time.Now().After(deadline) {
			t.Fatalf("a program that sleeps: %d", ask(sleeper.Process.Pid))
		}
	}
}

func inodeOf(t *testing.T, l net.Listener) (inode uint64) {
	t.Helper()
	raw, err := l.(syscall.Conn).SyscallConn() //nolint:errcheck // a TCP listener is one
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		var st syscall.Stat_t
		if err := syscall.Fstat(int(fd), &st); err != nil {
			t.Error(err)
		}
		inode = st.Ino
	}); err != nil {
		t.Fatal(err)
	}
	return inode
}
