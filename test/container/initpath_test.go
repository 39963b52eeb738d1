package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/harness"
)

// engine is a Docker engine of the test's own, whose init is graceinit. It lives in namespaces of its own (network,
// mounts, processes), with graceinit as the first process: a second engine in the machine's network namespace would
// take the first one's bridge away.
type engine struct {
	t    *testing.T
	dir  string
	log  string
	init string
}

func startEngine(t *testing.T) *engine {
	t.Helper()
	unable := func(why string) {
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	if os.Geteuid() != 0 {
		unable("not root")
	}
	for _, tool := range []string{"dockerd", "docker", "containerd", "unshare", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			unable(fmt.Sprintf("no %s: run scripts/setup-containers as root", tool))
		}
	}
	// Not t.TempDir: the paths of sockets below it must be short.
	dir, err := os.MkdirTemp("", "gi-engine-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	e := &engine{t: t, dir: dir, log: filepath.Join(dir, "dockerd.log"), init: os.Getenv("GRACEINIT_BIN")}
	if e.init == "" {
		if e.init, err = harness.BuildGraceinit(); err != nil {
			t.Fatal(err)
		}
	}
	if e.init, err = filepath.Abs(e.init); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(e.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cgroup := fmt.Sprintf("/graceinit-engine-%d", os.Getpid())
	const script = `mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && exec "$@"`
	cmd := exec.Command("unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc",
		"/bin/sh", "-c", script, "sh", e.init, "--", "dockerd",
		"-H", "unix://"+dir+"/docker.sock", "--data-root", dir+"/data", "--exec-root", "/run/engine", "--pidfile", "/run/engine.pid",
		"--config-file", dir+"/none.json", "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs",
		"--cgroup-parent="+cgroup, "--init-path="+e.init)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "GRACEINIT_STOP_TIMEOUT=20s")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := os.WriteFile(dir+"/none.json", []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	started, ended, done := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() { // the signal of Pdeathsig comes at the end of the thread that started the process
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		<-done
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // and with it every process of the namespace
		<-ended
		close(done)
		removeCgroups(cgroup)
		if t.Failed() {
			text, _ := os.ReadFile(e.log)
			t.Logf("the engine's log:\n%s", text[max(0, len(text)-6000):])
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, code := e.docker("version"); code == 0 {
			return e
		}
		select {
		case <-ended:
			t.Fatal("the engine has ended")
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the engine does not answer")
		}
	}
}

// removeCgroups: those of the containers that were killed with the engine.
func removeCgroups(name string) {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var left []string
		for _, pattern := range []string{"/sys/fs/cgroup" + name, "/sys/fs/cgroup/*" + name} {
			found, _ := filepath.Glob(pattern)
			left = append(left, found...)
		}
		if len(left) == 0 {
			return
		}
		for _, dir := range left {
			_ = exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
		}
	}
}

// docker runs the client and returns what it printed and its exit code.
func (e *engine) docker(args ...string) (string, int) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), time.Minute)
	defer cancel()
	bin := os.Getenv("DOCKER")
	if bin == "" {
		bin = "/usr/bin/docker"
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.dir+"/docker.sock")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		e.t.Fatalf("docker %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(out.String()), cmd.ProcessState.ExitCode()
}

// good is docker where it must not fail.
func (e *engine) good(args ...string) string {
	e.t.Helper()
	out, code := e.docker(args...)
	if code != 0 {
		e.t.Fatalf("docker %s: exit code %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

// TestInitPath: an engine that was told `--init-path graceinit` gives every container of `docker run --init` an init that
// upgrades. It is started without flags, so everything is told it by the environment.
func TestInitPath(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	const image = "initpath"
	e.load(image)
	version, err := exec.Command(e.init, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	run := []string{"run", "--rm", "--init", "--network", "none"}
	if out := e.good(append(run, image, "/sbin/docker-init", "--version")...); out != strings.TrimSpace(string(version)) {
		t.Errorf("/sbin/docker-init is %q, and not %q", out, version)
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{0, []string{"/sbin/docker-init", "--version"}},
		{2, []string{"/app", "-nonsense"}}, // of Go's package flag
		{127, []string{"/nothing"}},
	} {
		if out, code := e.docker(append(append(run, image), c.args...)...); code != c.code {
			t.Errorf("%s: exit code %d, and not %d: %s", strings.Join(c.args, " "), code, c.code, out)
		}
	}

	// Under the name docker-init graceinit takes no subcommands: what follows is a program. So it comes along once more.
	id := e.good("run", "-d", "--init", "-v", e.init+":/graceinit:ro", "--network", "none", "--read-only", "--user", "1000", "--cap-drop", "ALL",
		"-e", "GRACEINIT_LISTEN=tcp://:8080,name=http", "-e", "GRACEINIT_PROBATION=1s", image, "/app")
	status := func() (s struct {
		Status struct {
			PID, Generation int
			Ready           bool
			State           string
		}
	}) {
		out, code := e.docker("exec", id, "/graceinit", "status", "--json")
		if code == 0 {
			if err := json.Unmarshal([]byte(out), &s); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		return s
	}
	await := func(generation int) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			s := status().Status
			if s.Generation == generation && s.Ready && s.PID == 1 && s.State == "running" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("generation %d is not ready: %+v\n%s", generation, s, e.good("logs", id))
			}
		}
	}
	await(1)
	e.good("kill", "--signal", "USR2", id)
	await(2)
	if out := e.good("exec", id, "/graceinit", "upgrade"); !strings.Contains(out, "done") {
		t.Errorf("upgrade: %s", out)
	}
	await(3)
	e.good("stop", id)
	if code := e.good("inspect", "--format", "{{.State.ExitCode}}", id); code != "0" {
		t.Errorf("stopped, it ended with %s: %s", code, e.good("logs", id))
	}

	if out := e.good("info", "--format", "{{.InitBinary}}"); out != e.init {
		t.Errorf("docker info knows the init as %q, not as %q", out, e.init)
	}
	text, _ := os.ReadFile(e.log)
	var said []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "init") && strings.Contains(line, "version") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	t.Logf("docker info: init version %s; the engine said of it: %q", e.good("info", "--format", "{{.InitCommit.ID}}"), said)
}

// load makes an image with the server of examples/httpserver.
func (e *engine) load(image string) {
	e.t.Helper()
	root := filepath.Join(e.dir, "image")
	if err := os.MkdirAll(root, 0o755); err != nil {
		e.t.Fatal(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(root, "app"), "./httpserver")
	build.Dir = "../../examples"
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		e.t.Fatalf("%v: %s", err, out)
	}
	archive := filepath.Join(e.dir, "image.tar")
	if out, err := exec.Command("tar", "-C", root, "-cf", archive, ".").CombinedOutput(); err != nil {
		e.t.Fatalf("%v: %s", err, out)
	}
	e.good("import", archive, image)
}
