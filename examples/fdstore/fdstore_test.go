package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds failures.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if os.Getenv("FDSTORE_SERVES") != "" { // by the manager below
		main()
		return
	}
	os.Exit(m.Run())
}

func TestConnectionsSurviveUpgrades(t *testing.T) {
	const connections, upgrades = 1000, 5
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*connections+100 {
		t.Skipf("needs %d open files (%+v, %v)", 2*connections+100, limit, err)
	}
	program := filepath.Join(t.TempDir(), "client")
	if out, err := exec.Command("go", "build", "-o", program, "./client").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := newManager(t)
	m.startGeneration()

	client := exec.Command(program, "-connect", m.address, "-connections", fmt.Sprint(connections),
		"-upgrades", fmt.Sprint(upgrades), "-duration", patience.String())
	progress, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	client.Stderr = os.Stderr
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		buf := make([]byte, 4096)
		var text []byte
		for {
			n, err := progress.Read(buf)
			text = append(text, buf[:n]...)
			for line, rest, ok := bytes.Cut(text, []byte("\n")); ok; line, rest, ok = bytes.Cut(text, []byte("\n")) {
				t.Logf("client: %s", line)
				lines <- string(line)
				text = rest
			}
			if err != nil {
				return
			}
		}
	}()
	for line := range lines {
		if !strings.HasPrefix(line, "generation") || m.generation > upgrades {
			continue
		}
		m.stopGeneration()
		if len(m.store) != connections+1 {
			t.Errorf("generation %d stored %d fds", m.generation, len(m.store))
		}
		m.startGeneration()
		if len(m.store) != 0 {
			t.Errorf("generation %d left %d fds in the store", m.generation, len(m.store))
		}
	}
	if err := client.Wait(); err != nil {
		t.Errorf("client: %v", err)
	}
	m.stopGeneration()
}

// manager plays graceinit: it holds the listener and the store, and runs one generation after the other.
type manager struct {
	*testing.T
	address    string
	listener   *os.File
	socket     *net.UnixConn
	store      []stored
	ready      bool
	server     *exec.Cmd
	generation int
}

type stored struct {
	name string
	file *os.File
}

func newManager(t *testing.T) *manager {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		t.Fatalf("%T", l)
	}
	file, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: fmt.Sprintf("@fdstore-test-%d", os.Getpid()), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{T: t, address: l.Addr().String(), listener: file, socket: socket}
	t.Cleanup(func() {
		file.Close()
		_ = socket.Close()
		if m.server != nil {
			_ = m.server.Process.Kill()
			_ = m.server.Wait()
		}
	})
	return m
}

// startGeneration starts the next generation with the listener and the stored fds, and returns when it is ready.
func (m *manager) startGeneration() {
	m.Helper()
	m.generation++
	m.ready = false
	names := []string{"lines"}
	// LISTEN_PID is the pid after the exec. A child of a test cannot set it by itself.
	m.server = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	m.server.ExtraFiles = []*os.File{m.listener}
	for _, s := range m.store {
		names = append(names, s.name)
		m.server.ExtraFiles = append(m.server.ExtraFiles, s.file)
	}
	m.server.Env = append(os.Environ(), "FDSTORE_SERVES=1", "NOTIFY_SOCKET="+m.socket.LocalAddr().String(),
		fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	m.server.Stderr = os.Stderr
	if err := m.server.Start(); err != nil {
		m.Fatal(err)
	}
	for !m.ready {
		m.receive(patience)
	}
}

// stopGeneration asks the server to stop, and returns when it has, with its fds in the store.
func (m *manager) stopGeneration() {
	m.Helper()
	if err := m.server.Process.Signal(syscall.SIGTERM); err != nil {
		m.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- m.server.Wait() }()
	for {
		select {
		case err := <-exited:
			m.server = nil
			if err != nil {
				m.Fatalf("generation %d: %v", m.generation, err)
			}
			return
		default:
			m.receive(10 * time.Millisecond)
		}
	}
}

// receive does what one notification says, if one comes in time.
func (m *manager) receive(wait time.Duration) {
	m.Helper()
	text, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*253))
	if err := m.socket.SetReadDeadline(time.Now().Add(wait)); err != nil {
		m.Fatal(err)
	}
	n, oobn, _, _, err := m.socket.ReadMsgUnix(text, oob)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if wait == patience {
			m.Fatalf("generation %d says nothing", m.generation)
		}
		return
	}
	if err != nil {
		m.Fatal(err)
	}
	var files []*os.File
	if oobn > 0 {
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			m.Fatal(err)
		}
		for i := range messages {
			fds, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				m.Fatal(err)
			}
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "stored"))
			}
		}
	}
	variables := map[string]string{}
	for line := range strings.SplitSeq(string(text[:n]), "\n") {
		name, value, _ := strings.Cut(line, "=")
		variables[name] = value
	}
	name := variables["FDNAME"]
	switch {
	case variables["FDSTORE"] == "1":
		for _, f := range files {
			m.store = append(m.store, stored{name, f})
		}
		return
	case variables["FDSTOREREMOVE"] == "1":
		m.store = slices.DeleteFunc(m.store, func(s stored) bool {
			if s.name == name {
				s.file.Close()
			}
			return s.name == name
		})
	case variables["READY"] == "1":
		m.ready = true
	}
	for _, f := range files { // BARRIER=1
		f.Close()
	}
}
