package procfs

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
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

// Of a program that does nothing, but whose child may not be looked into, nothing is known.
func TestAcceptsOfAnotherUsersWorkers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	master := exec.Command("setpriv", "--bounding-set=-sys_ptrace", "/bin/sh", "-c", "setpriv --reuid 1234 --clear-groups /bin/sh -c 'echo; exec sleep 1000' & wait")
	master.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := master.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(-master.Process.Pid, syscall.SIGKILL); _ = master.Wait() }()
	if _, err := out.Read(make([]byte, 1)); err != nil { // now it is the other user's
		t.Fatal(err)
	}
	answer := make(chan Accepting)
	go func() {
		runtime.LockOSThread() // for good: the thread gives up a capability, as containers have to
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		err := unix.Capget(&header, &caps[0])
		caps[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
		caps[0].Permitted &^= 1 << unix.CAP_SYS_PTRACE
		if err = errors.Join(err, unix.Capset(&header, &caps[0])); err != nil {
			t.Error(err)
		}
		for {
			table, err := Take()
			if err != nil {
				t.Error(err)
			}
			answer <- table.Accepts(master.Process.Pid, nil)
		}
	}()
	for deadline := time.Now().Add(10 * time.Second); <-answer != AcceptingUnknown; {
		if time.Now().After(deadline) {
			t.Fatal("it is said not to accept")
		}
	}
	for range 100 { // and it stays so
		if got := <-answer; got != AcceptingUnknown {
			t.Fatal(got)
		}
	}
}

// Whoever has an io_uring may accept by it, whatever its threads wait for.
func TestIOUringMayAccept(t *testing.T) {
	var params [120]byte // struct io_uring_params
	fd, _, errno := syscall.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		t.Skip("SKIPPED: io_uring: ", errno)
	}
	defer func() { _ = unix.Close(int(fd)) }()
	if watched, err := epollWatches(os.Getpid(), nil); !watched || err != nil {
		t.Errorf("%v, %v", watched, err)
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
