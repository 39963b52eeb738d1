// Package testproc runs helper processes for tests: functions of the test binary, executed anew, and a PID
// namespace in which one of them is PID 1.
package testproc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helperEnv names the function that a re-executed test binary is to run.
const helperEnv = "GRACEINIT_TESTPROC"

// patience is how long a test waits for something that should happen at once; it only bounds failures.
const patience = 60 * time.Second

// Main runs the helper that this process was started for, if any, and exits with its result. Call it first
// in TestMain.
func Main(helpers map[string]func(args []string) int) {
	name := os.Getenv(helperEnv)
	if name == "" {
		return
	}
	if name == "namespace" {
		becomePID1(os.Args[1:])
	}
	helper, ok := helpers[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "testproc: no helper %q\n", name)
		os.Exit(99)
	}
	_ = os.Unsetenv(helperEnv)
	os.Exit(helper(os.Args[1:]))
}

// Self returns a command line that runs a helper, through env(1) since what starts it may be any program.
func Self(helper string, args ...string) []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{"/usr/bin/env", helperEnv + "=" + helper, exe}, args...)
}

// Init is a process under test that was started as an init.
type Init struct {
	Cmd    *exec.Cmd
	t      testing.TB
	stdin  io.WriteCloser
	stdout lines
	stderr lines
	done   chan struct{}
	state  *os.ProcessState
}

// Options say how to start it.
type Options struct {
	Args0 string   // argv[0], default graceinit
	Env   []string // added to the environment
	Ns    bool     // as PID 1 of a new PID namespace with its own /proc
	Setup func(*exec.Cmd)
}

// Start runs program with args. The process, and in a namespace everything in it, is killed when the test ends.
func Start(t testing.TB, o Options, program []string, args ...string) *Init {
	t.Helper()
	in := &Init{t: t, done: make(chan struct{})}
	argv := append(append([]string(nil), program...), args...)
	env := append(os.Environ(), o.Env...)
	if o.Ns {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		argv = append([]string{exe, o.Args0}, argv...)
		env = append(env, helperEnv+"=namespace")
	}
	in.Cmd = &exec.Cmd{Path: argv[0], Args: argv, Env: env, SysProcAttr: &syscall.SysProcAttr{}}
	if o.Ns {
		in.Cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
		if os.Getuid() != 0 {
			in.Cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			in.Cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			in.Cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
	} else {
		if o.Args0 != "" {
			in.Cmd.Args[0] = o.Args0
		}
		in.Cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	in.Cmd.Stdout, in.Cmd.Stderr = &in.stdout, &in.stderr
	in.Cmd.WaitDelay = time.Second // whoever still holds our pipes is no longer of interest
	if o.Setup != nil {
		o.Setup(in.Cmd)
	}
	if in.Cmd.Stdin == nil {
		in.stdin, _ = in.Cmd.StdinPipe()
	}
	start := in.Cmd.Start
	if o.Ns && Emulated() {
		start = in.startUnshared
	}
	if err := start(); err != nil {
		if o.Ns && errors.Is(err, syscall.EPERM) {
			t.Skipf("SKIPPED: PID namespaces are forbidden here: %v", err)
		}
		t.Fatalf("cannot start %q: %v", argv, err)
	}
	go func() {
		_ = in.Cmd.Wait()
		in.state = in.Cmd.ProcessState
		close(in.done)
	}()
	t.Cleanup(func() {
		killTree(in.Cmd.Process.Pid)
		select {
		case <-in.done:
		case <-time.After(patience):
			t.Error("the process under test cannot be killed")
		}
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", in.Stdout(), in.Stderr())
		}
	})
	return in
}

// killTree kills a process and its descendants, the ancestors first so that none of them starts another.
func killTree(pid int) {
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	children := Children(pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	for _, child := range children {
		killTree(child)
	}
}

// Children lists the children of a process.
func Children(pid int) []int {
	var list []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				list = append(list, child)
			}
		}
	}
	return list
}

// becomePID1 mounts a /proc for the new PID namespace and executes the program: argv[0], path, arguments.
func becomePID1(args []string) {
	_ = os.Unsetenv(helperEnv)
	name, argv := args[0], args[1:]
	err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
	)
	if err == nil {
		path := argv[0]
		if name != "" {
			argv[0] = name
		}
		err = syscall.Exec(path, argv, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "testproc: cannot become PID 1:", err)
	os.Exit(98)
}

// Signal sends a signal to the init.
func (in *Init) Signal(s syscall.Signal) {
	in.t.Helper()
	if err := in.Cmd.Process.Signal(s); err != nil {
		in.t.Fatalf("cannot send %v: %v", s, err)
	}
}

// Wait waits for the init's end and returns its exit code, 128+n after signal n.
func (in *Init) Wait() int {
	in.t.Helper()
	select {
	case <-in.done:
	case <-time.After(patience):
		in.t.Fatal("the init does not end")
	}
	if ws, ok := in.state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return in.state.ExitCode()
}

// Running reports whether the init still runs.
func (in *Init) Running() bool {
	select {
	case <-in.done:
		return false
	default:
		return true
	}
}

// CloseStdin tells helpers that wait for the end of their input.
func (in *Init) CloseStdin() { _ = in.stdin.Close() }

// Stdout returns what was printed so far.
func (in *Init) Stdout() string { return in.stdout.String() }

// Stderr returns the log so far.
func (in *Init) Stderr() string { return in.stderr.String() }

// Await waits until standard output contains the text, Log until the log does.
func (in *Init) Await(text string) {
	in.t.Helper()
	Until(in.t, fmt.Sprintf("%q on stdout", text), func() bool { return strings.Contains(in.Stdout(), text) })
}

// Log waits until the log contains the text.
func (in *Init) Log(text string) {
	in.t.Helper()
	Until(in.t, fmt.Sprintf("%q in the log", text), func() bool { return strings.Contains(in.Stderr(), text) })
}

// Field waits for a line of standard output that begins with the key and returns the rest of it.
func (in *Init) Field(key string) (value string) {
	in.t.Helper()
	Until(in.t, fmt.Sprintf("a line %q on stdout", key), func() bool {
		for line := range strings.Lines(in.Stdout()) {
			if rest, ok := strings.CutPrefix(line, key+" "); ok && strings.HasSuffix(rest, "\n") {
				value = strings.TrimSpace(rest)
				return true
			}
		}
		return false
	})
	return value
}

// Until polls a condition. The interval is no synchronisation, only how often the question is asked.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// Inside lists the processes in the init's PID namespace, the init included, by their state letter.
func (in *Init) Inside() map[int]byte {
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", in.Cmd.Process.Pid))
	if err != nil {
		return nil
	}
	found := map[int]byte{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		dir := filepath.Dir(stat)
		if theirs, err := os.Readlink(dir + "/ns/pid"); err != nil || theirs != ns {
			continue
		}
		line, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if i := bytes.LastIndexByte(line, ')'); i > 0 && len(line) > i+2 {
			found[pid] = line[i+2]
		}
	}
	return found
}

// lines collects output; it may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// AwaitEOF blocks until standard input ends: a helper's way to live as long as its test.
func AwaitEOF() { _, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin)) }
