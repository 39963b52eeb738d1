package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	bridge  = "gracelab0"
	gateway = "10.213.0.1"
	cniDir  = "/usr/lib/cni"
	pause   = "registry.example/pause:1"
)

const containerdConfig = `version = 2
root = %[1]q
state = %[2]q
oom_score = 0
# What no lab needs, and what would look for its place elsewhere.
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
]
[grpc]
  address = %[3]q
[ttrpc]
  address = "%[3]s.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[4]q
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %[5]q
    conf_dir = %[6]q
`

const cniConfig = `{
  "cniVersion": "0.4.0", "name": "gracelab",
  "plugins": [{
    "type": "bridge", "bridge": %q, "isGateway": true, "ipMasq": false,
    "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.213.0.0/24", "gateway": %q}]]}
  }]
}
`

// containerd is the lab's own.
type containerd struct {
	socket string
	cmd    *exec.Cmd
	done   chan struct{}
}

// network brings up the loopback, and the bridge that the API server listens on before there is a pod. The bridge's
// address is set: one that was not is the lowest of its ports' and changes as pods come and go (net/bridge/br_stp_if.c,
// br_stp_recalculate_bridge_id), and then other pods talk to the old one for half a minute.
func network(ctx context.Context) error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", bridge, "address", "0a:58:0a:d5:00:01", "type", "bridge"},
		{"addr", "add", gateway + "/24", "dev", bridge},
		{"link", "set", bridge, "up"},
	} {
		if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	return nil
}

func startContainerd(ctx context.Context, dir string) (*containerd, error) {
	cni := filepath.Join(dir, "cni")
	if err := os.MkdirAll(cni, 0o755); err != nil {
		return nil, err
	}
	c := &containerd{socket: filepath.Join(dir, "containerd.sock"), done: make(chan struct{})}
	config := filepath.Join(dir, "containerd.toml")
	for path, text := range map[string]string{
		config:                             fmt.Sprintf(containerdConfig, filepath.Join(dir, "root"), filepath.Join(dir, "state"), c.socket, pause, cniDir, cni),
		filepath.Join(cni, "lab.conflist"): fmt.Sprintf(cniConfig, bridge, filepath.Join(dir, "ipam"), gateway),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(filepath.Join(dir, "containerd.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd = exec.Command("containerd", "-c", config)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = c.cmd.Wait(); close(c.done) }()
	for {
		conn, err := net.Dial("unix", c.socket)
		if err == nil {
			_ = conn.Close()
			return c, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-c.done:
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("containerd has ended: %s", tail(text, 3000))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// add imports an image.
func (c *containerd) add(ctx context.Context, dir string, i Image) error {
	archive := filepath.Join(dir, "image.tar")
	if err := i.write(archive); err != nil {
		return err
	}
	defer func() { _ = os.Remove(archive) }()
	out, err := exec.CommandContext(ctx, "ctr", "-a", c.socket, "-n", "k8s.io", "images", "import", archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot import %s: %w: %s", i.Name, err, out)
	}
	return nil
}

func (c *containerd) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-time.After(10 * time.Second):
		return c.cmd.Process.Kill()
	}
}

func tail(text []byte, n int) string {
	text = bytes.TrimSpace(text)
	return string(text[max(0, len(text)-n):])
}
