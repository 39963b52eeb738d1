package runtimes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// hardened is how a container should run.
var hardened = []string{"--user", "1000", "--cap-drop", "ALL", "--read-only"}

// TestExitCodes: graceinit is PID 1, and its exit code is the app's.
func TestExitCodes(t *testing.T) {
	onEach(t, "", func(t *testing.T, e *engine) {
		for _, c := range []struct{ name, args, code, says string }{
			{"success", "/probe exit 0", "0", "parent 1\n"}, // graceinit is PID 1
			{"failure", "/probe exit 7", "7", "parent 1\n"},
			{"terminated", "/probe die 15", "143", "SIGTERM"},
			{"killed", "/probe die 9", "137", "SIGKILL"},
			{"no-such-file", "/nothing", "127", "cannot execute /nothing: no such file or directory"},
			{"not-in-PATH", "nothing", "127", "cannot execute nothing: not found in PATH"},
			{"not-executable", "/plain", "126", "cannot execute /plain: permission denied"},
		} {
			t.Run(c.name, func(t *testing.T) {
				ct := e.start(t, hardened, append([]string{"--"}, strings.Fields(c.args)...)...)
				if code := ct.exit(); code != c.code {
					t.Errorf("exit code %s, want %s", code, c.code)
				}
				if log := ct.log(); !strings.Contains(log, c.says) {
					t.Errorf("want %q in the log: %s", c.says, log)
				}
			})
		}
	})
}

// TestSignals: what the engine sends reaches the app, SIGTERM ends it.
func TestSignals(t *testing.T) {
	onEach(t, "", func(t *testing.T, e *engine) {
		c := e.start(t, hardened, "--upgrade", "off", "--", "/probe", "signals")
		c.until("the app", func() bool { return strings.Contains(c.log(), "listens") })
		for name, text := range map[string]string{"HUP": "hangup", "INT": "interrupt", "QUIT": "quit", "USR1": "user defined signal 1",
			"USR2": "user defined signal 2", "CONT": "continued", "WINCH": "window changed"} {
			c.must("kill", "-s", name, c.name)
			c.until(name, func() bool { return strings.Contains(c.log(), "got "+text+"\n") })
		}
		c.must("stop", "-t", "20", c.name)
		if code := c.exit(); code != "3" {
			t.Errorf("exit code %s, want 3", code)
		}
	})
}

// status is of the answer of `graceinit status --json` what is looked at here.
type status struct {
	PID        int
	State      string
	Mode       string
	Generation int
	Ready      bool
	Zombies    int
	Upgrade    *struct {
		Step        string
		Connections *int
	}
}

func (c *container) status() (s status) {
	c.t.Helper()
	out, code := c.exec(nil, "/graceinit", "status", "--json")
	if code != 0 {
		return status{}
	}
	line := struct{ Status *status }{&s}
	if err := json.Unmarshal([]byte(out), &line); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	return s
}

// serves waits until a generation does.
func (c *container) serves(generation int) {
	c.t.Helper()
	c.until("a generation that is ready", func() bool {
		s := c.status()
		return s.PID == 1 && s.Generation == generation && s.Ready && s.State == "running"
	})
}

// load is a running one.
type load struct {
	c     *container
	stdin io.WriteCloser
	out   *bufio.Reader
	wait  func() error
}

// load starts one and returns when it runs in full.
func (c *container) load(slow string) *load {
	c.t.Helper()
	cmd := c.e.command(c.t.Context(), "exec", "-i", c.name, "/load", "127.0.0.1:8080", slow)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	l := &load{c: c, stdin: stdin, out: bufio.NewReader(stdout), wait: cmd.Wait}
	if line, err := l.out.ReadString('\n'); line != "busy\n" {
		c.t.Fatalf("the load says %q, %v: %s", line, err, stderr.String())
	}
	return l
}

// end ends the load. No request may have failed, and so many processes must have answered.
func (l *load) end(generations int) {
	l.c.t.Helper()
	_ = l.stdin.Close()
	var result struct {
		Requests   int
		Generation map[string]int
		Failures   []string
	}
	if err := json.NewDecoder(l.out).Decode(&result); err != nil {
		l.c.t.Fatal(err)
	}
	if err := l.wait(); err != nil {
		l.c.t.Error(err)
	}
	if len(result.Failures) > 0 || len(result.Generation) != generations || result.Requests == 0 {
		l.c.t.Errorf("%d requests, answered by %v, want %d pids; %d failed: %.2000q", result.Requests, result.Generation,
			generations, len(result.Failures), result.Failures)
	}
	l.c.t.Logf("%d requests, none failed; by pid: %v", result.Requests, result.Generation)
}

// TestSpawn is a hardened container's life: a server that takes LISTEN_FDS, under load through three upgrades, with orphans
// and a stop.
func TestSpawn(t *testing.T) {
	onEach(t, "", func(t *testing.T, e *engine) {
		c := e.start(t, hardened, "--listen", "tcp://127.0.0.1:8080", "--probation", "0s", "--settle", "1h", "--ready-timeout", "20s",
			"--", "/plaingo", "-ready")
		c.serves(1)
		if s := c.status(); s.Mode != "spawn" {
			t.Errorf("%+v", s)
		}
		l := c.load("/sleep/?duration=3s")

		// By the control socket, which waits for the drain.
		if out, code := c.exec(nil, "/graceinit", "upgrade"); code != 0 || !strings.Contains(out, "upgrade 1 done") {
			t.Errorf("upgrade: exit code %d: %s", code, out)
		}
		c.serves(2)
		// By the signal. The slow requests of the predecessor can be seen.
		c.must("kill", "-s", "USR2", c.name)
		c.until("the predecessor's connections", func() bool {
			u := c.status().Upgrade
			return u != nil && u.Step == "draining" && u.Connections != nil && *u.Connections > 0
		})
		c.serves(3)
		// With a binary, on a file system that is read-only.
		app, err := os.ReadFile(filepath.Join(tmp, "image", "plaingo"))
		if err != nil {
			t.Fatal(err)
		}
		if out, code := c.exec(bytes.NewReader(app), "/graceinit", "upgrade", "--binary", "-"); code != 0 {
			t.Errorf("upgrade --binary -: exit code %d: %s", code, out)
		}
		c.serves(4)
		l.end(4)
		if n := strings.Count(c.log(), `msg="upgrade done" connections_left=`); n != 3 {
			t.Errorf("%d upgrades done, want 3", n)
		}

		const orphans = 200
		if out, code := c.exec(nil, "/probe", "orphans", strconv.Itoa(orphans)); code != 0 {
			t.Fatalf("orphans: exit code %d: %s", code, out)
		}
		c.until("all orphans to be reaped", func() bool {
			return c.status().Zombies == 0 && c.metric("graceinit_reaped_orphans_total") >= orphans
		})
		if n := c.metric("graceinit_generation"); n != 4 {
			t.Errorf("metrics: generation %v", n)
		}
		c.stops()
	})
}

// stops ends the container as an operator does. The server finishes its work and exits with 0.
func (c *container) stops() {
	c.t.Helper()
	c.must("stop", "-t", "20", c.name)
	if code := c.exit(); code != "0" {
		c.t.Errorf("stopped: exit code %s", code)
	}
}

// TestForward: a server that upgrades itself. gVisor tells nobody which signals a process catches: what could kill the server
// is not sent unless graceinit is told to, and it says so.
func TestForward(t *testing.T) {
	onEach(t, "", func(t *testing.T, e *engine) {
		var told []string
		if e.sandbox {
			told = []string{"--upgrade", "forward"}
			c := e.start(t, hardened, "--", "/tableflip", "-addr", "127.0.0.1:8080")
			c.serves(1)
			c.must("kill", "-s", "USR2", c.name)
			c.until("the refusal", func() bool {
				return strings.Contains(c.log(), `msg="upgrade refused"`) &&
					strings.Contains(c.log(), "it cannot be seen whether the main process would survive SIGUSR2") &&
					strings.Contains(c.log(), "(--upgrade=forward sends it all the same)")
			})
			c.serves(1)
			c.remove()
		}
		c := e.start(t, hardened, append(told, "--", "/tableflip", "-addr", "127.0.0.1:8080")...)
		c.serves(1)
		if s := c.status(); s.Mode != "forward" {
			t.Errorf("%+v", s)
		}
		l := c.load("/sleep/?duration=2s")
		c.must("kill", "-s", "USR2", c.name)
		c.until("the upgrade's end", func() bool { return strings.Contains(c.log(), `msg="upgrade done"`) })
		c.serves(2)
		l.end(2)
		c.stops()
	})
}

// TestControlName: the control socket's own name leads to it.
func TestControlName(t *testing.T) {
	onEach(t, "", func(t *testing.T, e *engine) {
		c := e.start(t, append([]string{"-e", "GRACEINIT_CONTROL="}, hardened...), "--", "/probe", "signals")
		c.until("the app", func() bool { return strings.Contains(c.log(), "listens") })
		out, code := c.exec(nil, "/graceinit", "status")
		if code != 0 {
			t.Errorf("exit code %d: %s", code, out)
		}
	})
}

// TestInitPath: podman is told of the init for a container. It starts it without flags, so all is told it by the environment.
// Docker is told once for all containers: the container tests do that.
func TestInitPath(t *testing.T) {
	onEach(t, "podman", func(t *testing.T, e *engine) {
		c := e.create(t, append([]string{"--init", "--init-path", filepath.Join(tmp, "image", "graceinit"),
			"-e", "GRACEINIT_LISTEN=tcp://127.0.0.1:8080", "-e", "GRACEINIT_PROBATION=0s"}, hardened...), "/plaingo", "-ready")
		c.serves(1)
		c.must("kill", "-s", "USR2", c.name)
		c.serves(2)
		c.stops()
	})
}

// metric is one that `graceinit metrics` prints, or -1.
func (c *container) metric(name string) float64 {
	c.t.Helper()
	out, code := c.exec(nil, "/graceinit", "metrics")
	if code != 0 {
		c.t.Fatalf("metrics: exit code %d: %s", code, out)
	}
	for line := range strings.Lines(out) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return n
		}
	}
	return -1
}
