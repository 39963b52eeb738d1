package upgrades

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/demo/proc"
)

// orders are what an operator does on SIGUSR2. It is PID 1 where no init is measured: it reaps, never exits, and does by
// hand what the way of upgrading wants done.
type orders struct {
	Start  []string       // the app
	Listen []string       // the addresses that it is passed, where the operator holds the listeners
	Signal syscall.Signal // what upgrades the app, where it upgrades itself
	// PIDFile is nginx's: USR2 goes to the pid in it, and QUIT when the successor has lived for Settle.
	PIDFile string
	Settle  time.Duration
	// Notify is where the app says READY=1. With it, the operator starts a successor and then sends SIGTERM to the predecessor.
	Notify string
}

type operator struct {
	orders
	fds    []uintptr // of the listeners
	notify *net.UnixConn
	main   int
}

func operate(argument string) error {
	var o operator
	if err := json.Unmarshal([]byte(argument), &o.orders); err != nil {
		return err
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGUSR2, syscall.SIGCHLD)
	if err := o.open(); err != nil {
		return err
	}
	var err error
	if o.main, err = o.start(); err != nil {
		return err
	}
	for s := range signals {
		if s == syscall.SIGCHLD {
			reap()
			continue
		}
		if err := o.upgrade(); err != nil {
			fmt.Fprintf(os.Stderr, "operator: cannot upgrade: %v\n", err)
		}
	}
	return nil
}

func (o *operator) open() error {
	for _, address := range o.Listen {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		fd, err := duplicate(l)
		if err != nil {
			return err
		}
		o.fds = append(o.fds, uintptr(fd))
	}
	if o.Notify == "" {
		return nil
	}
	var err error
	o.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: o.Notify, Net: "unixgram"})
	return err
}

func (o *operator) start() (int, error) {
	env := os.Environ()
	if o.Notify != "" {
		env = append(env, "NOTIFY_SOCKET="+o.Notify)
	}
	if len(o.fds) > 0 {
		env = append(env, "LISTEN_FDS="+strconv.Itoa(len(o.fds)))
	}
	pid, err := syscall.ForkExec(o.Start[0], o.Start, &syscall.ProcAttr{Env: env, Files: append([]uintptr{0, 1, 2}, o.fds...)})
	if err == nil && o.notify != nil {
		_, err = o.notify.Read(make([]byte, 256))
	}
	return pid, err
}

// duplicate copies the fd of a listener. Not by TCPListener.File: os/exec would make such a file a blocking one, and with it
// the listener of every process that shares it. A predecessor would then wait in accept(2), and not stop.
func duplicate(l net.Listener) (fd int, err error) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return -1, fmt.Errorf("%T is no TCP listener", l)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, err
	}
	if cerr := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return -1, cerr
	}
	return fd, err
}

func (o *operator) upgrade() error {
	switch {
	case o.PIDFile != "":
		return o.upgradeNginx()
	case o.Notify != "":
		old := o.main
		var err error
		if o.main, err = o.start(); err != nil {
			return err
		}
		return syscall.Kill(old, syscall.SIGTERM)
	}
	return syscall.Kill(o.main, o.Signal)
}

// upgradeNginx is what nginx's documentation says: USR2, and QUIT to the old master when the new one serves.
func (o *operator) upgradeNginx() error {
	old, err := readPID(o.PIDFile)
	if err != nil {
		return err
	}
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		return err
	}
	for {
		if pid, err := readPID(o.PIDFile); err == nil && pid != old && hasChildren(pid) {
			break
		}
		time.Sleep(time.Millisecond) // a script would, and longer
	}
	time.Sleep(o.Settle)
	return syscall.Kill(old, syscall.SIGQUIT)
}

func readPID(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func hasChildren(pid int) bool {
	all, err := proc.List("/proc")
	if err != nil {
		return false
	}
	for _, p := range all {
		if p.PPID == pid {
			return true
		}
	}
	return false
}

func reap() {
	for {
		var status syscall.WaitStatus
		if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); pid <= 0 && err != syscall.EINTR {
			return
		}
	}
}
