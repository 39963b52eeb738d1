package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/internal/testproc"
)

// modes are the two ways to be an init.
var modes = map[string]testproc.Options{
	"PID 1":     {Ns: true},
	"subreaper": {},
}

// inEachMode runs a test as PID 1 and as a subreaper.
func inEachMode(t *testing.T, test func(t *testing.T, o testproc.Options)) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, o) })
	}
}

func TestExitCodeIsTheApps(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		for _, code := range []int{0, 1, 2, 42, 126, 127, 128, 255} {
			if got := start(t, o, nil, "/bin/sh", "-c", fmt.Sprintf("exit %d", code)).Wait(); got != code {
				t.Errorf("exit code %d, want %d", got, code)
			}
		}
		for _, sig := range []int{1, 6, 9, 11, 15} {
			if got := start(t, o, nil, "/bin/sh", "-c", fmt.Sprintf("kill -%d $$", sig)).Wait(); got != 128+sig {
				t.Errorf("after signal %d: exit code %d, want %d", sig, got, 128+sig)
			}
		}
		if got := start(t, o, []string{"-e", "143"}, "/bin/sh", "-c", "kill -TERM $$").Wait(); got != 0 {
			t.Errorf("remapped exit code %d, want 0", got)
		}
	})
}

func TestOrphansAreReaped(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		in := start(t, o, nil, testproc.Self("orphans", "2000")...)
		in.Await("left")
		testproc.Until(t, "no zombie", func() bool {
			if !o.Ns {
				return len(testproc.Children(in.Cmd.Process.Pid)) == 1
			}
			return len(in.Inside()) == 2 // the init and the app
		})
		in.CloseStdin()
		if code := in.Wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestNoStatusOfTheAppsChildrenIsStolen(t *testing.T) {
	in := start(t, testproc.Options{Ns: true}, nil, testproc.Self("kids", "500")...)
	if code := in.Wait(); code != 0 || !strings.Contains(in.Stdout(), "none lost") {
		t.Errorf("exit code %d", code)
	}
}

func TestCommandThatCannotBeExecuted(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	exe, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	foreign := append([]byte(nil), exe...)
	foreign[18], foreign[19] = 0xF3, 0 // e_machine: RISC-V
	for _, c := range []struct {
		command string
		code    int
		message string
	}{
		{"/no/such/file", 127, "no such file"},
		{"no-such-command", 127, "not found in PATH"},
		{dir, 126, "is a directory"},
		{file("plain", "hello", 0o644), 126, "no x bit"},
		{file("empty", "", 0o755), 126, "is empty"},
		{file("foreign", string(foreign), 0o755), 126, "built for RISC-V"},
		{file("truncated", string(exe[:20]), 0o755), 126, "truncated ELF"},
		{file("interpreterless", "#!/no/such/interpreter\n", 0o755), 127, "its interpreter /no/such/interpreter"},
		{file("dos", "#!/bin/sh\r\n", 0o755), 127, "carriage return"},
		{file("binary", "\x00\x01\x02", 0o755), 126, "neither an ELF program nor a script"},
		{"", 1, "command is empty"},
	} {
		in := start(t, testproc.Options{}, nil, c.command)
		if code := in.Wait(); code != c.code {
			t.Errorf("%q: exit code %d, want %d", c.command, code, c.code)
		}
		if log := in.Stderr(); !strings.Contains(log, c.message) || strings.Count(log, "\n") != 1 {
			t.Errorf("%q: want one line with %q, got:\n%s", c.command, c.message, log)
		}
	}
	in := start(t, testproc.Options{}, nil, file("script", "echo run by sh; exit 7", 0o755))
	if code := in.Wait(); code != 7 || in.Stdout() != "run by sh\n" {
		t.Errorf("script without #!: exit code %d, output %q", code, in.Stdout())
	}
}

func TestBadUsage(t *testing.T) {
	for _, c := range []struct {
		flags   []string
		message string
	}{
		{[]string{"--no-such-option"}, "unknown option --no-such-option"},
		{[]string{"-Z"}, "unknown option -Z"},
		{[]string{"--stop-timeout=5"}, `option --stop-timeout: "5" is not a duration`},
		{[]string{"--stop-timeout=-5s"}, "is negative"},
		{[]string{"--rewrite", "NOSUCH:1"}, `"NOSUCH" is not a signal`},
		{[]string{"-e", "256"}, "is not an exit code"},
		{[]string{"--upgrade=maybe"}, "is none of auto, spawn, forward, off"},
	} {
		in := start(t, testproc.Options{}, c.flags, "true")
		if code := in.Wait(); code != 1 || !strings.Contains(in.Stderr(), c.message) {
			t.Errorf("%q: exit code %d, want 1 and %q in:\n%s", c.flags, code, c.message, in.Stderr())
		}
	}
	in := start(t, testproc.Options{Env: []string{"GRACEINIT_KILL_TIMEOUT=soon"}}, nil, "true")
	if code := in.Wait(); code != 1 || !strings.Contains(in.Stderr(), `GRACEINIT_KILL_TIMEOUT=soon: "soon" is not a duration`) {
		t.Errorf("exit code %d:\n%s", code, in.Stderr())
	}
}

func TestWhatTheAppFinds(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		in := start(t, o, nil, testproc.Self("state")...)
		pid := in.Field("pid")
		if got := in.Field("pgrp"); got != pid {
			t.Errorf("process group %s, want its own (%s)", got, pid)
		}
		if got := in.Field("notify"); !strings.HasPrefix(got, "/dev/shm/graceinit-notify-") {
			t.Errorf("NOTIFY_SOCKET is %q", got)
		}
		in.Await("state printed")
		for _, app := range testproc.Children(in.Cmd.Process.Pid) {
			for fd := 3; fd < 20; fd++ {
				link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", app, fd))
				ours, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
				// What the runner of the tests left open comes through, and the helper's own runtime opens some.
				if err != nil || link == ours || strings.HasPrefix(link, "anon_inode:") || strings.HasPrefix(link, "/sys/fs/cgroup") {
					continue
				}
				t.Errorf("the app inherits fd %d: %s", fd, link)
			}
		}
		in.CloseStdin()
		in.Wait()
	})
}

func readFile(t *testing.T, path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestListenPIDNamesTheApp(t *testing.T) {
	in := testproc.Start(t, testproc.Options{}, append([]string{"/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`},
		append(initCommand(), testproc.Self("state")...)...))
	in.Await("state printed")
	if pid, listen := in.Field("pid"), in.Field("listen_pid"); pid != listen {
		t.Errorf("LISTEN_PID=%s, the app is %s", listen, pid)
	}
}

// initCommand is the init as a command line.
func initCommand() []string {
	if released() {
		return append(initProgram(), "--")
	}
	return append(testproc.Self("init"), "--")
}

func TestShutdown(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		t.Run("leftovers", func(t *testing.T) {
			// An orphan that does not listen to SIGTERM outlives the app, and is killed.
			in := start(t, o, []string{"--kill-timeout=100ms"}, "/bin/sh", "-c",
				`setsid sh -c 'trap "echo told" TERM; echo waiting; while :; do sleep 1; done' & read -r line; exit 5`)
			in.Await("waiting")
			in.CloseStdin()
			if code := in.Wait(); code != 5 {
				t.Errorf("exit code %d, want 5", code)
			}
			if !strings.Contains(in.Stderr(), "processes are left over: sending SIGKILL") {
				t.Error("SIGKILL was not logged")
			}
		})
		t.Run("stop timeout", func(t *testing.T) {
			in := start(t, o, []string{"--stop-timeout=100ms"}, testproc.Self("stuck")...)
			in.Await("stuck")
			in.Signal(syscall.SIGTERM)
			if code := in.Wait(); code != 137 {
				t.Errorf("exit code %d, want 137", code)
			}
		})
		t.Run("second SIGTERM", func(t *testing.T) {
			in := start(t, o, []string{"--stop-timeout=3s"}, testproc.Self("stuck")...)
			in.Await("stuck")
			in.Signal(syscall.SIGTERM)
			in.Await("got SIGTERM")
			in.Signal(syscall.SIGTERM)
			in.Log("second shutdown signal is not passed on")
			in.Wait()
			if n := strings.Count(in.Stdout(), "got SIGTERM"); n != 1 {
				t.Errorf("the app got SIGTERM %d times", n)
			}
		})
		t.Run("drain delay", func(t *testing.T) {
			in := start(t, o, []string{"--drain-delay=1h"}, testproc.Self("server", "waits")...)
			address := in.Field("address")
			in.Signal(syscall.SIGTERM)
			in.Log("msg=shutdown")
			conn, _ := dial(t, address) // the app does not know yet
			_ = conn.Close()
			in.Signal(syscall.SIGTERM) // skips the delay, not the drain
			if code := in.Wait(); code != 0 || !strings.Contains(in.Stdout(), "drained") {
				t.Errorf("exit code %d", code)
			}
		})
		t.Run("stop signal", func(t *testing.T) {
			in := start(t, o, []string{"--stop-signal=QUIT"}, testproc.Self("server", "waits")...)
			in.Field("address")
			in.Signal(syscall.SIGTERM)
			in.Await("got quit")
			in.Wait()
		})
	})
}

func TestPeersDefaults(t *testing.T) {
	t.Run("dumb-init leads a session", func(t *testing.T) {
		in := start(t, testproc.Options{Args0: "dumb-init"}, nil, testproc.Self("state")...)
		if pid, sid := in.Field("pid"), in.Field("sid"); pid != sid {
			t.Errorf("pid %s, session %s", pid, sid)
		}
	})
	t.Run("tini exits with the app", func(t *testing.T) {
		in := start(t, testproc.Options{Args0: "tini", Ns: true}, nil, "/bin/sh", "-c",
			`trap "" TERM; setsid sleep 1000 & exit 4`)
		if code := in.Wait(); code != 4 || strings.Contains(in.Stderr(), "left over") {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("tini passes on every SIGTERM", func(t *testing.T) {
		in := start(t, testproc.Options{Args0: "tini"}, nil, testproc.Self("stuck")...)
		in.Await("stuck")
		in.Signal(syscall.SIGTERM)
		in.Await("got SIGTERM\n")
		in.Signal(syscall.SIGTERM)
		in.Await("got SIGTERM\ngot SIGTERM\n")
	})
	t.Run("SIGUSR2 is a signal like any other", func(t *testing.T) {
		for _, name := range []string{"tini", "dumb-init", "catatonit"} {
			in := start(t, testproc.Options{Args0: name}, nil, testproc.Self("signals")...)
			in.Await("ready")
			in.Signal(syscall.SIGUSR2)
			in.Await("got SIGUSR2")
		}
	})
}

func TestPauseReaps(t *testing.T) {
	in := testproc.Start(t, testproc.Options{}, append(initCommand()[:len(initCommand())-1], "-P"))
	testproc.Until(t, "SIGCHLD ignored", func() bool {
		for line := range strings.Lines(readFile(t, "/proc/"+strconv.Itoa(in.Cmd.Process.Pid)+"/status")) {
			if bits, ok := strings.CutPrefix(line, "SigIgn:\t"); ok {
				n, _ := strconv.ParseUint(strings.TrimSpace(bits), 16, 64)
				return signals.Set(n).Has(signals.Signal(syscall.SIGCHLD))
			}
		}
		return false
	})
	in.Signal(syscall.SIGTERM)
	if code := in.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
