package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/demo/proc"
)

// server is an app that graceinit upgrades. It knows nothing of upgrades: it takes the listener it is passed, answers
// with its pid, and stops on SIGTERM.
type server struct {
	name    string
	command func(address string) []string
}

// servers are those of the container tests, with their fixtures.
func servers(fixtures, plaingo string) []server {
	fixed := func(args ...string) func(string) []string { return func(string) []string { return args } }
	return []server{
		{"Go", fixed(plaingo, "-ready")},
		{"Python", fixed("/usr/bin/python3", filepath.Join(fixtures, "plain.py"))},
		{"Node", fixed("node", filepath.Join(fixtures, "plain.js"))},
		{"puma", func(address string) []string {
			// It takes the listener whose address it is told. Its gem sd_notify knows no abstract sockets.
			return []string{"env", "-u", "NOTIFY_SOCKET", "puma", "--config", "-", "--bind", "tcp://" + address, filepath.Join(fixtures, "config.ru")}
		}},
		{"gunicorn", fixed("gunicorn", "--workers", "1", "--worker-class", "gthread", "--threads", "8", "--chdir", fixtures, "app:application")},
	}
}

// delay is how long clients wait for a server that has just been started.
type delay struct {
	Server  string    `json:"server"`
	Exec    []float64 `json:"exec_to_first_answer_ms"`
	Upgrade []float64 `json:"upgrade_signal_to_first_answer_ms"`
}

// allowed is how much longer an upgrade may take than the app's own start, in milliseconds.
func (d delay) allowed() float64 { return max(median(d.Exec)/10, 20) }

func (d delay) added() float64 { return median(d.Upgrade) - median(d.Exec) }

// upgrades measures in turns how long each server takes from its exec to its first answer, and from the upgrade signal
// to the first answer of a successor.
func (m *measurement) upgrades(graceinit, root string) error {
	tmp, err := os.MkdirTemp("", "graceinit-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	plaingo := filepath.Join(tmp, "plaingo")
	build := exec.CommandContext(m.ctx, "go", "build", "-o", plaingo, "./fixtures/plaingo")
	build.Dir = filepath.Join(root, "test", "container")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the Go server: %w: %s", err, out)
	}
	for _, s := range servers(filepath.Join(root, "test", "container", "fixtures", "conf"), plaingo) {
		if missing := lacks(s.command("127.0.0.1:1")); missing != "" {
			fmt.Printf("%s is not installed; %s is left out\n", missing, s.name)
			continue
		}
		d := delay{Server: s.name}
		for range m.o.upgrades {
			took, err := m.execToAnswer(s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			d.Exec = append(d.Exec, took)
			if took, err = m.signalToAnswer(graceinit, s); err != nil {
				return fmt.Errorf("%s under graceinit: %w", s.name, err)
			}
			d.Upgrade = append(d.Upgrade, took)
		}
		m.delays = append(m.delays, d)
	}
	return nil
}

// lacks names a program of a command line that is not there.
func lacks(args []string) string {
	if args[0] == "env" {
		args = args[3:]
	}
	if _, err := exec.LookPath(args[0]); err != nil {
		return args[0]
	}
	return ""
}

// execToAnswer starts a server as systemd would. A client waits for it already.
func (m *measurement) execToAnswer(s server) (float64, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return 0, fmt.Errorf("%T is no TCP listener", l)
	}
	fd, err := tcp.File()
	if err != nil {
		return 0, err
	}
	defer fd.Close()
	// What it says of itself is read by nobody, but can be said.
	notify := fmt.Sprintf("@graceinit-bench-%d", os.Getpid())
	listener, err := net.ListenPacket("unixgram", notify)
	if err != nil {
		return 0, err
	}
	defer func() { _ = listener.Close() }()
	address := l.Addr().String()
	answered := make(chan error, 1)
	conn, err := m.dial(address)
	if err != nil {
		return 0, err
	}
	go func() { _, err := ask(conn); answered <- err }()

	// LISTEN_PID is the server's own pid (sd_listen_fds(3)): a shell sets it and becomes the server.
	cmd := exec.CommandContext(m.ctx, "/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, s.command(address)...)...)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "NOTIFY_SOCKET="+notify)
	cmd.ExtraFiles = []*os.File{fd}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = <-answered
	took := time.Since(began)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait() // some end with 0, and some by the signal
	return micro(took) / 1000, err
}

// signalToAnswer upgrades a server once. As before, a client waits already: the predecessor, which would answer it at
// once, is held still meanwhile.
func (m *measurement) signalToAnswer(graceinit string, s server) (float64, error) {
	address, err := freeAddress()
	if err != nil {
		return 0, err
	}
	done := newAwaited("upgrade done")
	args := []string{graceinit, "--listen", "tcp://" + address, "--settle", "300ms", "--probation", "0s", "--"}
	n, err := pidns.Start(pidns.Command{Args: append(args, s.command(address)...), Stderr: done, Stdout: io.Discard})
	if err != nil {
		return 0, err
	}
	defer n.Kill()
	conn, err := m.dial(address)
	if err != nil {
		return 0, err
	}
	old, err := ask(conn)
	if err != nil {
		return 0, err
	}
	if err := m.pass(500 * time.Millisecond); err != nil { // its start is over: its threads wait for work
		return 0, err
	}
	predecessor, err := below(n.PID)
	if err != nil {
		return 0, err
	}
	kill(predecessor, syscall.SIGSTOP)
	for !stopped(predecessor) {
		if err := m.pass(time.Millisecond); err != nil {
			return 0, err
		}
	}
	if conn, err = m.dial(address); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := n.Signal(syscall.SIGUSR2); err != nil {
		return 0, err
	}
	pid, err := ask(conn)
	took := time.Since(began)
	kill(predecessor, syscall.SIGCONT)
	if err != nil || pid == old {
		return 0, errors.Join(fmt.Errorf("the answer came from %q, the predecessor is %s", pid, old), err)
	}
	select {
	case <-done.seen:
	case <-time.After(limit):
		return 0, errors.New("the upgrade does not end")
	}
	return micro(took) / 1000, nil
}

// dial connects as soon as graceinit listens. The connection ends after a while, and with the measurement.
func (m *measurement) dial(address string) (net.Conn, error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			context.AfterFunc(m.ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
			return conn, conn.SetDeadline(time.Now().Add(limit))
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		if err := m.pass(time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// below lists the descendants of a process.
func below(pid int) ([]int, error) {
	all, err := proc.List("/proc")
	if err != nil {
		return nil, err
	}
	found := []int{pid}
	for i := 0; i < len(found); i++ {
		for _, p := range all {
			if p.PPID == found[i] {
				found = append(found, p.PID)
			}
		}
	}
	return found[1:], nil
}

// stopped reports whether no thread of the processes runs any more.
func stopped(pids []int) bool {
	for _, pid := range pids {
		threads, err := proc.List(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			continue // it has gone
		}
		for _, t := range threads {
			if t.State != 'T' {
				return false
			}
		}
	}
	return true
}

func kill(pids []int, sig syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig) // one that has gone takes no connection either
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

var pidIn = regexp.MustCompile(`pid (\d+)`)

// ask sends a request and returns the pid in its answer. The connection ends with it.
func ask(conn net.Conn) (string, error) {
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	found := pidIn.FindSubmatch(body)
	if found == nil {
		return "", fmt.Errorf("no pid in %.80q", body)
	}
	return string(found[1]), nil
}

// awaited is written to until a text has come.
type awaited struct {
	text string
	seen chan struct{}

	mu   sync.Mutex
	said strings.Builder
	once sync.Once
}

func newAwaited(text string) *awaited { return &awaited{text: text, seen: make(chan struct{})} }

func (a *awaited) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said.Write(b)
	if strings.Contains(a.said.String(), a.text) {
		a.once.Do(func() { close(a.seen) })
	}
	return len(b), nil
}
