package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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

func TestEverySignalIsForwarded(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		in := start(t, o, []string{"--upgrade=off", "--shutdown-signal=PWR"}, testproc.Self("signals")...)
		in.Await("ready")
		for s := signals.Signal(1); s <= signals.Last; s++ {
			if signals.FateOf(s) != signals.Forward || s == signals.Signal(syscall.SIGPWR) {
				continue
			}
			in.Signal(syscall.Signal(s))
			in.Await("got " + s.String() + "\n")
		}
		in.CloseStdin()
		in.Await("eof")
		if code := in.Wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		counts := map[string]int{}
		for line := range strings.Lines(in.Stdout()) {
			counts[line]++
		}
		for line, n := range counts {
			if n != 1 {
				t.Errorf("%d times %q", n, line)
			}
		}
	})
}

// The runtime preempts goroutines by sending itself SIGURG, above all when it is busy; the init is when it
// reaps and logs thousands of orphans.
func TestNoSignalOfOurOwnReachesTheApp(t *testing.T) {
	in := start(t, testproc.Options{Ns: true}, []string{"-w"}, testproc.Self("signals", "3000")...)
	in.Await("left")
	testproc.Until(t, "no zombie", func() bool { return len(in.Inside()) == 2 })
	in.CloseStdin()
	in.Await("eof")
	in.Wait()
	if got := in.Stdout(); strings.Contains(got, "got ") {
		t.Errorf("the app got a signal that nobody sent:\n%s", got)
	}
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
		{[]string{"--upgrade=maybe"}, "is none of auto, forward, off"},
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
		if got := in.Field("notify"); !strings.HasPrefix(got, "@graceinit-notify-") {
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

// Ignored and blocked signals pass through the init as they pass through tini. Reading what the runtime found
// takes a release build.
func TestInheritedSignalsReachTheApp(t *testing.T) {
	needsRelease(t)
	in := testproc.Start(t, testproc.Options{}, []string{"/bin/sh", "-c",
		`trap "" HUP PIPE USR1 TTIN; exec "$0" "$@"`, initProgram()[0], "--", "/bin/sh", "-c", "grep -E '^Sig(Ign|Blk)' /proc/$$/status; echo done"})
	in.Await("done")
	in.Wait()
	// HUP 1, USR1 10, PIPE 13, TTIN 21.
	if want := fmt.Sprintf("SigIgn:\t%016x", 1<<0|1<<9|1<<12|1<<20); !strings.Contains(in.Stdout(), want) {
		t.Errorf("want %s in:\n%s", want, in.Stdout())
	}
}

// A mask passes through too, and the init hears what it blocks.
func TestBlockedSignalsStayBlockedInTheApp(t *testing.T) {
	needsRelease(t)
	// Neither a shell nor a Go program will do as the app: both unblock signals for themselves.
	command := append(append(initCommand()[:len(initCommand())-1], "--stop-timeout=100ms", "--"), "/bin/sleep", "1000")
	in := testproc.Start(t, testproc.Options{}, testproc.Self("blocked"), command...)
	var status string
	testproc.Until(t, "the app", func() bool {
		for _, child := range testproc.Children(in.Cmd.Process.Pid) {
			status = readFile(t, fmt.Sprintf("/proc/%d/status", child))
		}
		return strings.HasPrefix(status, "Name:\tsleep\n")
	})
	const want = 1<<9 | 1<<14 | 1<<16 | 1<<26 // USR1 10, TERM 15, CHLD 17, PROF 27
	_, blocked, _ := strings.Cut(status, "SigBlk:\t")
	if got, _ := strconv.ParseUint(blocked[:16], 16, 64); got != want {
		t.Errorf("the app blocks %x, want %x", got, want)
	}
	in.Signal(syscall.SIGTERM)
	if code := in.Wait(); code != 137 {
		t.Errorf("exit code %d, want 137: the app blocks SIGTERM, the init does not", code)
	}
}

func needsRelease(t *testing.T) {
	if !released() {
		t.Skip("SKIPPED: needs a release build in GRACEINIT_BIN (make test runs it with one)")
	}
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

func TestLogCannotBlockOrKill(t *testing.T) {
	for name, setup := range map[string]func(t *testing.T, cmd *exec.Cmd){
		"closed": func(t *testing.T, cmd *exec.Cmd) {
			r, w, _ := os.Pipe()
			_ = r.Close()
			cmd.Stderr = w
			t.Cleanup(func() { _ = w.Close() })
		},
		"full": func(t *testing.T, cmd *exec.Cmd) {
			r, w, _ := os.Pipe()
			size, _ := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
			_, _ = w.Write(make([]byte, size))
			cmd.Stderr = w
			t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := testproc.Options{Setup: func(cmd *exec.Cmd) { setup(t, cmd) }}
			in := start(t, o, []string{"-vv", "-w"}, testproc.Self("signals")...)
			in.Await("ready")
			for range 300 { // more lines than the log holds
				in.Signal(syscall.SIGHUP)
			}
			in.Signal(syscall.SIGUSR1)
			in.Await("got SIGUSR1")
			in.CloseStdin()
			if code := in.Wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if strings.Contains(in.Stdout(), "got SIGPIPE") {
				t.Error("the app got the SIGPIPE of our own log")
			}
		})
	}
}

func TestTerminationMessage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "termination-log")
	flags := []string{"--termination-log", path}
	start(t, testproc.Options{}, flags, "/bin/sh", "-c", "exit 3").Wait()
	if _, err := os.Stat(path); err == nil {
		t.Error("the file was created")
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, testproc.Options{}, flags, "/bin/sh", "-c", "exit 0").Wait()
	if text := readFile(t, path); text != "" {
		t.Errorf("after exit 0: %q", text)
	}
	start(t, testproc.Options{}, flags, "/bin/sh", "-c", "kill -SEGV $$").Wait()
	if text := readFile(t, path); !strings.Contains(text, "killed by SIGSEGV") {
		t.Errorf("after SIGSEGV: %q", text)
	}
	start(t, testproc.Options{}, flags, "/bin/sh", "-c", "exit 3").Wait()
	if text := readFile(t, path); strings.Contains(text, "code 3") {
		t.Error("an existing message was overwritten")
	}
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

// A signal sent to a thread looks like one that the runtime sends itself.
func TestSignalsToAThread(t *testing.T) {
	in := start(t, testproc.Options{}, []string{"--stop-signal=HUP"}, testproc.Self("signals")...)
	in.Await("ready")
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGURG, syscall.SIGTERM} {
		if err := unix.Tgkill(in.Cmd.Process.Pid, in.Cmd.Process.Pid, s); err != nil {
			t.Fatal(err)
		}
	}
	in.Await("got SIGUSR1")
	in.Await("got SIGURG")
	in.Await("got SIGHUP")
	in.CloseStdin()
	if code := in.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A signal that does not fit into the pipe, while the init is stopped, is not lost.
func TestFloodOfSignals(t *testing.T) {
	in := start(t, testproc.Options{}, []string{"--shutdown-signal=PWR"}, testproc.Self("signals")...)
	in.Await("ready")
	// Real-time signals queue: more than the pipe holds, and then one more kind.
	for range 70_000 {
		_ = in.Cmd.Process.Signal(syscall.Signal(40)) // the kernel's own queue may be full as well
	}
	in.Signal(syscall.SIGTERM)
	in.Await("got SIGTERM")
}

func TestFewFDs(t *testing.T) {
	in := testproc.Start(t, testproc.Options{}, append([]string{"/bin/sh", "-c", `trap "" HUP; ulimit -n 64; exec "$0" "$@"`},
		append(initCommand(), "/bin/echo", "hi")...))
	if code := in.Wait(); code != 0 || in.Stdout() != "hi\n" {
		t.Errorf("exit code %d, output %q", code, in.Stdout())
	}
}

// A write beyond the file size limit raises SIGXFSZ in whoever writes, which is us.
func TestLogBeyondTheFileSizeLimit(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	o := testproc.Options{Setup: func(cmd *exec.Cmd) { cmd.Stderr = log }}
	in := testproc.Start(t, o, append([]string{"/bin/sh", "-c", `ulimit -f 1; exec "$0" "$@"`},
		append(append(initCommand()[:len(initCommand())-1], "--log-level=debug", "--"), testproc.Self("signals")...)...))
	in.Await("ready")
	for range 40 {
		in.Signal(syscall.SIGHUP)
	}
	in.Signal(syscall.SIGUSR1)
	in.Await("got SIGUSR1")
	in.CloseStdin()
	in.Wait()
	if strings.Contains(in.Stdout(), "SIGXFSZ") {
		t.Error("the app got the SIGXFSZ of our own log")
	}
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
