//go:build !amd64

package procfs

// Newer architectures have ppoll(2) and pselect(2) only.
const sysPoll, sysSelect = -1, -1
