package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/control"
)

// notifyCommand sends what sd_notify(3) would, for apps that are scripts.
func notifyCommand(a *commands.Args) int {
	timeout := 5 * time.Second
	if text := a.Value("timeout"); text != "" {
		var err error
		if timeout, err = time.ParseDuration(text); err != nil || timeout <= 0 {
			return usageError(a.Command, fmt.Errorf("--timeout %q is not a duration (like 500ms or 5s)", text))
		}
	}
	for _, operand := range a.Operands {
		if !strings.Contains(operand, "=") {
			return usageError(a.Command, fmt.Errorf("%q is not NAME=VALUE", operand))
		}
	}
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		complain(a.Command, errors.New("NOTIFY_SOCKET is not set: no init listens, or upgrades are off"))
		return control.CodeNoInit
	}
	if err := notifyAndWait(socket, strings.Join(a.Operands, "\n"), timeout); err != nil {
		complain(a.Command, fmt.Errorf("cannot notify %s: %w", socket, err))
		return codeError
	}
	return 0
}

// notifyAndWait sends the text and lives on until it was heard: whoever hears it wants to look at its sender, to
// see that this is one of the app's processes. For that it sends a BARRIER=1, as sd_notify_barrier(3) does,
// with the end of a pipe which the receiver closes when all that came before is done.
func notifyAndWait(socket, text string, timeout time.Duration) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	waiting, barrier, err := os.Pipe()
	if err != nil {
		return err
	}
	defer waiting.Close()
	// A receiver whose queue is full must not keep us for longer than was asked for.
	limit := unix.NsecToTimeval(int64(timeout))
	to := &unix.SockaddrUnix{Name: socket}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	if err == nil {
		err = unix.Sendto(fd, []byte(text), unix.MSG_NOSIGNAL, to)
	}
	if err == nil {
		err = unix.Sendmsg(fd, []byte("BARRIER=1"), unix.UnixRights(int(barrier.Fd())), to, unix.MSG_NOSIGNAL)
	}
	barrier.Close()
	if err != nil {
		return err
	}
	_ = waiting.SetReadDeadline(time.Now().Add(timeout))
	_, err = waiting.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("it was not heard within %s", timeout)
	}
	return nil // the end of the pipe
}
