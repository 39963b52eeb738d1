package kube

import (
	"os/exec"
	"syscall"
)

// ownGroup puts a command into a process group of its own: ^C in the console is for us, who let begun upgrades end.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
