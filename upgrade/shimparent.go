package upgrade

import (
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/internal/signals"
)

// parent starts the program as a child of the shim's. With Reparent the shim exits once the program has started,
// which makes the init its parent: foreground nginx ignores the upgrade signal for as long as it has the parent it
// started with. With Guard it stays. A program that ends is left to the init: it inherits zombies too.
func (s shim) parent(path string, args []string) error {
	var received *signals.Subscription
	if s.Guard {
		var err error
		if received, err = signals.Subscribe(); err != nil { // before there is an app that could signal
			return err
		}
	}
	inner := s
	inner.Reparent, inner.Guard, inner.Image = false, false, 0
	fds := make([]int, s.FDs)
	for i := range fds {
		fds[i] = 3 + i
	}
	app, err := inner.start(path, args, os.Environ(), fds, s.Image)
	if err != nil {
		return err
	}
	pid := app.PID
	_, _ = unix.Write(s.Result, []byte("pid "+strconv.Itoa(pid)))
	_ = unix.Close(s.Result)
	_ = s.restoreStderr()
	_ = unix.Close(s.Errors)
	for _, fd := range fds {
		_ = unix.Close(fd) // a listener that has lost its generations must not seem to live on here
	}
	if s.Guard {
		go received.Deliver()
		s.guard(pid, received.C)
		return nil
	}
	const atMost, step = 10 * time.Second, 5 * time.Millisecond
	for deadline := time.Now().Add(atMost); time.Now().Before(deadline) && s.parentNeeded(pid); {
		time.Sleep(step)
	}
	return nil
}

// guard stands between the init and a facebookgo/grace app. That app, once it serves on inherited sockets, sends its
// parent SIGTERM, unless that is PID 1; the init must not take this for its own. It is the app's word that it is
// ready, and is passed on as such.
func (s shim) guard(pid int, received <-chan signals.Signal) {
	go func() {
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if err != unix.EINTR {
				os.Exit(0)
			}
		}
	}()
	for sig := range received {
		if sig == signals.Signal(syscall.SIGTERM) {
			_ = notify.Send(os.Getenv("NOTIFY_SOCKET"), "READY=1")
			return
		}
	}
}

// parentNeeded reports whether the program lives and has not come so far that its parent may change.
func (s shim) parentNeeded(pid int) bool {
	p, err := procfs.Stat(pid)
	if err != nil || p.Dead() {
		return false
	}
	procfs.Inspect(&p)
	return p.SignalsErr == nil && !p.Caught.Has(s.ReparentUntil)
}
