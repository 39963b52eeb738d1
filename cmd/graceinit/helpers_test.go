package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/internal/testproc"
	"github.com/graceinit/graceinit/upgrade"
)

func TestMain(m *testing.M) {
	if upgrade.ShimRequested() {
		upgrade.RunShim()
	}
	testproc.Main(map[string]func([]string) int{
		"init":      helperInit,
		"signals":   helperSignals,
		"writer":    helperWriter,
		"orphans":   helperOrphans,
		"blocked":   helperBlocked,
		"litter":    helperLitter,
		"kids":      helperKids,
		"state":     helperState,
		"server":    helperServer,
		"activated": helperActivated,
		"keeper":    helperKeeper,
		"stuck":     helperStuck,
	})
	os.Exit(m.Run())
}

// initProgram is what the tests start as the init: the binary named in GRACEINIT_BIN, or this test binary,
// which then is an init with the race detector in it.
func initProgram() []string {
	if bin := os.Getenv("GRACEINIT_BIN"); bin != "" {
		return []string{bin}
	}
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return []string{exe}
}

// released reports whether the tests run against a release build.
func released() bool { return os.Getenv("GRACEINIT_BIN") != "" }

// start runs the init with flags and a command.
func start(t testing.TB, o testproc.Options, flags []string, command ...string) *testproc.Init {
	t.Helper()
	if !o.Ns {
		testproc.Subreaper(t)
	}
	args := append(append([]string(nil), flags...), "--")
	if !released() {
		o.Env = append(o.Env, "GRACEINIT_TESTPROC=init", "GRACEINIT_TEST_ARGV0="+o.Args0)
		if o.Ns { // the namespace helper goes first
			return testproc.Start(t, o, []string{"/usr/bin/env", "GRACEINIT_TESTPROC=init", initProgram()[0]}, append(args, command...)...)
		}
	}
	return testproc.Start(t, o, initProgram(), append(args, command...)...)
}

// helperInit is the init itself.
func helperInit(args []string) int {
	name := os.Getenv("GRACEINIT_TEST_ARGV0")
	_ = os.Unsetenv("GRACEINIT_TEST_ARGV0")
	if name == "" {
		name = "graceinit"
	}
	os.Args = append([]string{name}, args...)
	main()
	return 0
}

// helperWriter writes to a socket whose other end is closed, as the init does where a client has gone, and prints the
// signals that it gets.
func helperWriter([]string) int {
	received, err := signals.Subscribe()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go received.Deliver()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_ = unix.Close(pair[1])
	_, err = unix.Write(pair[0], []byte("to nobody"))
	fmt.Println("wrote:", err)
	for s := range received.C {
		fmt.Println("got", s)
	}
	return 0
}

// helperSignals prints the name of each signal that it gets. With a number it first leaves so many orphans.
func helperSignals(args []string) int {
	received, err := signals.Subscribe()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go received.Deliver()
	fmt.Println("ready")
	go func() {
		if len(args) > 0 {
			n, _ := strconv.Atoi(args[0])
			leaveOrphans(n)
		}
		testproc.AwaitEOF()
		fmt.Println("eof")
		os.Exit(0)
	}()
	for s := range received.C {
		fmt.Println("got", s)
	}
	return 0
}

// helperOrphans leaves n orphans behind, all at once, and prints "left" when they are orphans.
func helperOrphans(args []string) int {
	n, _ := strconv.Atoi(args[0])
	leaveOrphans(n)
	testproc.AwaitEOF()
	return 0
}

func leaveOrphans(n int) {
	const batch = 500 // below the pid limit, above what an init could reap one at a time
	for ; n > 0; n -= batch {
		litter := testproc.Self("litter", strconv.Itoa(min(n, batch)))
		if err := exec.Command(litter[0], litter[1:]...).Run(); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("left")
}

// helperBlocked executes the rest of its arguments with SIGUSR1, SIGTERM, SIGCHLD and SIGPROF blocked.
func helperBlocked(args []string) int {
	runtime.LockOSThread()
	if err := signals.Block(syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGCHLD, syscall.SIGPROF); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(syscall.Exec(args[0], args, os.Environ()))
	return 1
}

// helperLitter starts n processes and exits without waiting for any.
func helperLitter(args []string) int {
	n, _ := strconv.Atoi(args[0])
	for range n {
		if _, err := syscall.ForkExec("/bin/true", []string{"true"}, nil); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return 0
}

// helperKids starts n children of its own, one at a time, and checks every exit code.
func helperKids(args []string) int {
	n, _ := strconv.Atoi(args[0])
	for i := range n {
		err := exec.Command("/bin/sh", "-c", "exit "+strconv.Itoa(i%256)).Run()
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			fmt.Println(err)
			return 1
		}
		if code != i%256 {
			fmt.Printf("child %d: exit code %d\n", i, code)
			return 1
		}
	}
	fmt.Println("none lost")
	return 0
}

// helperState prints what a process finds when it is started.
func helperState([]string) int {
	in := signals.ReadInherited()
	fmt.Printf("pid %d\nppid %d\npgrp %d\n", os.Getpid(), os.Getppid(), unix.Getpgrp())
	sid, _ := unix.Getsid(0)
	fmt.Printf("sid %d\nlisten_pid %s\nnotify %s\n", sid, os.Getenv("LISTEN_PID"), os.Getenv("NOTIFY_SOCKET"))
	fg, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	fmt.Printf("foreground %d %v\nignored %x\nblocked %x\n", fg, err, uint64(in.Ignored), uint64(in.Mask))
	fmt.Println("state printed")
	testproc.AwaitEOF()
	return 0
}

// helperStuck ignores what it can.
func helperStuck([]string) int {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	c := make(chan os.Signal, 9)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("stuck")
	for range c {
		fmt.Println("got SIGTERM")
	}
	return 0
}

// helperServer is a server that upgrades itself, in the ways that the servers of this world do:
//
//	hands-over  the successor sends SIGTERM to its parent, unless that is PID 1 (facebookgo/grace)
//	waits       the predecessor serves on until it gets SIGQUIT (nginx)
//	crashes     the successor dies at once
//	stuck       as hands-over, but the predecessor never ends its drain
//
// It answers every connection with its pid. SIGTERM and SIGQUIT make it drain: it stops listening, finishes
// the connections it has, and exits.
func helperServer(args []string) int {
	kind := args[0]
	isSuccessor := os.Getenv("TEST_LISTENER") != ""
	var l net.Listener
	var err error
	if isSuccessor {
		if kind == "crashes" {
			fmt.Println("successor crashed")
			return 3
		}
		l, err = net.FileListener(os.NewFile(3, "listener"))
	} else {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c := make(chan os.Signal, 9)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR2)
	open := connections{make(chan struct{}, 1000)}
	go open.serve(l)
	fmt.Printf("serving %d\naddress %s\n", os.Getpid(), l.Addr())
	if isSuccessor && kind != "waits" && os.Getppid() != 1 {
		_ = syscall.Kill(os.Getppid(), syscall.SIGTERM)
	}
	for s := range c {
		fmt.Printf("%d got %v\n", os.Getpid(), s)
		switch s {
		case syscall.SIGUSR2:
			if err := startSuccessor(l, kind); err != nil {
				fmt.Println(err)
			}
		case syscall.SIGTERM, syscall.SIGQUIT:
			_ = l.Close()
			if kind == "stuck" {
				continue
			}
			open.wait()
			fmt.Printf("%d drained\n", os.Getpid())
			return 0
		}
	}
	return 0
}

// startSuccessor starts the next generation with the listener at fd 3. It takes the fd itself: File and Fd
// would make it blocking for both generations, and an accept(2) that blocks survives Close.
func startSuccessor(l net.Listener, kind string) error {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("%T has no fd", l)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	self := testproc.Self("server", kind)
	var startErr error
	err = raw.Control(func(fd uintptr) {
		pid, err := syscall.ForkExec(self[0], self, &syscall.ProcAttr{
			Env: append(os.Environ(), "TEST_LISTENER=3"), Files: []uintptr{0, 1, 2, fd}})
		if startErr = err; err == nil {
			go func() { _, _ = syscall.Wait4(pid, nil, 0, nil) }()
		}
	})
	return errors.Join(err, startErr)
}

// connections counts what is open. A connection says its server's pid and ends when its client has closed it.
type connections struct{ open chan struct{} }

func (c *connections) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		c.open <- struct{}{}
		go func() {
			fmt.Fprintf(conn, "%d\n", os.Getpid())
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
			<-c.open
		}()
	}
}

func (c *connections) wait() {
	for len(c.open) > 0 {
		time.Sleep(time.Millisecond) // the helper's own drain, not a test's barrier
	}
}

// dial connects to the server and returns the connection and the pid that answered.
func dial(t *testing.T, address string) (net.Conn, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("a request failed: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 32)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatalf("a request failed: %v", err)
	}
	return conn, strings.TrimSpace(string(buf[:n]))
}

// cmdOnTerminal makes the terminal the standard input and the controlling terminal of a session of its own.
func cmdOnTerminal(slave *os.File) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.Stdin = slave
		cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty, cmd.SysProcAttr.Ctty = true, true, 0
	}
}
