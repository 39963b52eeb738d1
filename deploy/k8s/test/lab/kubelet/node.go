package kubelet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
)

var _ apiserver.Node = (*Kubelet)(nil)

func (k *Kubelet) find(p *corev1.Pod, name string) (*container, error) {
	k.mu.Lock()
	w := k.pods[p.UID]
	k.mu.Unlock()
	if w != nil {
		for _, c := range slices.Concat(w.init, w.main) {
			if c.name == name {
				return c, nil
			}
		}
	}
	return nil, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is not running", name, p.Name))
}

// Exec implements apiserver.Node.
func (k *Kubelet) Exec(ctx context.Context, p *corev1.Pod, name string, command []string, stdin, stdout, stderr, tty bool) (*url.URL, error) {
	c, err := k.find(p, name)
	if err != nil {
		return nil, err
	}
	c.pod.mu.Lock()
	running, id := c.status.State.Running != nil, strings.TrimPrefix(c.status.ContainerID, "containerd://")
	c.pod.mu.Unlock()
	if !running {
		return nil, apierrors.NewInternalError(fmt.Errorf("unable to upgrade connection: container not found (%q)", name))
	}
	answer, err := k.runtime.Exec(ctx, &cri.ExecRequest{
		ContainerId: id, Cmd: command, Stdin: stdin, Stdout: stdout, Stderr: stderr && !tty, Tty: tty,
	})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

// PortForward implements apiserver.Node.
func (k *Kubelet) PortForward(ctx context.Context, p *corev1.Pod) (*url.URL, error) {
	k.mu.Lock()
	w := k.pods[p.UID]
	k.mu.Unlock()
	if w == nil {
		return nil, apierrors.NewBadRequest("the pod is not running")
	}
	answer, err := k.runtime.PortForward(ctx, &cri.PortForwardRequest{PodSandboxId: w.sandbox})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

// Logs implements apiserver.Node.
func (k *Kubelet) Logs(ctx context.Context, p *corev1.Pod, o *corev1.PodLogOptions, to io.Writer) error {
	c, err := k.find(p, o.Container)
	if err != nil {
		return err
	}
	c.pod.mu.Lock()
	attempt, state := int(c.status.RestartCount), c.status.State
	c.pod.mu.Unlock()
	if o.Previous {
		if attempt--; attempt < 0 {
			return apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", c.name, p.Name))
		}
	}
	path := k.dir(p, "logs", c.name, fmt.Sprintf("%d.log", attempt))
	if _, err := os.Stat(path); err != nil && state.Waiting != nil && attempt > 0 {
		// Waits for its next start: the last log is what there is.
		path = k.dir(p, "logs", c.name, fmt.Sprintf("%d.log", attempt-1))
	}
	f, err := os.Open(path)
	if err != nil {
		why := "PodInitializing"
		if state.Waiting != nil {
			why = state.Waiting.Reason
		}
		return apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", c.name, p.Name, why))
	}
	defer f.Close()
	running := func() bool {
		c.pod.mu.Lock()
		defer c.pod.mu.Unlock()
		return c.status.State.Running != nil && int(c.status.RestartCount) == attempt
	}
	return copyLog(ctx, f, o, to, running)
}

// copyLog translates a CRI log: "TIME STREAM P|F TEXT" in each line, P being a part of a line.
func copyLog(ctx context.Context, f *os.File, o *corev1.PodLogOptions, to io.Writer, running func() bool) error {
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	rest := lines[len(lines)-1]
	lines = lines[:len(lines)-1]
	if o.SinceSeconds != nil {
		from := time.Now().Add(-time.Duration(*o.SinceSeconds) * time.Second)
		lines = slices.DeleteFunc(lines, func(l []byte) bool {
			stamp, _, _ := strings.Cut(string(l), " ")
			t, err := time.Parse(time.RFC3339Nano, stamp)
			return err == nil && t.Before(from)
		})
	}
	if o.TailLines != nil {
		lines = lines[max(0, len(lines)-int(*o.TailLines)):]
	}
	for _, l := range lines {
		if err := copyLine(l, o.Timestamps, to); err != nil {
			return err
		}
	}
	if !o.Follow {
		return nil
	}
	r := bufio.NewReader(f)
	for {
		last := !running() // what it wrote before is in the file by now, or never will be
		for {
			part, err := r.ReadBytes('\n')
			rest = append(rest, part...)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if err := copyLine(rest, o.Timestamps, to); err != nil {
				return err
			}
			rest = nil
		}
		if last {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

func copyLine(line []byte, stamps bool, to io.Writer) error {
	parts := bytes.SplitN(line, []byte(" "), 4)
	if len(parts) < 4 {
		return nil
	}
	out := parts[3]
	if bytes.Equal(parts[2], []byte("P")) {
		out = bytes.TrimSuffix(out, []byte("\n"))
	}
	if stamps {
		out = append(append(slices.Clone(parts[0]), ' '), out...)
	}
	_, err := to.Write(out)
	return err
}

// tail is the end of the container's log.
func (c *container) tail(lines int64, size int) string {
	f, err := os.Open(filepath.Join(c.pod.config.LogDirectory, c.name, fmt.Sprintf("%d.log", c.attempt)))
	if err != nil {
		return ""
	}
	defer f.Close()
	var out bytes.Buffer
	_ = copyLog(context.Background(), f, &corev1.PodLogOptions{TailLines: &lines}, &out, nil)
	text := out.String()
	return text[max(0, len(text)-size):]
}
