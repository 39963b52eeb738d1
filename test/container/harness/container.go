package harness

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// container is a running one.
type container struct {
	d    *Docker
	id   string
	load load.Config
	init Process // PID 1
	c    Case

	out      output
	followed chan struct{} // closed when the output has ended
}

func (d *Docker) start(ctx context.Context, img *Images, c Case) (*container, error) {
	id, err := d.out(ctx, d.RunArgs(c.runArgs(img)...)...)
	if err != nil {
		return nil, err
	}
	ct := &container{d: d, id: id, c: c}
	ct.follow()
	out, err := d.out(ctx, "inspect", "--format", "{{.State.Pid}} {{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}", id)
	if err != nil {
		return ct, err
	}
	f := strings.Fields(out)
	if len(f) != 3 || f[0] == "0" {
		return ct, errors.New("the container has ended at once")
	}
	pid, err := strconv.Atoi(f[0])
	if err != nil {
		return ct, fmt.Errorf("cannot read %q: %w", out, err)
	}
	if p, ok := readStat(pid); ok {
		ct.init = p
	}
	ct.load = load.Config{Addr: f[1] + ":" + Port, FastPath: c.Server.Fast, SlowPath: c.Server.Slow}
	if ct.load.Device, err = bridge(f[2]); err != nil {
		return ct, err
	}
	return ct, nil
}

// bridge finds the interface that leads to the containers. The load is bound to it: should it vanish, the load must
// end there and not follow the default route to whoever has the same address elsewhere.
func bridge(gateway string) (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone in the meantime
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.String() == gateway {
				return i.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no interface has the containers' gateway address %s: is the engine on this machine, and its bridge still there?", gateway)
}

// alive tells whether PID 1 runs. It asks the kernel: asking the engine takes long and is done often.
func (ct *container) alive() bool { return ct.init.alive() }

// app are the processes of the container without the inits.
func (ct *container) app() []Process {
	all := tree(ct.init.Host)
	var out []Process
	for _, p := range all {
		if !ct.isInit(p) {
			out = append(out, p)
		}
	}
	return out
}

// isInit: PID 1, unless there is no init, and under `docker run --init` the graceinit below it.
func (ct *container) isInit(p Process) bool {
	if p.Host == ct.init.Host {
		return len(ct.c.Init.Command) > 0 || ct.c.DockerInit
	}
	return ct.c.DockerInit && len(ct.c.Init.Command) > 0 && p.Parent == ct.init.Host && p.Comm == filepath.Base(ct.c.Init.Command[0])
}

// signal sends a signal to PID 1, as an operator would; in the control group to the main process.
func (ct *container) signal(ctx context.Context, sig string) error {
	if ct.c.Init.Direct {
		return ct.signalMain(sig)
	}
	_, err := ct.d.out(ctx, "kill", "-s", sig, ct.id)
	return err
}

// signalMain sends a signal to the app's oldest process, as an operator with a shell in the container would.
func (ct *container) signalMain(sig string) error {
	n, ok := map[string]syscall.Signal{
		"QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	}[sig]
	if !ok {
		return fmt.Errorf("unknown signal %q", sig)
	}
	app := ct.app()
	if len(app) == 0 {
		return errors.New("the app has no process")
	}
	return syscall.Kill(app[0].Host, n)
}

// stop is docker stop, with more time than any drain here needs and less than graceinit's own stop timeout.
func (ct *container) stop(ctx context.Context) error {
	if ct.c.Init.Direct {
		return ct.signalMain(cmp.Or(ct.c.Server.StopSignal, "TERM"))
	}
	_, err := ct.d.out(ctx, "stop", "-t", "20", ct.id)
	return err
}

// exit waits for the container's end and tells its status.
func (ct *container) exit(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := ct.d.out(ctx, "wait", ct.id)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// follow collects the container's output until it ends.
func (ct *container) follow() {
	cmd := exec.Command(ct.d.bin, "logs", "-f", ct.id)
	cmd.Stdout, cmd.Stderr = &ct.out, &ct.out
	ct.followed = make(chan struct{})
	go func() {
		defer close(ct.followed)
		if err := cmd.Run(); err != nil {
			fmt.Fprintf(&ct.out, "cannot read the container's logs: %v\n", err)
		}
	}()
}

// logs are the output so far.
func (ct *container) logs() string { return ct.out.String() }

// remove kills the container if it still runs, and returns all of its output.
func (ct *container) remove() string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, _ = ct.d.out(ctx, "kill", ct.id) // most have ended already
	if ct.followed != nil {
		select {
		case <-ct.followed:
		case <-ctx.Done():
		}
	}
	_, _ = ct.d.out(ctx, "rm", "-f", ct.id)
	return ct.logs()
}

// output is a buffer for several writers and readers.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
