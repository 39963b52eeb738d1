// Package harness runs real servers in real containers under an init and reports what became of them: it starts
// the container, drives a load, upgrades, stops, and looks at the processes from the host. It judges nothing; the
// tests assert on its Report and cmd/compare prints it.
//
// It needs Docker on this machine (the processes are read from the host's /proc) and root.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Label marks every container and image made here; its value tells the run that made it.
const Label = "io.github.graceinit.test"

// Docker is a handle on the engine, with everything that one run of the tests starts.
type Docker struct {
	bin   string
	run   string         // the value of Label
	guard io.WriteCloser // its end starts the guard's work
}

// ErrUnavailable says that these tests cannot run on this machine.
var ErrUnavailable = errors.New("containers cannot be tested here")

// Open finds the engine. The error wraps ErrUnavailable and says what to do.
func Open(ctx context.Context) (*Docker, error) {
	d := &Docker{bin: os.Getenv("DOCKER"), run: fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano())}
	if d.bin == "" {
		// The distribution's client fits the distribution's engine; a newer one may stand before it in PATH.
		d.bin = "/usr/bin/docker"
		if _, err := os.Stat(d.bin); err != nil {
			p, err := exec.LookPath("docker")
			if err != nil {
				return nil, fmt.Errorf("%w: no docker client: run scripts/setup-containers as root", ErrUnavailable)
			}
			d.bin = p
		}
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: not root", ErrUnavailable)
	}
	if _, err := d.out(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return nil, fmt.Errorf("%w: the Docker engine does not answer: run scripts/setup-containers as root: %w", ErrUnavailable, err)
	}
	return d, d.startGuard()
}

// startGuard starts a process that removes this run's containers when this process has ended, however it ended:
// a panic, go test's timeout and SIGKILL run no deferred function.
func (d *Docker) startGuard() error {
	script := `read -r _; ids=$("$0" ps -aq --filter "label=$1"); [ -z "$ids" ] || "$0" rm -f $ids`
	cmd := exec.Command("/bin/sh", "-c", script, d.bin, Label+"="+d.run)
	// Its own group: ^C is for the tests.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	d.guard = in
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the guard: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// Close removes every container of this run.
func (d *Docker) Close() error {
	defer func() { _ = d.guard.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ids, err := d.out(ctx, "ps", "-aq", "--filter", "label="+Label+"="+d.run)
	if err != nil || ids == "" {
		return err
	}
	_, err = d.out(ctx, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
	return err
}

// out runs the client and returns its standard output.
func (d *Docker) out(ctx context.Context, args ...string) (string, error) {
	return d.pipe(ctx, nil, args...)
}

func (d *Docker) pipe(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.bin, args...)
	// The classic builder needs no plugin and no image but the ones named in the Dockerfile.
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, tail(stderr.String(), 2000))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Output runs the client with arguments of the caller's and returns its standard output.
func (d *Docker) Output(ctx context.Context, args ...string) (string, error) {
	return d.out(ctx, args...)
}

// RunArgs are the arguments of `docker run` that every container of this run has.
func (d *Docker) RunArgs(args ...string) []string {
	return append([]string{"run", "--label", Label + "=" + d.run}, args...)
}

func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		s = "..." + s[len(s)-n:]
	}
	return s
}
