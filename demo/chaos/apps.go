package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// nginxConf has the worker's pid in every answer; the slow one comes at 2 KiB a second.
const nginxConf = `user www-data;
worker_processes 2;
pid %[1]s/small/nginx.pid;
error_log stderr notice;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path %[1]s/body;
    proxy_temp_path %[1]s/proxy;
    fastcgi_temp_path %[1]s/fastcgi;
    uwsgi_temp_path %[1]s/uwsgi;
    scgi_temp_path %[1]s/scgi;
    keepalive_requests 1000000;
    server {
        listen 127.0.0.1:%[2]d backlog=1024;
        location / { return 200 "pid $pid\n"; }
        location /slow { limit_rate 2k; return 200 "pid $pid %[3]s"; }
    }
}
`

// configure writes what the app reads.
func (e *episode) configure() error {
	if e.plan.App != nginx {
		return nil
	}
	return os.WriteFile(filepath.Join(e.dir, "nginx.conf"), fmt.Appendf(nil, nginxConf, e.dir, e.port, strings.Repeat(".", 2000)), 0o644)
}

func (e *episode) good() string {
	if e.plan.App == nginx {
		return e.kit.nginx
	}
	return e.kit.program(e.plan.App)
}

// install puts a good executable in its place, as a deployment does: written aside, then renamed over it.
func (e *episode) install() error {
	return e.replace(func(to string) error { return copyFile(e.good(), to) })
}

func (e *episode) replace(write func(to string) error) error {
	aside, err := os.MkdirTemp(e.dir, "aside-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	file := filepath.Join(aside, "app")
	return errors.Join(write(file), os.Rename(file, e.app))
}

// command is the init's, less its path.
func (e *episode) command() []string {
	p := e.plan
	args := append([]string{"--termination-log", e.terminationLog()}, p.Flags...)
	if p.SmallDisk {
		e.control = filepath.Join(e.small, "control.sock")
		args = append(args, "--control", e.control)
	}
	if p.Check {
		args = append(args, "--check", e.kit.self+" "+roleHelper+" check")
	}
	if p.End == endRemapped {
		args = append(args, "-e", strconv.Itoa(p.EndArg))
	}
	addr := "127.0.0.1:" + strconv.Itoa(e.port)
	switch p.App {
	case grace:
		args = append(args, "--", e.app, "-a0", addr, "-a1", "127.0.0.1:"+strconv.Itoa(e.more[0]), "-a2", "127.0.0.1:"+strconv.Itoa(e.more[1]))
	case tableflip:
		args = append(args, "--", e.app, "-addr", addr)
	case nginx:
		args = append(args, "--reparent", "--predecessor-signal", "QUIT", "--stop-signal", "QUIT",
			"--", e.app, "-e", "stderr", "-c", filepath.Join(e.dir, "nginx.conf"), "-g", "daemon off;")
	default:
		if p.SmallDisk && !p.Nobody {
			args = append(args, "--notify", filepath.Join(e.small, "notify.sock"))
		}
		ready := "@chaos-ready-" + e.name + "-"
		if p.Probe {
			args = append(args, "--ready", "exec:"+e.kit.self+" "+roleHelper+" "+ready)
		}
		args = append(args, "--listen", "tcp://"+addr, "--", e.app, roleApp, "-name", ready, "-code", strconv.Itoa(p.Code),
			"-silent="+strconv.FormatBool(p.Silent), "-watchdog="+strconv.FormatBool(p.Watchdog > 0))
	}
	return args
}

// terminationLog is on the small disk where the cause of an end can be read elsewhere.
func (e *episode) terminationLog() string {
	if e.plan.SmallDisk && e.plan.Stderr == stderrRead {
		return filepath.Join(e.small, "termination-log")
	}
	return filepath.Join(e.dir, "termination-log")
}

func (e *episode) loadConfig() load.Config {
	c := load.Config{Addr: "127.0.0.1:" + strconv.Itoa(e.port), KeepAliveRate: 60, FreshRate: 30, SlowInFlight: 4,
		SlowPath: "/sleep/?duration=400ms", FastTimeout: 15 * time.Second}
	switch e.plan.App {
	case grace:
		c.FastPath, c.PID = "/sleep/?duration=0s", regexp.MustCompile(`from pid (\d+)`)
	case nginx:
		c.SlowPath = "/slow"
	}
	return c
}

// exitCode is what the app exits with when it is told to stop.
func (e *episode) exitCode() int { return e.plan.Code }

// bad are the ways in which a successor goes wrong. Those with spawn end only if graceinit ends them.
type bad struct {
	name   string
	what   string
	spawn  bool // only where graceinit starts the successor
	script string
	write  func(k *strike, to string) error
}

var badSuccessors = []bad{
	{name: "exits", what: "exits at once, with any code", script: "exits-%d"},
	{name: "crashes", what: "crashes by a signal", script: "crashes"},
	{name: "hangs", what: "hangs, deaf to SIGTERM", spawn: true, script: "hangs-0"},
	{name: "never ready", what: "lives, and is never ready", spawn: true, script: "silent-0"},
	{name: "dies in probation", what: "serves, says READY=1, and dies in its probation", spawn: true, script: "dies-%d"},
	{name: "closes the listener", what: "closes the listener, and stays", spawn: true, script: "closes-0"},
	{name: "forks and leaves", what: "leaves a child that holds the listener, and exits", spawn: true, script: "leaves-%d"},
	{name: "garbage", what: "notifies garbage, and exits", spawn: true, script: "garbage-%d"},
	{name: "missing", what: "is not there", write: func(k *strike, _ string) error { return os.Remove(k.app) }},
	{name: "empty", what: "is empty", write: func(_ *strike, to string) error { return os.WriteFile(to, nil, 0o755) }},
	{name: "not executable", what: "has no x bit", write: func(k *strike, to string) error {
		return errors.Join(copyFile(k.good(), to), os.Chmod(to, 0o644))
	}},
	{name: "wrong machine", what: "is built for another machine", write: func(k *strike, to string) error {
		return k.spoil(to, func(elf []byte) []byte { elf[18] = 21; return elf }) // e_machine: ppc64 (elf.h)
	}},
	{name: "truncated", what: "was cut off", write: func(k *strike, to string) error {
		// In the first half: without its last bytes, the section headers, it would run.
		return k.spoil(to, func(elf []byte) []byte { return elf[:1+k.IntN(len(elf)/2)] })
	}},
	{name: "corrupt", what: "has random bytes behind its header", write: func(k *strike, to string) error {
		return k.spoil(to, func(elf []byte) []byte {
			for i := 64; i < len(elf); i++ {
				elf[i] = byte(k.Uint32())
			}
			return elf
		})
	}},
	{name: "no interpreter", what: "is a script whose interpreter is missing", write: func(_ *strike, to string) error {
		return os.WriteFile(to, []byte("#!/does/not/exist\n"), 0o755)
	}},
}

// spoil writes the good executable, changed.
func (k *strike) spoil(to string, change func([]byte) []byte) error {
	elf, err := os.ReadFile(k.good())
	if err != nil {
		return err
	}
	return os.WriteFile(to, change(elf), 0o755)
}

// put installs the bad successor, and returns the exit code that it will have, or -1.
func (k *strike) put(b bad) (code int, err error) {
	if b.name == "missing" {
		return -1, b.write(k, "")
	}
	if b.write != nil {
		return -1, k.replace(func(to string) error { return b.write(k, to) })
	}
	kind := b.script
	switch {
	case b.name == "crashes":
		signals := []int{1, 2, 9, 15}
		n := signals[k.IntN(len(signals))]
		code, kind = 128+n, "crashes-"+strconv.Itoa(n)
	case strings.Contains(kind, "%d"):
		code = k.IntN(256)
		kind = fmt.Sprintf(kind, code)
	}
	return code, k.replace(func(to string) error {
		return os.WriteFile(to, []byte("#!"+k.kit.self+" "+roleBad+kind+"\n"), 0o755)
	})
}
