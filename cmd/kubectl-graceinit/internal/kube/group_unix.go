//go:build unix

package kube

import (
	"os/exec"
	"syscall"
)

// ownGroup puts a command into a process group of its own: ^C on the terminal is for us, who let begun upgrades end.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
