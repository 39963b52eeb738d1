// Package runtimes tests what graceinit needs of a container runtime under those there are: runc, crun and gVisor's runsc
// below Docker, and crun below podman, with root and without. docs/runtimes.md has the table.
package runtimes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/harness"
)

const (
	image = "graceinit-test-runtimes"
	crun  = "/usr/local/lib/graceinit-test/crun" // by scripts/setup-runtimes
	// rootless is the user of podman without root, made by scripts/setup-runtimes.
	rootless = "graceinit-test"
)

// engine is an engine with a runtime. docker and podman have the same commands and flags.
type engine struct {
	name    string
	client  []string   // the command, before its subcommand
	run     []string   // flags of every `run`
	user    *user.User // who runs the client, nil for root
	env     []string   // for the client
	sandbox bool       // the kernel is gVisor's

	once  sync.Once
	err   error
	clean []func()
}

// podman's ulimits are more than a container without CAP_SYS_RESOURCE may have.
var podmanRun = []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"}

func engines() []*engine {
	docker := "/usr/bin/docker" // the distribution's client fits its engine
	if d := os.Getenv("DOCKER"); d != "" {
		docker = d
	}
	return []*engine{
		{name: "docker-runc", client: []string{docker}, run: []string{"--runtime", "runc"}},
		{name: "docker-crun", client: []string{docker}, run: []string{"--runtime", "crun"}},
		{name: "docker-runsc", client: []string{docker}, run: []string{"--runtime", "runsc"}, sandbox: true},
		{name: "podman-crun", run: podmanRun},
		{name: "podman-rootless", run: podmanRun, user: &user.User{Username: rootless}},
	}
}

var (
	all = engines()
	tmp string // of this run, readable by all

	// archive is the image as a tar file.
	archive = sync.OnceValues(buildArchive)

	// guarded is Docker's engine, where a process removes this run's containers however it ends.
	guarded = sync.OnceValues(func() (*harness.Docker, error) { return harness.Open(context.Background()) })
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	var err error
	if tmp, err = os.MkdirTemp("", "gi-runtimes-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	clean := sync.OnceFunc(func() {
		for _, e := range all {
			for _, f := range e.clean {
				f()
			}
		}
		_ = os.RemoveAll(tmp)
	})
	defer clean()
	go func() {
		<-stop
		clean()
		os.Exit(130)
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// onEach runs a test under every engine whose name begins so. One that is not there is skipped, in CI that is a failure.
func onEach(t *testing.T, prefix string, f func(*testing.T, *engine)) {
	for _, e := range all {
		if !strings.HasPrefix(e.name, prefix) {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			e.once.Do(func() { e.err = e.open() })
			if e.err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(e.err)
				}
				t.Skip("SKIPPED: ", e.err)
			}
			f(t, e)
		})
	}
}

// open makes the engine ready, with the image in it.
func (e *engine) open() error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	if e.client == nil {
		if err := e.openPodman(); err != nil {
			return err
		}
	} else {
		docker, err := guarded()
		if err != nil {
			return err
		}
		name := e.run[1]
		e.run = append(e.run, docker.RunArgs()[1:]...)
		known, err := e.output("info", "--format", "{{range $name, $_ := .Runtimes}}{{$name}} {{end}}")
		if err != nil || !strings.Contains(" "+known+" ", " "+name+" ") {
			return fmt.Errorf("docker has no runtime %s (%q, %w): run scripts/setup-runtimes as root", name, known, err)
		}
	}
	file, err := archive()
	if err != nil {
		return err
	}
	if _, err := e.output("import", file, e.image()); err != nil {
		return err
	}
	e.clean = append([]func(){func() { _, _ = e.output("rmi", "-f", e.image()) }}, e.clean...)
	return nil
}

// image is this run's. Each engine has its own, since they may share a store.
func (e *engine) image() string { return fmt.Sprintf("%s-%s:%d", image, e.name, os.Getpid()) }

func (e *engine) openPodman() error {
	podman, err := exec.LookPath("podman")
	if err != nil {
		return fmt.Errorf("%w: run scripts/setup-runtimes as root", err)
	}
	if _, err := os.Stat(crun); err != nil {
		return fmt.Errorf("%w: run scripts/setup-runtimes as root", err)
	}
	// A store of the test's own, which vanishes with it; vfs needs no mount that could stay.
	dir := filepath.Join(tmp, e.name)
	for _, d := range []string{dir, dir + "/run", dir + "/home"} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	e.client = []string{podman, "--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs",
		"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", crun}
	e.env = []string{"HOME=" + dir + "/home", "XDG_RUNTIME_DIR=" + dir + "/run"}
	remove := func() { _ = os.RemoveAll(dir) }
	if e.user != nil {
		u, err := user.Lookup(e.user.Username)
		if err != nil {
			return fmt.Errorf("%w: run scripts/setup-runtimes as root", err)
		}
		e.user = u
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		for _, d := range []string{dir, dir + "/run", dir + "/home"} {
			if err := os.Chown(d, uid, gid); err != nil {
				return err
			}
		}
	}
	e.clean = append(e.clean, remove)
	return nil
}

// command is a client's, which ends with the test.
func (e *engine) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := append(append([]string(nil), e.client...), args...)
	if e.user != nil {
		argv = append([]string{"setpriv", "--reuid", e.user.Uid, "--regid", e.user.Gid, "--clear-groups"}, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), e.env...)
	cmd.Dir = "/"
	return cmd
}

// output runs the client, which must not fail.
func (e *engine) output(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := e.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", e.name, strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// container is a running one.
type container struct {
	t    *testing.T
	e    *engine
	name string
}

// start runs the image's graceinit with arguments.
func (e *engine) start(t *testing.T, flags []string, args ...string) *container {
	t.Helper()
	return e.create(t, flags, append([]string{"/graceinit"}, args...)...)
}

// create runs a command in a container that is removed when the test ends.
func (e *engine) create(t *testing.T, flags []string, command ...string) *container {
	t.Helper()
	c := &container{t: t, e: e, name: fmt.Sprintf("gi-%d-%d", os.Getpid(), number.Add(1))}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the container's log:\n%s", c.log())
		}
		c.remove()
	})
	argv := slices.Concat([]string{"run", "-d", "--name", c.name, "--network", "none"}, e.run, flags, []string{e.image()}, command)
	c.must(argv...)
	return c
}

var number atomic.Int64

func (c *container) remove() { _, _ = c.e.output("rm", "-f", c.name) }

func (c *container) must(args ...string) string {
	c.t.Helper()
	out, err := c.e.output(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// exec runs a command in the container and returns what it printed and its exit code.
func (c *container) exec(stdin io.Reader, args ...string) (string, int) {
	c.t.Helper()
	argv := []string{"exec"}
	if stdin != nil {
		argv = append(argv, "-i")
	}
	cmd := c.e.command(c.t.Context(), append(append(argv, c.name), args...)...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		c.t.Fatalf("%s: %v", args, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func (c *container) log() string {
	cmd := c.e.command(context.Background(), "logs", c.name)
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// until polls a condition.
func (c *container) until(what string, cond func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited a minute for %s", what)
		}
	}
}

// exit waits for the container's end and returns its exit code.
func (c *container) exit() string {
	c.t.Helper()
	c.until("the container's end", func() bool { return c.must("inspect", "--format", "{{.State.Running}}", c.name) == "false" })
	return c.must("inspect", "--format", "{{.State.ExitCode}}", c.name)
}

// buildArchive makes the image's contents: graceinit, the servers, and what drives them.
func buildArchive() (string, error) {
	root := filepath.Join(tmp, "image")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	bin := os.Getenv("GRACEINIT_BIN")
	if bin == "" {
		var err error
		if bin, err = harness.BuildGraceinit(); err != nil {
			return "", err
		}
	}
	if out, err := exec.Command("cp", bin, root+"/graceinit").CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot copy %s: %w: %s", bin, err, out)
	}
	for _, pkg := range []string{"./runtimes/load", "./runtimes/probe", "./fixtures/plaingo", "./fixtures/tableflip"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(root, filepath.Base(pkg)), pkg)
		cmd.Dir = harness.Dir()
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+runtime.GOARCH)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot build %s: %w: %s", pkg, err, out)
		}
	}
	if err := os.WriteFile(root+"/plain", []byte("not a program\n"), 0o644); err != nil {
		return "", err
	}
	file := filepath.Join(tmp, "image.tar")
	if out, err := exec.Command("tar", "-C", root, "-cf", file, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot pack the image: %w: %s", err, out)
	}
	return file, nil
}
