package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/testproc"
)

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
