package procfs

import "golang.org/x/sys/unix"

const sysPoll, sysSelect = unix.SYS_POLL, unix.SYS_SELECT
