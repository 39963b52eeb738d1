package upgrades

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/demo/pidns"
)

// The binary executes itself under these names.
const (
	insideName   = "bench-upgrades"
	operatorName = "bench-operator"
	holderName   = "bench-holder"
)

// Main is one of the helpers where this process is one, and returns otherwise. It must be called first in main, after
// pidns.Main.
func Main() {
	helpers := map[string]func(argument string) error{insideName: inside, operatorName: operate, holderName: hold}
	helper := helpers[os.Args[0]]
	if helper == nil {
		return
	}
	if err := helper(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(1)
	}
	os.Exit(0)
}

// self is the command line of a helper.
func self(name string, argument any) (*exec.Cmd, error) {
	text, err := json.Marshal(argument)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{name, string(text)}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

const resultFD = 3

// enter runs the measurement in a network namespace of its own: with a loopback that is nobody else's, and limits that
// are ours to raise.
func enter(ctx context.Context, p plan) (*Result, error) {
	runtime.LockOSThread() // the helper dies with the thread that started it
	defer runtime.UnlockOSThread()
	cmd, err := self(insideName, p)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd.Stdout, cmd.ExtraFiles = os.Stdout, []*os.File{w}
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET
	err = cmd.Start()
	w.Close()
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("%w: %w", pidns.ErrForbidden, err)
	}
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	var result Result
	decoded := json.NewDecoder(r).Decode(&result)
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("the measurement of upgrades ended: %w", errors.Join(ctx.Err(), err))
	}
	return &result, decoded
}

// inside is the measurement in its network namespace.
func inside(argument string) error {
	var p plan
	if err := json.Unmarshal([]byte(argument), &p); err != nil {
		return err
	}
	syscall.CloseOnExec(resultFD)
	if err := prepareNetwork(); err != nil {
		return err
	}
	result, err := p.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.NewFile(resultFD, "result")).Encode(result)
}

func prepareNetwork() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("cannot bring up the loopback: %w", err)
	}
	for name, value := range map[string]string{
		"core/somaxconn":           "8192",
		"ipv4/tcp_max_syn_backlog": "8192",
		// A source address has enough ports for its share of the connections, without the server's.
		"ipv4/ip_local_port_range": "10000 65000",
	} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
			return fmt.Errorf("cannot set %s: %w", name, err)
		}
	}
	return nil
}

// raiseFiles raises the limit of open files as far as this machine lets us, for us and for what we start, and returns it.
func raiseFiles() (int, error) {
	const plenty = 1 << 18
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: plenty, Max: plenty}); err == nil {
		return plenty, nil
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	// Said explicitly, or the runtime would give the programs that we start the lower limit it found.
	return int(limit.Cur), unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}
