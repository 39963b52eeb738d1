package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/testproc"
)

// sayLine is a shell command that says something over NOTIFY_SOCKET, by the init's own subcommand.
func sayLine(words string) string {
	if released() {
		return initProgram()[0] + " notify " + words
	}
	return "GRACEINIT_TESTPROC=init " + initProgram()[0] + " notify " + words
}

func TestSilentAppIsAborted(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		in := start(t, o, []string{"--watchdog=300ms"}, "/bin/sh", "-c",
			"echo usec $WATCHDOG_USEC; "+sayLine("READY=1")+"; exec sleep 1000")
		if got := in.Field("usec"); got != "300000" {
			t.Errorf("WATCHDOG_USEC=%s", got)
		}
		in.Log("watchdog: the main process was silent for too long")
		if code := in.Wait(); code != 128+int(syscall.SIGABRT) {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestWhatTheAppSaysIsHandedOn(t *testing.T) {
	path := fmt.Sprintf("@graceinit-test-outside-%d", os.Getpid())
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30})
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	in := start(t, testproc.Options{Env: []string{"NOTIFY_SOCKET=" + path}}, nil, "/bin/sh", "-c",
		sayLine("READY=1 STATUS=serving MAINPID=$$")+"; read x")
	buf := make([]byte, 1000)
	n, err := unix.Read(fd, buf)
	if got := string(buf[:max(n, 0)]); err != nil || got != "READY=1\nSTATUS=serving\n" {
		t.Errorf("%q, %v; want it without MAINPID", got, err)
	}
	in.Signal(syscall.SIGTERM)
	in.Wait()
}

func TestWhyItFailedIsSaid(t *testing.T) {
	in := start(t, testproc.Options{Ns: true}, nil, "/bin/sh", "-c", sayLine("ERRNO=28 STATUS=full")+"; exit 4")
	if code := in.Wait(); code != 4 || !strings.Contains(in.Stderr(), "exited with code 4 (it said: no space left on device)") {
		t.Errorf("exit code %d:\n%s", code, in.Stderr())
	}
}

// helperKeeper stores a file with its generation's number, and prints those that it has got.
func helperKeeper([]string) int {
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	var got []string
	for i, name := range names[1:] { // behind the listener
		content := make([]byte, 10)
		n, err := unix.Pread(3+1+i, content, 0)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		got = append(got, name+"="+string(content[:n]))
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	generation := os.Getenv("GRACEINIT_GENERATION")
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err == nil {
		_, err = unix.Pwrite(fd, []byte(generation), 0)
	}
	if err == nil {
		err = tell("FDSTORE=1\nFDNAME=state"+generation, fd)
	}
	if err == nil && generation == "3" {
		err = tell("FDSTOREREMOVE=1\nFDNAME=state1", -1)
	}
	if err == nil {
		err = tell("READY=1", -1)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("generation %s got %s\n", generation, strings.Join(got, ","))
	<-c
	return 0
}

// tell sends a notification with an fd, if that is not negative.
func tell(text string, fd int) error {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	return unix.Sendmsg(s, []byte(text), rights, &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}, 0)
}

func TestFDStore(t *testing.T) {
	inEachMode(t, func(t *testing.T, o testproc.Options) {
		in := start(t, o, []string{"--listen", "tcp://127.0.0.1:0,name=http", "--stop-first", "--probation=0s", "--control=off", "--log-level=debug"},
			testproc.Self("keeper")...)
		for generation, want := range []string{"", "state1=1", "state1=1,state2=2", "state2=2,state3=3"} {
			in.Await("generation " + strconv.Itoa(generation+1) + " got " + want)
			testproc.Until(t, "READY=1 to be heard", func() bool {
				return strings.Count(in.Stderr(), "msg=ready") == generation+1
			})
			in.Signal(syscall.SIGUSR2)
		}
	})
}
