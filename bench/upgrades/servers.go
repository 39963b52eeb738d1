package upgrades

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/demo/proc"
)

// Server is what an upgrade adds to the start of a server that knows nothing of upgrades.
type Server struct {
	Name    string    `json:"name"`
	Start   []float64 `json:"exec_to_first_answer_ms"`
	Upgrade []float64 `json:"upgrade_signal_to_first_answer_ms"`
}

// program is a server that takes the listener it is passed, answers with its pid, and stops on SIGTERM.
type program struct {
	name    string
	command func(address string) []string
}

// programs are those of the container tests, with their fixtures.
func (p *plan) programs() []program {
	fixed := func(args ...string) func(string) []string { return func(string) []string { return args } }
	return []program{
		{"Go", fixed(p.Plain, "-ready")},
		{"Python", fixed("/usr/bin/python3", filepath.Join(p.Conf, "plain.py"))},
		{"Node", fixed("node", filepath.Join(p.Conf, "plain.js"))},
		{"puma", func(address string) []string {
			// It takes the listener whose address it is told. Its gem sd_notify knows no abstract sockets.
			return []string{"env", "-u", "NOTIFY_SOCKET", "puma", "--config", "-", "--bind", "tcp://" + address, filepath.Join(p.Conf, "config.ru")}
		}},
		{"gunicorn", fixed("gunicorn", "--workers", "1", "--worker-class", "gthread", "--threads", "8", "--chdir", p.Conf, "app:application")},
	}
}

func (p *plan) servers() (all []Server, err error) {
	rounds := 7 * max(p.Rounds, 1)
	if p.Short {
		rounds = 1
	}
	for _, s := range p.programs() {
		if _, err := exec.LookPath(s.installed()); err != nil {
			fmt.Printf("upgrades: %s is left out: %v\n", s.name, err)
			continue
		}
		all = append(all, Server{Name: s.name})
	}
	random := rand.New(rand.NewPCG(p.Seed, 6))
	for round := range rounds + 1 { // the first counts for nothing: it brings the files into memory
		for _, i := range random.Perm(len(all)) {
			start, upgrade, err := p.measure(all[i].Name, random.IntN(2) == 0)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].Name, err)
			}
			if round > 0 {
				all[i].Start, all[i].Upgrade = append(all[i].Start, ms(start)), append(all[i].Upgrade, ms(upgrade))
			}
		}
	}
	fmt.Printf("upgrades: %d servers in %d rounds\n", len(all), rounds)
	return all, nil
}

// installed is the program that must be there.
func (s program) installed() string {
	command := s.command("")
	if command[0] == "env" {
		return command[3]
	}
	return command[0]
}

// measure times one start and one upgrade of a server, in either order.
func (p *plan) measure(name string, upgradeFirst bool) (start, upgrade time.Duration, err error) {
	known := slices.IndexFunc(p.programs(), func(s program) bool { return s.name == name })
	s := p.programs()[known]
	if upgradeFirst {
		if upgrade, err = p.signalToAnswer(s); err != nil {
			return 0, 0, err
		}
	}
	if start, err = execToAnswer(s, p.setting(1).addresses[0]); err != nil {
		return 0, 0, err
	}
	if !upgradeFirst {
		upgrade, err = p.signalToAnswer(s)
	}
	return start, upgrade, err
}

// execToAnswer starts a server as systemd would. A client waits for it already.
func execToAnswer(s program, address netip.AddrPort) (time.Duration, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	fd, err := l.File()
	if err != nil {
		return 0, err
	}
	defer fd.Close()
	// What it says of itself is read by nobody, but can be said.
	notify, err := net.ListenPacket("unixgram", "@bench-"+address.String())
	if err != nil {
		return 0, err
	}
	defer func() { _ = notify.Close() }()
	c := client{server: address, once: true}
	if err := c.dial(); err != nil {
		return 0, err
	}
	answers := make(chan answered, 1)
	go func() { pid, err := c.ask(); answers <- answered{pid, pidns.Monotonic(), err} }()

	runtime.LockOSThread() // the server dies with the thread that started it
	defer runtime.UnlockOSThread()
	// LISTEN_PID is the server's own pid (sd_listen_fds(3)): a shell sets it and becomes the server.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, s.command(address.String())...)...)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "NOTIFY_SOCKET=@bench-"+address.String())
	cmd.ExtraFiles = []*os.File{fd}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := pidns.Monotonic()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	first := <-answers
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait() // some end with 0, and some by the signal
	return first.at - began, first.err
}

// signalToAnswer upgrades a server once. As before, a client waits already: the predecessor, which would answer it at
// once, is held still meanwhile.
func (p *plan) signalToAnswer(s program) (time.Duration, error) {
	args := []string{p.Init, "--settle", "300ms", "--probation", "0s"}
	everybody := func(proc.Process) bool { return true }
	w := &way{name: s.name, command: func(set *setting) ([]string, *orders, error) {
		address := set.addresses[0].String()
		return append(append(args, "--listen", "tcp://"+address, "--"), s.command(address)...), nil, nil
	}}
	l, err := begin(w, p.setting(1))
	if err != nil {
		return 0, err
	}
	defer l.end()
	pass(500 * time.Millisecond) // its start is over: its threads wait for work
	predecessor, err := below(l.pid1.PID, everybody)
	if err != nil {
		return 0, err
	}
	tell(predecessor, syscall.SIGSTOP)
	defer tell(predecessor, syscall.SIGCONT)
	if err := l.await("it cannot be held still", func() bool { return stopped(predecessor) }); err != nil {
		return 0, err
	}
	c := client{server: l.addresses[0], once: true}
	if err := c.dial(); err != nil {
		return 0, err
	}
	began := pidns.Monotonic()
	if err := l.pid1.Signal(syscall.SIGUSR2); err != nil {
		return 0, err
	}
	// The predecessor cannot have answered.
	_, err = c.ask()
	took := pidns.Monotonic() - began
	if err != nil {
		return 0, errors.Join(fmt.Errorf("no successor answered: %s", l.said), err)
	}
	return took, nil
}
