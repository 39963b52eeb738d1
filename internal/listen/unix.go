package listen

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/account"
)

func (s Spec) bindUnix(fd int) error {
	sockaddr := &unix.SockaddrUnix{Name: s.path} // @ becomes the zero byte of an abstract name
	if s.path[0] == '@' {
		return unix.Bind(fd, sockaddr)
	}
	uid, gid, err := s.ownerIDs()
	if err != nil {
		return err
	}
	if s.mode >= 0 {
		// The file gets the socket's mode, less the umask (net/unix/af_unix.c, unix_bind_bsd). Nothing else of us creates
		// files now: listeners are opened before anything starts.
		if err := unix.Fchmod(fd, uint32(s.mode)); err != nil {
			return err
		}
		defer unix.Umask(unix.Umask(0))
	}
	err = unix.Bind(fd, sockaddr)
	if errors.Is(err, unix.EADDRINUSE) {
		if err = s.removeStale(); err == nil {
			err = unix.Bind(fd, sockaddr)
		}
	}
	if err == nil && s.owner != "" {
		if err := unix.Lchown(s.path, uid, gid); err != nil {
			return fmt.Errorf("cannot give it to %s (needs CAP_CHOWN): %w", s.owner, err)
		}
	}
	return err
}

// ownerIDs are -1 where nothing is to be changed, as chown(2) has it.
func (s Spec) ownerIDs() (uid, gid int, err error) {
	uid, gid = -1, -1
	user, group, _ := strings.Cut(s.owner, ":")
	if user != "" {
		u, err := account.LookupUser(user)
		if err != nil {
			return -1, -1, err
		}
		uid = u.UID
	}
	if group != "" {
		if gid, err = account.LookupGroup(group); err != nil {
			return -1, -1, err
		}
	}
	return uid, gid, nil
}

// removeStale removes the socket file that is in the way, if nobody listens on it: what has been left by a container
// that was killed, on a volume.
func (s Spec) removeStale() error {
	var st unix.Stat_t
	if err := unix.Lstat(s.path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("the file exists and is not a socket; remove it, or choose another path")
	}
	fd, err := unix.Socket(unix.AF_UNIX, s.kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: s.path}); {
	case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EPROTOTYPE): // the backlog is full; another kind of socket
		return fmt.Errorf("%w: a process listens on it", unix.EADDRINUSE)
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("the socket exists, and whether a process listens on it cannot be found out (connect: %w); remove it if not", err)
	}
	return unix.Unlink(s.path)
}

// zoneID is the number of the interface that an IPv6 address is scoped to: %eth0 or %2.
func zoneID(fd int, zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	request, err := unix.NewIfreq(zone)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request) // netdevice(7)
	}
	if err != nil {
		return 0, fmt.Errorf("interface %q: %w", zone, err)
	}
	return request.Uint32(), nil
}
