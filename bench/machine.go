package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/bench/result"
)

// machine describes what it is measured on. What cannot be found out stays empty.
func machine(graceinit string) result.Machine {
	m := result.Machine{Time: time.Now().UTC().Truncate(time.Second), CPU: value("/proc/cpuinfo", ":", "model name"), Cores: runtime.NumCPU(),
		OS: strings.Trim(value("/etc/os-release", "=", "PRETTY_NAME"), `"`), LoadBefore: load(), Versions: map[string]string{}}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	m.Versions[ours] = strings.TrimPrefix(firstLine(graceinit, "--version"), "graceinit version ")
	for _, name := range append(peerNames(), "nginx", "libserver-starter-perl", "python3", "nodejs", "puma", "gunicorn") {
		// The package's, since not all of them have an option for it.
		if v := firstLine("dpkg-query", "-W", "-f", "${Version}", name); v != "" {
			m.Versions[name] = v
		}
	}
	return m
}

// value finds a line "name: value" or "name=value".
func value(file, separator, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for in := bufio.NewScanner(bytes.NewReader(b)); in.Scan(); {
		if key, v, ok := strings.Cut(in.Text(), separator); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// load is the load average of the last minute.
func load() (average float64) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	_, _ = fmt.Sscan(string(b), &average) // 0 says that it is not known
	return average
}

func firstLine(args ...string) string {
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
