package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	cgroupRoot   = "/sys/fs/cgroup"
	cgroupPrefix = "graceinit-chaos-"
)

// cgroups are the directories in which a container gets its cgroups: one of version 2, or two of version 1.
func cgroups() ([]string, error) {
	roots := []string{cgroupRoot}
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		// Nothing happens where they are enabled already.
		if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+pids +memory"), 0); err != nil {
			return nil, fmt.Errorf("cannot enable the controllers: %w", err)
		}
	} else {
		roots = []string{filepath.Join(cgroupRoot, "pids"), filepath.Join(cgroupRoot, "memory")}
	}
	for _, root := range roots {
		sweepCgroups(root)
		probe, err := os.MkdirTemp(root, cgroupPrefix+strconv.Itoa(os.Getpid())+"-probe-")
		if err != nil {
			return nil, fmt.Errorf("cannot make a cgroup: %w", err)
		}
		_ = syscall.Rmdir(probe)
	}
	return roots, nil
}

// sweepCgroups removes what runs left behind that were killed. Those of a run that lives stay, also where no process
// has entered them yet.
func sweepCgroups(root string) {
	old, _ := filepath.Glob(filepath.Join(root, cgroupPrefix+"*"))
	for _, dir := range old {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), cgroupPrefix), "-")
		if _, err := os.Stat(filepath.Join("/proc", owner)); err != nil {
			_ = syscall.Rmdir(dir)
		}
	}
}

// cgroup is that of one container.
type cgroup struct{ dirs []string }

func newCgroup(roots []string, name string) (*cgroup, error) {
	c := &cgroup{}
	for _, root := range roots {
		dir := filepath.Join(root, cgroupPrefix+name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			c.close()
			return nil, err
		}
		c.dirs = append(c.dirs, dir)
	}
	return c, nil
}

// close removes it. Its processes have ended.
func (c *cgroup) close() {
	for _, dir := range c.dirs {
		_ = syscall.Rmdir(dir)
	}
}

// file finds the file of that name, or of version 1's other name.
func (c *cgroup) file(names ...string) (string, error) {
	for _, dir := range c.dirs {
		for _, name := range names {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("the cgroup has no %s", strings.Join(names, " or "))
}

func (c *cgroup) read(names ...string) (string, error) {
	path, err := c.file(names...)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

func (c *cgroup) write(value string, names ...string) error {
	path, err := c.file(names...)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(value), 0)
}

func (c *cgroup) number(names ...string) (int, error) {
	text, err := c.read(names...)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

func (c *cgroup) pids() (int, error)   { return c.number("pids.current") }
func (c *cgroup) memory() (int, error) { return c.number("memory.current", "memory.usage_in_bytes") }

// limitPIDs allows n processes and threads, or any number where n is negative.
func (c *cgroup) limitPIDs(n int) error { return c.write(limit(n, "max"), "pids.max") }

// limitMemory allows n bytes, or any number where n is negative.
func (c *cgroup) limitMemory(n int) error {
	if _, err := c.file("memory.max"); err == nil {
		return c.write(limit(n, "max"), "memory.max")
	}
	return c.write(limit(n, "-1"), "memory.limit_in_bytes")
}

func limit(n int, none string) string {
	if n < 0 {
		return none
	}
	return strconv.Itoa(n)
}

// oomKills is how many processes the kernel has killed for want of memory.
func (c *cgroup) oomKills() int {
	text, err := c.read("memory.events", "memory.oom_control")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			kills, _ := strconv.Atoi(n)
			return kills
		}
	}
	return 0
}
