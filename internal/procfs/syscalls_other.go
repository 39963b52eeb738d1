//go:build !amd64

package procfs

// Newer architectures have ppoll(2) and pselect(2) only. These numbers are no system call's; -1 stands for none (proc_pid_syscall(5)).
const sysPoll, sysSelect = -2, -3
