package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// A container has a cgroup before it has a process in it: another run that begins just then must not remove it.
func TestCgroupsOfALivingRunStay(t *testing.T) {
	root := t.TempDir()
	living := filepath.Join(root, cgroupPrefix+strconv.Itoa(os.Getpid())+"-1")
	dead := filepath.Join(root, cgroupPrefix+"4194305-1") // PID_MAX_LIMIT + 1, proc_sys_kernel(5)
	other := filepath.Join(root, "other")
	for _, dir := range []string{living, dead, other} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sweepCgroups(root)
	for dir, want := range map[string]bool{living: true, dead: false, other: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", filepath.Base(dir), err == nil, want)
		}
	}
}
