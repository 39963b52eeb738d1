package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/notify"
	"github.com/graceinit/graceinit/internal/testproc"
)

// helperActivated is a server that takes its listener by LISTEN_FDS. It answers every connection with its generation,
// and drains on SIGTERM. Its kind says what is wrong with it:
//
//	good      nothing; ready says READY=1 as well
//	grace     says that it is ready by SIGTERM to its parent, unless that is PID 1
//	exits     with 7 at once
//	late      drains and exits with 9, 1 s after its start
//	deaf      accepts no connection
//	hangs     accepts connections, but never says READY=1 (after a predecessor that did)
func helperActivated(args []string) int {
	kind := args[0]
	if kind == "exits" {
		fmt.Println("exits")
		return 7
	}
	fmt.Printf("listen_pid_ok %v\nlisten_fdnames %s\nkind %s %d\n", os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()),
		os.Getenv("LISTEN_FDNAMES"), kind, os.Getpid())
	c := make(chan os.Signal, 9)
	signal.Notify(c, syscall.SIGTERM)
	if kind == "deaf" { // it knows nothing of its fd 3
		<-c
		return 0
	}
	open := connections{make(chan struct{}, 1000)}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go open.answer(l, os.Getenv("GRACEINIT_GENERATION")+" "+kind)
	switch kind {
	case "grace":
		if parent := os.Getppid(); parent != 1 {
			_ = syscall.Kill(parent, syscall.SIGTERM)
		}
	case "ready":
		if err := notify.Send(os.Getenv("NOTIFY_SOCKET"), "READY=1\nSTATUS=serving"); err != nil {
			fmt.Println(err)
		}
	case "late":
		go func() {
			time.Sleep(time.Second) // what a crash a while after the start is
			c <- syscall.SIGTERM
		}()
	}
	fmt.Printf("%s got %v\n", kind, <-c)
	_ = l.Close()
	fmt.Println(kind, "accepts no more")
	open.wait()
	if kind == "late" {
		return 9
	}
	return 0
}

// answer is serve with a text of its own.
func (c *connections) answer(l net.Listener, text string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		c.open <- struct{}{}
		go func() {
			fmt.Fprintln(conn, text)
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
			<-c.open
		}()
	}
}

// app is an executable that the tests replace: a script that starts the helper.
type app struct {
	t    *testing.T
	path string
}

func newApp(t *testing.T, kind string) *app {
	a := &app{t: t, path: filepath.Join(t.TempDir(), "app")}
	a.become(kind)
	return a
}

// become replaces the executable by one of that kind, by a rename.
func (a *app) become(kind string) {
	a.write([]byte("#!/bin/sh\nexec "+strings.Join(testproc.Self("activated", kind), " ")+"\n"), 0o755)
}

func (a *app) write(content []byte, mode os.FileMode) {
	a.t.Helper()
	if err := errors.Join(os.WriteFile(a.path+".new", content, mode), os.Chmod(a.path+".new", mode), os.Rename(a.path+".new", a.path)); err != nil {
		a.t.Fatal(err)
	}
}

// spawned is an init that holds a listener, and its app.
type spawned struct {
	*testproc.Init
	*app
	address, control string
	ns               bool
}

func startSpawned(t *testing.T, o testproc.Options, kind string, flags ...string) *spawned {
	t.Helper()
	s := &spawned{app: newApp(t, kind), control: "@graceinit-test-" + strconv.Itoa(os.Getpid()) + "-" + strings.ReplaceAll(t.Name(), "/", "-")}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = free.Addr().String()
	_ = free.Close()
	all := append([]string{"--listen", "tcp://" + s.address + ",name=http", "--control", s.control, "--settle=300ms",
		"--ready-timeout=3s", "--probation=1s", "--log-level=debug"}, flags...)
	s.Init, s.ns = start(t, o, all, s.path), o.Ns
	if kind != "" {
		s.Await("kind " + kind)
	}
	return s
}

// ask connects and returns the connection and what the server said: its generation and kind.
func (s *spawned) ask() (net.Conn, string) {
	s.t.Helper()
	return dial(s.t, s.address)
}

func (s *spawned) expect(want string) {
	s.t.Helper()
	testproc.Until(s.t, want+" to answer", func() bool {
		conn, got := s.ask()
		_ = conn.Close()
		return got == want
	})
}

// command runs a subcommand against the init and returns its output and exit code.
func (s *spawned) command(args ...string) (string, int) {
	s.t.Helper()
	argv := append([]string{initProgram()[0]}, args...)
	if s.ns { // as kubectl exec does it: only who is inside is answered
		argv = append([]string{"/usr/bin/nsenter", "--target", strconv.Itoa(s.Cmd.Process.Pid), "--pid", "--mount", "--"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "GRACEINIT_CONTROL="+s.control)
	if !released() {
		cmd.Env = append(cmd.Env, "GRACEINIT_TESTPROC=init")
	}
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestSpawnUpgrades(t *testing.T) {
	for _, kind := range []string{"good", "ready", "grace"} {
		inEachMode(t, func(t *testing.T, o testproc.Options) {
			t.Run(kind, func(t *testing.T) {
				s := startSpawned(t, o, kind)
				s.expect("1 " + kind)
				for generation := 2; generation <= 4; generation++ {
					busy, _ := s.ask()
					s.Signal(syscall.SIGUSR2)
					s.Log(fmt.Sprintf("generation=%d", generation))
					s.expect(fmt.Sprintf("%d %s", generation, kind))
					s.Log("predecessor drains")
					_ = busy.Close()
					s.Log(fmt.Sprintf("to_generation=%d", generation))
				}
				if n := strings.Count(s.Stderr(), `msg="upgrade done"`); n != 3 {
					t.Errorf("%d upgrades done, want 3", n)
				}
				if out := s.Stdout(); strings.Contains(out, "listen_pid_ok false") || strings.Count(out, "listen_fdnames http") != 4 {
					t.Errorf("a generation did not get its listener rightly:\n%s", out)
				}
				s.Signal(syscall.SIGTERM)
				if code := s.Wait(); code != 0 {
					t.Errorf("exit code %d", code)
				}
				if kind == "grace" && !o.Ns && strings.Contains(s.Stderr(), "msg=shutdown") && strings.Count(s.Stderr(), "msg=shutdown") != 1 {
					t.Error("an app's SIGTERM to its parent was taken for the init's")
				}
			})
		})
	}
}

func TestBadSuccessors(t *testing.T) {
	elf, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(elf)
	foreign[18] = 21 // ppc64
	for name, c := range map[string]struct {
		first   string
		replace func(a *app)
		code    int
		want    string
		flags   []string
	}{
		"missing":        {"good", func(a *app) { _ = os.Remove(a.path) }, 1, "no such file", nil},
		"not executable": {"good", func(a *app) { _ = os.Chmod(a.path, 0o644) }, 1, "it has no x bit", nil},
		"directory":      {"good", func(a *app) { _ = os.Remove(a.path); _ = os.Mkdir(a.path, 0o755) }, 1, "directory", nil},
		"empty":          {"good", func(a *app) { a.write(nil, 0o755) }, 1, "it is empty", nil},
		"truncated":      {"good", func(a *app) { a.write(elf[:len(elf)/2], 0o755) }, 1, "truncated ELF", nil},
		"cut header":     {"good", func(a *app) { a.write(elf[:40], 0o755) }, 1, "truncated ELF", nil},
		"wrong machine":  {"good", func(a *app) { a.write(foreign, 0o755) }, 2, "it is built for ppc64", nil},
		"no interpreter": {"good", func(a *app) { a.write([]byte("#!/no/such\n"), 0o755) }, 2, "interpreter /no/such", nil},
		"exits":          {"good", func(a *app) { a.become("exits") }, 2, "exited with code 7", nil},
		"deaf":           {"good", func(a *app) { a.become("deaf") }, 2, "to accept connections, as its predecessor does", nil},
		"hangs":          {"ready", func(a *app) { a.become("good") }, 2, "waiting for READY=1", nil},
		"check":          {"good", func(*app) {}, 1, "the check failed: it exited with code 3", []string{"--check", "sh -c 'exit 3'"}},
		"no check":       {"good", func(*app) {}, 1, "the check failed: cannot execute /no/check", []string{"--check", "/no/check"}},
		"probe":          {"good", func(*app) {}, 2, "waiting for the probe to succeed: it exited with code 1", []string{"--ready", "exec:false"}},
		"probe refused":  {"good", func(*app) {}, 2, "the probe to succeed: connection refused", []string{"--ready", "tcp:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSpawned(t, testproc.Options{Ns: true}, c.first, append(c.flags, "--ready-timeout=2s")...)
			s.expect("1 " + c.first)
			busy, before := s.ask()
			c.replace(s.app)
			out, code := s.command("upgrade")
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, c.code, c.want, out)
			}
			s.Log(c.want)
			_ = busy.Close()
			testproc.Until(t, "one app process", func() bool { return len(s.Inside()) == 2 })
			for range 20 {
				conn, got := s.ask()
				_ = conn.Close()
				if got != before {
					t.Fatalf("%q answers, want the predecessor", got)
				}
			}
			// And once it is mended, it goes.
			if len(c.flags) == 0 {
				_ = os.Remove(s.path)
				s.become("ready")
				if out, code := s.command("upgrade", "--json"); code != 0 && !strings.Contains(out, "probation") {
					t.Errorf("exit code %d:\n%s", code, out)
				}
			}
		})
	}
}

// A delivered binary has no path, but what is wrong with it is said as well.
func TestBadDeliveredBinaries(t *testing.T) {
	elf, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(elf)
	foreign[18] = 21 // ppc64
	s := startSpawned(t, testproc.Options{Ns: true}, "good")
	s.expect("1 good")
	path := filepath.Join(t.TempDir(), "binary")
	for want, content := range map[string][]byte{
		"cannot execute the delivered binary: it is built for ppc64, this machine is":           foreign,
		"cannot execute the delivered binary: its interpreter /no/such (line 1) does not exist": []byte("#!/no/such\n"),
		"the delivered binary: it is a truncated ELF program":                                   elf[:len(elf)/2],
	} {
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, code := s.command("upgrade", "--binary", path); code == 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want %q in\n%s", code, want, out)
		}
	}
	out, _ := s.command("status")
	metrics, _ := s.command("metrics")
	if !strings.Contains(out, "upgrade 3 ") || !strings.Contains(metrics, `{outcome="refused"} 1`) || !strings.Contains(metrics, `{outcome="failed"} 2`) {
		t.Errorf("not all of them are counted:\n%s%s", out, metrics)
	}
}

func TestProbation(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		s := startSpawned(t, o, "good", "--probation=10s")
		s.expect("1 good")
		s.become("late")
		out, code := s.command("upgrade") // waits for the probation
		if code != 2 || !strings.Contains(out, "exited with code 9") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		s.Log(`msg="upgrade rolled back"`)
		if err := os.Remove(s.path); err != nil {
			t.Fatal(err)
		}
		s.expect("3 good") // started from what the path no longer leads to
		if out, code := s.command("status"); code != 0 || !strings.Contains(out, "rolled back") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		s.Signal(syscall.SIGTERM)
		if code := s.Wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestRollbackOnRequest(t *testing.T) {
	s := startSpawned(t, testproc.Options{Ns: true}, "good", "--probation=0s")
	if out, code := s.command("rollback"); code != 1 || !strings.Contains(out, "nothing has been upgraded") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	s.become("ready")
	if out, code := s.command("upgrade"); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	s.expect("2 ready")
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	// The older program does not say READY=1, so it cannot be told from one that hangs.
	if out, code := s.command("rollback"); code != 2 || !strings.Contains(out, "READY=1") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func TestStopFirst(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		s := startSpawned(t, o, "good", "--stop-first", "--probation=2s")
		s.expect("1 good")
		busy, _ := s.ask()
		s.become("ready")
		s.Signal(syscall.SIGUSR2)
		s.Await("good accepts no more")
		// Nobody accepts now, but the connection is not refused.
		waiting, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer waiting.Close()
		_ = busy.Close()
		buf := make([]byte, 32)
		if n, err := waiting.Read(buf); err != nil || string(buf[:n]) != "2 ready\n" {
			t.Errorf("%q, %v", buf[:n], err)
		}
		_ = waiting.Close() // generation 2 would drain for it
		s.Log(`msg="upgrade done"`)
		s.become("exits")
		if out, code := s.command("upgrade"); code != 2 || !strings.Contains(out, "exited with code 7") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		s.expect("4 ready")
	})
}

func TestShutdownWhilePredecessorDrains(t *testing.T) {
	s := startSpawned(t, testproc.Options{Ns: true}, "ready")
	s.expect("1 ready")
	busy, _ := s.ask()
	s.Signal(syscall.SIGUSR2)
	s.Log("predecessor drains")
	s.Signal(syscall.SIGTERM)
	testproc.Until(t, "the successor to end", func() bool { return strings.Count(s.Stdout(), "got terminated") == 2 })
	if !s.Running() {
		t.Error("the init ended before the predecessor had drained")
	}
	if _, err := busy.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	_ = busy.Close()
	if code := s.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestListenerErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ url, want string }{
		{"tcp://" + taken.Addr().String(), "address already in use"},
		{"tcp://example.com:80", "no names"},
		{"tcp://:x", "port"},
		{"http://:80", "scheme"},
	} {
		in := start(t, testproc.Options{}, []string{"--listen", c.url}, "/bin/echo", "started")
		if code := in.Wait(); code != 1 || !strings.Contains(in.Stderr(), c.want) || strings.Count(in.Stderr(), "\n") != 1 || in.Stdout() != "" {
			t.Errorf("%s: exit code %d\n%s%s", c.url, code, in.Stderr(), in.Stdout())
		}
	}
}

func TestUserIsTaken(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		in := start(t, o, []string{"--user=1234:99"}, "/bin/sh", "-c", "echo id $(id -u):$(id -g):$(id -G)")
		if got := in.Field("id"); got != "1234:99:99" {
			t.Errorf("the app runs as %s", got)
		}
	})
}

func TestBusyExecutableIsTriedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app")
	content, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	writer, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	in := start(t, testproc.Options{}, nil, path)
	in.Log("it is being written to; trying again")
	unix.Close(writer)
	if code := in.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// ^C is for who serves: after an upgrade, and after a rollback.
func TestTerminalFollowsTheMainProcess(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		master, slave := openPTY(t)
		o.Setup = cmdOnTerminal(slave)
		app := newApp(t, "")
		generation := func(n, then string) {
			app.write([]byte(`#!/bin/sh
trap "echo ^C" INT
trap "exit 0" TERM
echo generation `+n+` runs; `+then+`
while :; do sleep 0.01; done
`), 0o755)
		}
		generation("1", "")
		in := start(t, o, []string{"--upgrade=spawn", "--settle=50ms", "--probation=1m", "--control=off", "--log-level=info"}, app.path)
		interrupt := func(want int) {
			t.Helper()
			if _, err := master.Write([]byte{3}); err != nil {
				t.Fatal(err)
			}
			testproc.Until(t, "^C to arrive", func() bool { return strings.Count(in.Stdout(), "^C\n") == want })
		}
		in.Await("generation 1 runs")
		interrupt(1)
		generation("2", "trap 'exit 3' HUP")
		in.Signal(syscall.SIGUSR2)
		in.Await("generation 2 runs")
		in.Log("upgrade done")
		interrupt(2)
		in.Signal(syscall.SIGHUP) // in its probation
		in.Log("upgrade rolled back")
		testproc.Until(t, "generation 1 again", func() bool { return strings.Count(in.Stdout(), "generation 1 runs") == 2 })
		interrupt(3)
		in.Signal(syscall.SIGTERM)
		if code := in.Wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}
