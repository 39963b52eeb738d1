package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/test/container/fixtures/drain"
)

// This program is also the app, the bad successors, the helpers and what acts inside of the container: one of these
// names as its first argument makes it one.
const (
	roleApp    = "chaos-app"
	roleBad    = "chaos-bad:" // and its kind
	roleHelper = "chaos-helper"
	roleStage  = "chaos-stage"
	roleRaise  = "chaos-raise"
	roleFlood  = "chaos-flood"
	roleProc   = "chaos-proc"
	roleDeaf   = "chaos-deaf"
)

// rolesMain plays the role that this process was started for, and returns where there is none.
func rolesMain() {
	if len(os.Args) < 2 {
		return
	}
	var err error
	switch role := os.Args[1]; {
	case role == roleApp:
		err = beApp(os.Args[2:])
	case strings.HasPrefix(role, roleBad):
		err = beBad(strings.TrimPrefix(role, roleBad))
	case role == roleHelper:
		err = beHelper(os.Args[2])
	case role == roleStage:
		err = beStage(os.Args[2], os.Args[3:])
	case role == roleRaise:
		err = beRaiser(os.Args[2:])
	case role == roleFlood:
		err = beFlood(os.Args[2])
	case role == roleProc:
		err = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	case role == roleDeaf:
		signal.Ignore(syscall.SIGTERM)
		hang()
	default:
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beApp serves on the listener that it is passed, and drains on SIGTERM. It survives every signal that it can, so that
// what ends it is known.
func beApp(args []string) error {
	f := flag.NewFlagSet(roleApp, flag.ExitOnError)
	silent := f.Bool("silent", false, "do not say READY=1")
	watchdog := f.Bool("watchdog", false, "say WATCHDOG=1")
	code := f.Int("code", 0, "what to exit with when told to stop")
	name := f.String("name", "", "the `address` at which it shows that it is ready, less its pid")
	if err := f.Parse(args); err != nil {
		return err
	}
	all := make(chan os.Signal, 256)
	signal.Notify(all)
	for _, s := range beyondGo {
		if err := dispose(s, sigIgn); err != nil {
			return err
		}
	}
	runtime.GOMAXPROCS(2)
	l, err := listener()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", drain.Handler())
	mux.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("code"))
		os.Exit(n)
	})
	srv := drain.New(mux)
	served := make(chan struct{})
	go func() { _ = srv.Serve(l); close(served) }()
	shown, err := net.Listen("unix", *name+strconv.Itoa(os.Getpid()))
	if err != nil {
		return err
	}
	defer shown.Close()
	if !*silent {
		if err := notify("READY=1"); err != nil {
			return err
		}
	}
	var ping <-chan time.Time
	if *watchdog {
		ping = time.Tick(500 * time.Millisecond)
	}
	for {
		select {
		case <-ping:
			_ = notify("WATCHDOG=1") // the next one will do
		case s := <-all:
			if s == syscall.SIGABRT && *watchdog {
				os.Exit(128 + int(syscall.SIGABRT)) // what a shell would say of it; Go itself would exit with 2
			}
			if s != syscall.SIGTERM {
				continue
			}
			_ = l.Close()
			<-served
			srv.Drain()
			os.Exit(*code)
		}
	}
}

// hang waits for ever in a system call: Go takes a program whose goroutines all sleep for deadlocked.
func hang() {
	for {
		_ = unix.Pause()
	}
}

// beyondGo are the signals that os/signal neither hands out nor ignores: C libraries use them (signal(7), NPTL).
var beyondGo = []int{32, 33, 34}

const (
	sigDfl uintptr = iota
	sigIgn
)

// dispose sets a signal's disposition.
func dispose(s int, handler uintptr) error {
	action := [4]uintptr{handler} // struct kernel_sigaction
	const setSize = 8
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, setSize, 0, 0); errno != 0 {
		return fmt.Errorf("cannot set the disposition of signal %d: %w", s, errno)
	}
	return nil
}

func listener() (net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		return nil, errors.New("no listener was passed")
	}
	file := os.NewFile(3, "listener")
	defer file.Close() // FileListener makes a copy
	return net.FileListener(file)
}

// notify is sd_notify(3).
func notify(text string) error {
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(text))
	return err
}

// beBad is a successor that goes wrong in one of the ways of badSuccessors.
func beBad(kind string) error {
	name, arg, _ := strings.Cut(kind, "-")
	n, _ := strconv.Atoi(arg)
	switch name {
	case "exits":
		os.Exit(n)
	case "crashes":
		signal.Reset(syscall.Signal(n))
		if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
			return err
		}
		_ = unix.Kill(os.Getpid(), syscall.Signal(n))
		hang()
	case "hangs": // and will not end when it is told to
		signal.Ignore(syscall.SIGTERM)
		hang()
	case "silent":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
	case "closes":
		_ = syscall.Close(3)
		hang()
	case "garbage":
		for _, text := range []string{"READY", "=1", "MAINPID=1", "MAINPID=99999", "MAINPID=-1", "WATCHDOG_USEC=0", "EXTEND_TIMEOUT_USEC=99999999999999999999",
			"FDSTORE=1", "BARRIER=1", "ERRNO=abc", "STATUS=\xff\xfe\x1b[2J", strings.Repeat("A=B\n", 1000), "\x00\x00"} {
			_ = notify(text) // the larger ones may be refused
		}
		os.Exit(n)
	case "leaves": // a child that holds the listener
		child := exec.Command("/bin/sleep", "2")
		child.Stdout = os.NewFile(3, "listener")
		if err := child.Start(); err != nil {
			return err
		}
		os.Exit(n)
	case "dies": // it serves, says so, and dies in its probation; not earlier, by a signal that is passed on
		signal.Notify(make(chan os.Signal, 1))
		for _, s := range beyondGo {
			if err := dispose(s, sigIgn); err != nil {
				return err
			}
		}
		l, err := listener()
		if err != nil {
			return err
		}
		go func() { _ = http.Serve(l, drain.Handler()) }()
		if err := notify("READY=1"); err != nil {
			return err
		}
		time.Sleep(time.Duration(100+n) * time.Millisecond)
		os.Exit(n)
	}
	return fmt.Errorf("unknown kind %q", kind)
}

// beHelper is the command of --check, which passes after a while, and of --ready, which asks the generation itself.
func beHelper(name string) error {
	if name == "check" {
		time.Sleep(150 * time.Millisecond)
		return nil
	}
	c, err := net.Dial("unix", name+os.Getenv("GRACEINIT_PID"))
	if err != nil {
		os.Exit(1) // without a word: standard error may be one that nobody reads
	}
	return c.Close()
}

// stage is what PID 1 does before it executes the init.
type stage struct {
	Small   string   // directory for a file system of smallSize
	LogDisk string   // likewise, for a log: it fills that by itself
	CGroups []string // to enter
	Stderr  string

	TerminationLog string // a file to be made: graceinit writes only to one that is there, as the kubelet makes it
}

const smallSize = "96k"

func beStage(config string, command []string) error {
	var s stage
	if err := json.Unmarshal([]byte(config), &s); err != nil {
		return err
	}
	for dir, size := range map[string]string{s.Small: smallSize, s.LogDisk: smallSize, "/dev/shm": "1m"} {
		if err := unix.Mount("chaos", dir, "tmpfs", 0, "mode=1777,size="+size); err != nil {
			return fmt.Errorf("cannot mount a tmpfs at %s: %w", dir, err)
		}
	}
	if err := os.WriteFile(s.TerminationLog, nil, 0o666); err != nil {
		return fmt.Errorf("cannot make the termination log: %w", err)
	}
	for _, dir := range s.CGroups {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("cannot enter the cgroup: %w", err)
		}
	}
	switch s.Stderr {
	case stderrClosed:
		_ = syscall.Close(2)
	case stderrFile:
		fd, err := syscall.Open(filepath.Join(s.LogDisk, "log"), syscall.O_CREAT|syscall.O_WRONLY|syscall.O_APPEND, 0o666)
		if err != nil {
			return fmt.Errorf("cannot open the log: %w", err)
		}
		if err := unix.Dup2(fd, 2); err != nil {
			return err
		}
		_ = syscall.Close(fd)
	}
	// nohup(1) and a shell's & ignore signals by which successors are to crash, and the app would inherit that.
	for _, s := range []int{int(syscall.SIGHUP), int(syscall.SIGINT), int(syscall.SIGQUIT)} {
		if err := dispose(s, sigDfl); err != nil {
			return err
		}
	}
	return syscall.Exec(command[0], command, os.Environ())
}

// beRaiser sends PID 1 the signals, from inside of its namespace.
func beRaiser(numbers []string) error {
	for _, s := range numbers {
		n, err := strconv.Atoi(s)
		if err != nil {
			return err
		}
		if err := syscall.Kill(1, syscall.Signal(n)); err != nil && !errors.Is(err, syscall.EAGAIN) {
			return fmt.Errorf("cannot send signal %d: %w", n, err)
		}
	}
	return nil
}

// beFlood holds thousands of connections to the control socket, some with half a request, some that asked to watch and do
// not read.
func beFlood(address string) error {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 8192, Max: 8192}); err != nil {
		return err
	}
	sent, failed := 0, 0
	for i := range 4000 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != nil {
			_ = unix.Close(fd)
			failed++
			continue // the queue is full, as it should be
		}
		text := [...]string{"", `{"op":`, `{"op":"watch"}` + "\n", `{"op":"status"}` + "\n"}[i%4]
		_ = unix.Sendto(fd, []byte(text), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil) // it may be closed already
		sent++
	}
	fmt.Printf("sent %d\n", sent)
	time.Sleep(time.Second)
	return nil
}
