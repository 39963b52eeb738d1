package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrUnavailable says that there can be no lab on this machine.
var ErrUnavailable = errors.New("there can be no lab here")

// Tools tells what a lab needs that is not there; the error wraps ErrUnavailable.
func Tools() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: not root", ErrUnavailable)
	}
	for tool, pkg := range map[string]string{
		"containerd": "containerd", "ctr": "containerd", "runc": "runc", "ip": "iproute2", "unshare": "util-linux",
		"kubectl": "kubernetes-client", "make": "make",
		cniDir + "/bridge": "containernetworking-plugins", cniDir + "/host-local": "containernetworking-plugins",
	} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: no %s (Debian's package %s)", ErrUnavailable, tool, pkg)
		}
	}
	return nil
}

// where the lab's own processes are told its directory and cgroup.
const (
	dirVariable    = "GRACEINIT_LAB_DIR"
	cgroupVariable = "GRACEINIT_LAB_CGROUP"
	runtimeDir     = "/run/lab"
)

// Inside returns the directory and the cgroup of the lab if this process is in its namespaces.
func Inside() (dir, cgroup string, ok bool) {
	dir = os.Getenv(dirVariable)
	return dir, os.Getenv(cgroupVariable), dir != ""
}

// Enter runs this program again, below an init in namespaces of its own, and returns its exit code. Whatever becomes of
// either, no process, mount, network or cgroup stays. init is graceinit; dir is removed at the end.
func Enter(init, dir string) (int, error) {
	cgroup := "/graceinit-lab-" + fmt.Sprint(os.Getpid())
	guard, err := guard(dir, cgroup)
	if err != nil {
		return 0, err
	}
	defer guard()
	args := append([]string{"--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc", init, "--"}, os.Args...)
	cmd := exec.Command("unshare", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), dirVariable+"="+dir, cgroupVariable+"="+cgroup)
	// The signal comes at the end of the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(stop)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		for range stop {
			_ = cmd.Process.Kill()
		}
	}()
	err = cmd.Wait()
	close(stop)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}

// guard starts a process that cleans up when it is told, or when this process has ended, however it ended.
func guard(dir, cgroup string) (func(), error) {
	// A cgroup can be removed when the last process in it has gone; the kernel needs a moment for that.
	const script = `read -r _
rm -rf "$0"
for i in 1 2 3 4 5 6 7 8 9 10; do
	left=
	for root in /sys/fs/cgroup "$@"; do
		[ -d "$root$CG" ] || continue
		find "$root$CG" -depth -type d -exec rmdir {} + 2>/dev/null
		[ ! -d "$root$CG" ] || left=1
	done
	[ -n "$left" ] || break
	sleep 0.3
done
# Whoever was still there may have written after the first.
rm -rf "$0"`
	roots, err := filepath.Glob("/sys/fs/cgroup/*")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, dir}, roots...)...)
	cmd.Env = append(os.Environ(), "CG="+cgroup)
	// Its own group: ^C is for the lab.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the guard: %w", err)
	}
	return func() {
		_ = in.Close()
		_ = cmd.Wait()
	}, nil
}

// Prepare makes the mounts that the lab needs, in a mount namespace that unshare has made private.
func Prepare() (runtime string, err error) {
	// Whatever runs here shall neither see nor leave anything in the machine's /run.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return "", fmt.Errorf("cannot mount a tmpfs: %w", err)
	}
	return runtimeDir, os.MkdirAll(runtimeDir, 0o755)
}
