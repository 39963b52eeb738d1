package upgrades

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// holding is a helper's share of the open idle connections.
type holding struct {
	Servers []netip.AddrPort
	Source  netip.Addr // the first of its source addresses
	Count   int
}

// ends is what has become of idle connections.
type ends struct{ Open, Closed, Reset int }

const (
	mostHeld  = 15_000 // by one helper: a process may have 20,000 files open in many places
	perSource = 5_000  // connections from one source address
)

// idlers are open idle keep-alive connections, each of which has had one request answered. They are held by processes
// of their own, out of the way of the requests that are measured.
type idlers struct {
	helpers []*exec.Cmd
	in      []io.WriteCloser
	out     []*bufio.Reader
}

func openIdle(servers []netip.AddrPort, n int) (*idlers, error) {
	held := &idlers{}
	source := netip.AddrFrom4([4]byte{127, 200, 0, 1})
	for left := n; left > 0; left -= mostHeld {
		if err := held.start(holding{Servers: servers, Source: source, Count: min(left, mostHeld)}); err != nil {
			held.close()
			return nil, err
		}
		b := source.As4()
		b[1]++
		source = netip.AddrFrom4(b)
	}
	for _, out := range held.out {
		if _, err := out.ReadString('\n'); err != nil {
			held.close()
			return nil, fmt.Errorf("cannot open %d connections: %w", n, err)
		}
	}
	return held, nil
}

func (i *idlers) start(h holding) error {
	cmd, err := self(holderName, h)
	if err != nil {
		return err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	i.helpers, i.in, i.out = append(i.helpers, cmd), append(i.in, in), append(i.out, bufio.NewReader(out))
	return nil
}

// look tells what has become of the connections so far.
func (i *idlers) look() (sum ends, err error) {
	for n := range i.helpers {
		if _, err := io.WriteString(i.in[n], "look\n"); err != nil {
			return sum, err
		}
		line, err := i.out[n].ReadBytes('\n')
		if err != nil {
			return sum, err
		}
		var e ends
		if err := json.Unmarshal(line, &e); err != nil {
			return sum, err
		}
		sum.Open, sum.Closed, sum.Reset = sum.Open+e.Open, sum.Closed+e.Closed, sum.Reset+e.Reset
	}
	return sum, nil
}

func (i *idlers) close() {
	for n, cmd := range i.helpers {
		_ = i.in[n].Close()
		_ = cmd.Wait() // its end is all that is wanted
	}
}

// hold is the helper. The connections are plain file descriptors: nothing is to happen in it when the server closes them.
func hold(argument string) error {
	var h holding
	if err := json.Unmarshal([]byte(argument), &h); err != nil {
		return err
	}
	if _, err := raiseFiles(); err != nil {
		return err
	}
	fds := make([]int, h.Count)
	failed := make([]error, 16)
	var wg sync.WaitGroup
	for w := range failed {
		wg.Go(func() {
			for i := w; i < h.Count && failed[w] == nil; i += len(failed) {
				fds[i], failed[w] = h.open(i)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	fmt.Println("open")
	for asked := bufio.NewScanner(os.Stdin); asked.Scan(); {
		var e ends
		for _, fd := range fds {
			var b [1]byte
			n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EAGAIN):
				e.Open++
			case err == nil && n == 0:
				e.Closed++
			default:
				e.Reset++
			}
		}
		if err := json.NewEncoder(os.Stdout).Encode(e); err != nil {
			return err
		}
	}
	return nil
}

// open opens a connection and has one request answered.
func (h holding) open(i int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	from, server := h.Source.As4(), h.Servers[i%len(h.Servers)]
	from[3] += byte(i / perSource)
	// The port is chosen when the other end is known: any that is free towards it.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from}); err != nil {
		return -1, err
	}
	// With a timeout of its own a system call would not go on after a signal, and the runtime sends itself some: only the
	// reads have one.
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: server.Addr().As4(), Port: int(server.Port())}); err != nil {
		return -1, fmt.Errorf("cannot connect to %s: %w", server, err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}); err != nil {
		return -1, err
	}
	if _, err := unix.Write(fd, []byte(request(false))); err != nil {
		return -1, err
	}
	buf, got := make([]byte, 1024), 0
	for !bytes.HasSuffix(buf[:got], []byte("\n")) || !bytes.Contains(buf[:got], []byte("pid ")) {
		n, err := unix.Read(fd, buf[got:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return -1, fmt.Errorf("no answer, only %q: %w", buf[:got], errors.Join(err, io.ErrUnexpectedEOF))
		}
		got += n
	}
	return fd, nil
}
