package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kit is what all episodes share: the programs, the cgroups, and which faults there are.
type kit struct {
	options
	root    string // of the repository
	dir     string
	self    string // this program
	nginx   string // path, empty where it is not installed
	version string // of the init
	groups  []string
	choice  []*fault
	leftOut []string // faults and apps that this machine does not allow, and why
}

func newKit(ctx context.Context, o options) (*kit, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	k := &kit{options: o, root: root}
	if k.init, err = filepath.Abs(o.initPath(root)); err != nil {
		return nil, err
	}
	version, err := exec.CommandContext(ctx, k.init, "--version").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", k.init, err)
	}
	k.version = strings.TrimSpace(string(version))
	if k.dir, err = os.MkdirTemp("", "chaos-"); err != nil {
		return nil, err
	}
	if err := k.build(ctx); err != nil {
		k.Close()
		return nil, err
	}
	k.nginx, _ = exec.LookPath("nginx")
	if k.nginx == "" {
		k.leftOut = append(k.leftOut, "the app nginx: it is not installed")
	}
	if o.clock && k.nginx != "" {
		k.nginx = ""
		k.leftOut = append(k.leftOut, "the app nginx where the clock is stepped: its limit_rate, which makes answers slow, goes by that clock")
	}
	if k.groups, err = cgroups(); err != nil {
		k.leftOut = append(k.leftOut, fmt.Sprintf("pids limit, memory limit: %v", err))
	}
	if !o.clock {
		k.leftOut = append(k.leftOut, "clock steps: they are this machine's; -clock allows them")
	}
	return k, k.choose()
}

// choose fills choice.
func (k *kit) choose() error {
	for _, f := range faults {
		if f.needs != nil && !f.needs(k) {
			continue
		}
		wanted := k.only == ""
		for name := range strings.SplitSeq(k.only, ",") {
			wanted = wanted || name != "" && strings.HasPrefix(f.name, name)
		}
		if wanted {
			k.choice = append(k.choice, f)
		}
	}
	if len(k.choice) == 0 {
		return fmt.Errorf("-only: of %q nothing can be done here (clock steps need -clock, the limits need cgroups)", k.only)
	}
	return nil
}

// Close removes the files.
func (k *kit) Close() { _ = os.RemoveAll(k.dir) }

// program is a built program, or this one.
func (k *kit) program(name string) string { return filepath.Join(k.dir, name) }

// build compiles the apps, and takes a copy of this program: `go run` removes it at the end.
func (k *kit) build(ctx context.Context) error {
	if err := os.Chmod(k.dir, 0o755); err != nil { // for apps that run as another user
		return err
	}
	for name, from := range map[string][2]string{
		grace:     {"demo", "github.com/facebookgo/grace/gracedemo"},
		tableflip: {"test/container", "./fixtures/tableflip"},
		"hostile": {"test/container", "./fixtures/hostile"},
	} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", k.program(name), from[1])
		cmd.Dir = filepath.Join(k.root, from[0])
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", from[1], err, out)
		}
	}
	k.self = k.program(spawn)
	return copyFile("/proc/self/exe", k.self)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
