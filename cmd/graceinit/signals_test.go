package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/signals"
	"github.com/graceinit/graceinit/internal/testproc"
)

func TestEverySignalIsForwarded(t *testing.T) {
	testproc.NotEmulated(t, "signals 63 and 64")
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

func TestSignalsOfTheCLibraryEndNothing(t *testing.T) {
	testproc.NotEmulated(t, "signals 32 and 33")
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		in := start(t, o, nil, testproc.Self("signals")...)
		in.Await("ready")
		in.Signal(32)
		in.Signal(33)
		in.Signal(syscall.SIGHUP)
		in.Await("got SIGHUP")
		in.CloseStdin()
		in.Await("eof")
		if code := in.Wait(); code != 0 || strings.Count(in.Stdout(), "got ") != 1 {
			t.Errorf("exit code %d, want 0 and one signal:\n%s", code, in.Stdout())
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

// A client of the control socket that goes away may cost the init a SIGPIPE. The app gets only what somebody sent.
func TestSignalOfOurOwnWrite(t *testing.T) {
	in := testproc.Start(t, testproc.Options{}, testproc.Self("writer"))
	in.Await("wrote: broken pipe")
	in.Signal(syscall.SIGPIPE)
	in.Await("got SIGPIPE")
	in.Signal(syscall.SIGHUP)
	in.Await("got SIGHUP")
	if got := strings.Count(in.Stdout(), "got "); got != 2 {
		t.Errorf("%d signals, want the two that were sent:\n%s", got, in.Stdout())
	}
}

// Ignored and blocked signals pass through the init as they pass through tini. Reading what the runtime found
// takes a release build.
func TestInheritedSignalsReachTheApp(t *testing.T) {
	needsRelease(t)
	in := testproc.Start(t, testproc.Options{}, []string{"/bin/sh", "-c",
		`trap "" HUP PIPE USR1 TTIN; exec "$0" "$@"`, initProgram()[0], "--", "/bin/sh", "-c", "grep -E '^Sig(Ign|Blk)' /proc/$$/status; echo done"})
	in.Await("done")
	in.Wait()
	// Whoever runs the tests may ignore more: a shell's job in the background ignores SIGINT and SIGQUIT.
	const want = 1<<0 | 1<<9 | 1<<12 | 1<<20 // HUP 1, USR1 10, PIPE 13, TTIN 21
	_, ignored, _ := strings.Cut(in.Stdout(), "SigIgn:\t")
	if got, _ := strconv.ParseUint(ignored[:16], 16, 64); got&want != want {
		t.Errorf("the app ignores %x, want at least %x", got, uint64(want))
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
