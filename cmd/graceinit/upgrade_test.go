package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/testproc"
)

// fastUpgrade shortens what the tests wait for.
var fastUpgrade = []string{"--settle=300ms", "--ready-timeout=5s", "--log-level=debug"}

func with(flags ...string) []string { return append(append([]string(nil), fastUpgrade...), flags...) }

func TestUpgradeByAdoption(t *testing.T) {
	for _, c := range []struct {
		kind  string
		flags []string
	}{
		{"hands-over", nil},
		{"waits", []string{"--predecessor-signal=QUIT"}},
	} {
		inEachMode(t, func(t *testing.T, o testproc.Options) {
			t.Run(c.kind, func(t *testing.T) {
				in := start(t, o, with(c.flags...), testproc.Self("server", c.kind)...)
				address := in.Field("address")
				first, before := dial(t, address)
				_ = first.Close()
				for generation := 2; generation <= 4; generation++ {
					busy, _ := dial(t, address)
					in.Signal(syscall.SIGUSR2)
					var after string
					testproc.Until(t, "the successor to answer", func() bool {
						var conn interface{ Close() error }
						conn, after = dial(t, address)
						_ = conn.Close()
						return after != before
					})
					in.Log("predecessor drains")
					_ = busy.Close() // the last request of the predecessor
					in.Log(fmt.Sprintf("to_generation=%d to_pid=%s", generation, after))
					before = after
				}
				if n := strings.Count(in.Stderr(), "msg=\"upgrade done\""); n != 3 {
					t.Errorf("%d upgrades done, want 3", n)
				}
				if !o.Ns {
					return
				}
				testproc.Until(t, "one app process", func() bool { return len(in.Inside()) == 2 })
				in.Signal(syscall.SIGTERM)
				if code := in.Wait(); code != 0 {
					t.Errorf("exit code %d", code)
				}
			})
		})
	}
}

func TestUpgradeIsRefusedWhereItWouldKill(t *testing.T) {
	in := start(t, testproc.Options{}, with(), "/bin/sleep", "1000")
	in.Log("msg=started")
	in.Signal(syscall.SIGUSR2)
	in.Log("upgrade refused")
	in.Log("neither catches nor ignores SIGUSR2")
	if !in.Running() {
		t.Error("the init ended")
	}
}

func TestSuccessorThatDiesLeavesThePredecessorServing(t *testing.T) {
	in := start(t, testproc.Options{Ns: true}, with("--ready-timeout=1s"), testproc.Self("server", "crashes")...)
	address := in.Field("address")
	_, before := dial(t, address)
	in.Signal(syscall.SIGUSR2)
	in.Await("successor crashed")
	in.Log("upgrade failed")
	if _, after := dial(t, address); after != before {
		t.Errorf("pid %s answers, want %s", after, before)
	}
	if n := strings.Count(in.Stderr(), "msg=\"upgrade failed\""); n != 1 {
		t.Errorf("%d final lines, want 1", n)
	}
}

func TestDrainDeadlineEndsThePredecessorsGeneration(t *testing.T) {
	in := start(t, testproc.Options{Ns: true}, with("--drain-timeout=300ms"), testproc.Self("server", "stuck")...)
	address := in.Field("address")
	_, before := dial(t, address)
	in.Signal(syscall.SIGUSR2)
	in.Log("upgrade forced")
	if _, after := dial(t, address); after == before {
		t.Error("the predecessor answers")
	}
	testproc.Until(t, "one app process", func() bool { return len(in.Inside()) == 2 })
	if !strings.Contains(in.Stderr(), "connections_left=1") {
		t.Error("the connection that was open at SIGKILL is not reported")
	}
}

func TestTriggersCollapse(t *testing.T) {
	in := start(t, testproc.Options{Ns: true}, with(), testproc.Self("server", "hands-over")...)
	address := in.Field("address")
	busy, _ := dial(t, address)
	for range 50 {
		in.Signal(syscall.SIGUSR2)
	}
	in.Log("predecessor drains")
	for range 50 {
		in.Signal(syscall.SIGUSR2)
	}
	_ = busy.Close()
	in.Log("to_generation=2")
	in.Log("to_generation=3")
	testproc.Until(t, "one app process", func() bool { return len(in.Inside()) == 2 })
	if n := strings.Count(in.Stdout(), "got user defined signal 2"); n != 2 {
		t.Errorf("the app got %d upgrade signals of 100, want 2", n)
	}
}

func TestShutdownDuringUpgrade(t *testing.T) {
	in := start(t, testproc.Options{Ns: true}, with(), testproc.Self("server", "hands-over")...)
	address := in.Field("address")
	busy, before := dial(t, address)
	in.Signal(syscall.SIGUSR2)
	in.Log("predecessor drains")
	in.Signal(syscall.SIGTERM)
	in.Log("upgrade ended by shutdown")
	// The successor is stopped, the predecessor is left to its drain and told nothing again.
	testproc.Until(t, "the successor to drain", func() bool { return strings.Contains(in.Stdout(), "drained") })
	if !in.Running() {
		t.Error("the init ended before the predecessor had drained")
	}
	_ = busy.Close()
	if code := in.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(in.Stdout(), before+" got terminated"); n != 1 {
		t.Errorf("the predecessor got SIGTERM %d times, want once (from its successor)", n)
	}
}

func TestDaemonIsAdoptedByItsPIDFile(t *testing.T) {
	pidFile := t.TempDir() + "/app.pid"
	in := start(t, testproc.Options{Ns: true}, with("--pid-file", pidFile), "/bin/sh", "-c",
		`sh -c 'trap "echo told; exit 9" TERM; echo daemon; while :; do sleep 0.01; done' & echo $! > `+pidFile+`; exit 0`)
	in.Await("daemon")
	in.Log("main process adopted")
	in.Signal(syscall.SIGTERM)
	if code := in.Wait(); code != 9 || !strings.Contains(in.Stdout(), "told") {
		t.Errorf("exit code %d, want the daemon's", code)
	}
}

func TestPIDFileOfAnAppThatEnds(t *testing.T) {
	in := start(t, testproc.Options{Ns: true}, with("--pid-file", t.TempDir()+"/none"), "/bin/sh", "-c", "exit 0")
	if code := in.Wait(); code != 0 || strings.Contains(in.Stderr(), "left over") {
		t.Errorf("exit code %d", code)
	}
}

func TestReparent(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		in := start(t, o, with("--reparent"), "/bin/sh", "-c",
			`echo "parent $PPID"; trap : USR2; echo "app $$"; while :; do sleep 0.01; done`)
		in.Field("app")
		testproc.Until(t, "the intermediate process to go", func() bool {
			children := testproc.Children(in.Cmd.Process.Pid)
			if len(children) != 1 {
				return false
			}
			comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", children[0]))
			return err == nil && string(comm) == "sh\n" // it may be going just now
		})
		self := strconv.Itoa(in.Cmd.Process.Pid)
		if o.Ns {
			self = "1"
		}
		if parent := in.Field("parent"); parent == self {
			t.Error("the app was started by the init itself")
		}
		in.Signal(syscall.SIGTERM)
		if code := in.Wait(); code != 143 {
			t.Errorf("exit code %d, want 143", code)
		}
	})
}

// On a terminal the app leads the foreground group; it finds no signal ignored.
func TestTerminal(t *testing.T) {
	master, slave := openPTY(t)
	o := testproc.Options{Ns: true}
	o.Setup = cmdOnTerminal(slave)
	in := start(t, o, nil, "/bin/sh", "-c", `grep SigIgn /proc/$$/status; ps -o pgid=,tpgid= -p $$ > /dev/tty; trap "echo interrupted; exit 6" INT; echo ready; while :; do sleep 0.01; done`)
	in.Await("ready")
	_, ignored, _ := strings.Cut(in.Stdout(), "SigIgn:\t")
	if bits, err := strconv.ParseUint(ignored[:16], 16, 64); err != nil || bits&(1<<20|1<<21) != 0 {
		t.Errorf("SIGTTIN or SIGTTOU is ignored in the app:\n%s", in.Stdout())
	}
	if _, err := master.Write([]byte{3}); err != nil { // ^C
		t.Fatal(err)
	}
	in.Await("interrupted")
	if code := in.Wait(); code != 6 {
		t.Errorf("exit code %d, want 6", code)
	}
}

// openPTY opens a pseudo terminal (pts(4)).
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudo terminals: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}
