package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/pidns"
)

// container is an init with the app below it, as PID 1 in a namespace of its own.
type container interface {
	Proc() string // its /proc
	Signal(syscall.Signal) error
	Done() <-chan struct{} // closed when it has ended
	Wait() syscall.WaitStatus
	Kill()
}

// initProgram is one of the inits to be shown.
type initProgram struct {
	name    string
	version string
	path    string // "" with dockerInit
	// dockerInit is the one that `docker run --init` brings along.
	dockerInit bool
}

func startNamespace(p initProgram, app []string, log io.Writer) (container, error) {
	return pidns.Start(pidns.Command{Args: append([]string{p.path, "--"}, app...), Stderr: log})
}

// docker is a container of Docker. Its end is the end of the attached client.
type docker struct {
	name, image string
	pid         int
	client      *exec.Cmd
	done        chan struct{}
}

// startDocker runs the app in Docker with the directory of the app, so that its executable can be replaced, and with the
// network of the host, so that the same loopback is measured.
func startDocker(ctx context.Context, p initProgram, dir string, app []string, log io.Writer) (container, error) {
	d := &docker{name: fmt.Sprintf("graceinit-demo-%d-%s", os.Getpid(), p.name), done: make(chan struct{})}
	d.image = d.name
	args := []string{"run", "--rm", "--name", d.name, "--network", "host", "--volume", dir + ":" + dir}
	files := map[string]string{}
	if p.dockerInit {
		args = append(args, "--init", d.image)
	} else {
		files["graceinit"] = p.path
		args = append(args, "--entrypoint", "/graceinit", d.image, "--")
	}
	if err := d.makeImage(ctx, files); err != nil {
		return nil, err
	}
	d.client = exec.Command("docker", append(args, app...)...)
	d.client.Stderr = log
	// A ^C on the terminal is for us to handle, not for the client.
	d.client.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.client.Start(); err != nil {
		d.removeImage()
		return nil, err
	}
	go func() {
		_ = d.client.Wait()
		close(d.done)
	}()
	for again := time.NewTicker(50 * time.Millisecond); d.pid == 0; {
		select {
		case <-ctx.Done():
			d.Kill()
			return nil, ctx.Err()
		case <-d.done:
			d.removeImage()
			return nil, fmt.Errorf("docker run failed: %v", d.client.ProcessState)
		case <-again.C:
			out, _ := exec.CommandContext(ctx, "docker", "inspect", "--format", "{{.State.Pid}}", d.name).Output()
			d.pid, _ = strconv.Atoi(strings.TrimSpace(string(out)))
		}
	}
	return d, nil
}

// makeImage imports an image with the files; the app comes by the volume.
func (d *docker) makeImage(ctx context.Context, files map[string]string) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	// An archive without an entry is not accepted.
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}); err != nil {
		return err
	}
	for name, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(b))}); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "docker", "import", "-", d.image)
	cmd.Stdin = &archive
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make an image: %w\n%s", err, out)
	}
	return nil
}

func (d *docker) removeImage() { _ = exec.Command("docker", "image", "rm", "--force", d.image).Run() }

func (d *docker) Proc() string          { return pidns.ProcOf(d.pid) }
func (d *docker) Done() <-chan struct{} { return d.done }

func (d *docker) Signal(s syscall.Signal) error {
	if out, err := exec.Command("docker", "kill", "--signal", strconv.Itoa(int(s)), d.name).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot send %v: %w: %s", s, err, out)
	}
	return nil
}

// Wait gives the exit code as the client repeats it: 128+n after a signal.
func (d *docker) Wait() syscall.WaitStatus {
	<-d.done
	st, _ := d.client.ProcessState.Sys().(syscall.WaitStatus)
	return st
}

func (d *docker) Kill() {
	_ = exec.Command("docker", "rm", "--force", d.name).Run()
	<-d.done
	d.removeImage()
}
