package listen

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstFD is where sd_listen_fds(3) has the fds begin.
const firstFD = 3

// Inherited takes the fds that whoever started us passed by systemd's protocol (sd_listen_fds(3); Podman passes its own
// on, with LISTEN_PID=1). Its arguments are the values of LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES. Fds that are meant
// for another process are none of ours.
func Inherited(listenFDs, listenPID, listenFDNames string) ([]Listener, error) {
	return inherited(firstFD, listenFDs, listenPID, listenFDNames)
}

func inherited(first int, listenFDs, listenPID, listenFDNames string) ([]Listener, error) {
	if listenFDs == "" || listenPID != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.ParseUint(listenFDs, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_FDS=%.20s is not a number of fds", listenFDs)
	}
	names := make([]string, n)
	if listenFDNames != "" {
		if names = strings.Split(listenFDNames, ":"); len(names) != int(n) {
			return nil, fmt.Errorf("LISTEN_FDNAMES=%.100s has %d names for LISTEN_FDS=%d fds", listenFDNames, len(names), n)
		}
	}
	listeners := make([]Listener, n)
	for i := range listeners {
		l := Listener{FD: first + i}
		if names[i] != unknown {
			l.Name = names[i]
		}
		if l.Name != "" && !validName(l.Name) {
			return nil, fmt.Errorf("LISTEN_FDNAMES: %.100q is not a name (up to 255 printable ASCII characters without a colon)", l.Name)
		}
		if _, err := unix.FcntlInt(uintptr(l.FD), unix.F_GETFL, 0); err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%d promises fd %d, which cannot be used: %w", n, l.FD, err)
		}
		if l.URL, err = l.look(); err != nil {
			return nil, fmt.Errorf("cannot tell what fd %d of LISTEN_FDS is: %w", l.FD, err)
		}
		listeners[i] = l
	}
	for _, l := range listeners {
		unix.CloseOnExec(l.FD)
	}
	return listeners, nil
}
