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
	files  []*os.File
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
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			return fmt.Errorf("%T is no TCP listener", l)
		}
		f, err := tcp.File()
		if err != nil {
			return err
		}
		o.files = append(o.files, f)
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
	if len(o.files) > 0 {
		env = append(env, "LISTEN_FDS="+strconv.Itoa(len(o.files)))
	}
	p, err := os.StartProcess(o.Start[0], o.Start, &os.ProcAttr{Env: env, Files: append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, o.files...)})
	if err != nil {
		return 0, err
	}
	defer func() { _ = p.Release() }() // reap does the rest
	if o.notify != nil {
		_, err = o.notify.Read(make([]byte, 256))
	}
	return p.Pid, err
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
