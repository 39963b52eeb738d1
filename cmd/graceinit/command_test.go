package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/testproc"
)

var serverNames atomic.Int64

// serve has an init's loop answer the requests of this test's commands.
func serve(t *testing.T, answer func(*control.Request)) {
	t.Helper()
	name := fmt.Sprintf("@graceinit-cmd-%d-%d", os.Getpid(), serverNames.Add(1))
	s, err := control.Listen(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	t.Setenv("GRACEINIT_CONTROL", name)
	stop := make(chan struct{})
	var loop sync.WaitGroup
	loop.Go(func() {
		for {
			select {
			case r := <-s.Requests():
				answer(r)
				if r.Binary >= 0 {
					_ = unix.Close(r.Binary)
				}
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		s.Close()
		close(stop)
		loop.Wait()
	})
}

func replies(lines ...control.Line) func(*control.Request) {
	return func(r *control.Request) {
		for _, line := range lines {
			r.Send(line)
		}
		r.Close()
	}
}

// command runs a subcommand in this process.
func command(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	files := map[string]*os.File{}
	for _, name := range []string{"in", "out", "err"} {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[name] = f
	}
	_, _ = files["in"].WriteString(stdin)
	_, _ = files["in"].Seek(0, io.SeekStart)
	saved := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	os.Stdin, os.Stdout, os.Stderr = files["in"], files["out"], files["err"]
	defer func() { os.Stdin, os.Stdout, os.Stderr = saved[0], saved[1], saved[2] }()
	code, ok := runCommand(append([]string{"/sbin/graceinit"}, args...))
	if !ok {
		t.Fatalf("%q is no subcommand", args)
	}
	out, _ := os.ReadFile(files["out"].Name())
	errs, _ := os.ReadFile(files["err"].Name())
	return string(out), string(errs), code
}

func TestWhatIsACommand(t *testing.T) {
	for _, args := range [][]string{
		{}, {"graceinit"}, {"graceinit", "--", "status"}, {"graceinit", "-v", "status"}, {"graceinit", "app", "status"},
		{"graceinit", "./status"}, {"graceinit", ""}, {"tini", "status"}, {"docker-init", "--", "stop"},
	} {
		if _, ok := runCommand(args); ok {
			t.Errorf("%q is taken for a subcommand", args)
		}
	}
	for _, c := range commands.Table {
		stdout, stderr, code := command(t, "", c.Name, "--help")
		if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "Usage: graceinit "+c.Name) {
			t.Errorf("%s --help: %d\n%s%s", c.Name, code, stdout, stderr)
		}
	}
}

func TestMisspeltCommands(t *testing.T) {
	for word, meant := range map[string]string{"upgrde": "upgrade", "statsu": "status", "help": "--help", "instal": "install"} {
		_, stderr, code := command(t, "", word)
		if code != 127 || !strings.Contains(stderr, "did you mean graceinit "+meant+"?") {
			t.Errorf("%s: %d, %s", word, code, stderr)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "upgrde"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for _, word := range []string{"upgrde", "./statsu", "-help", "app"} {
		if _, ok := runCommand([]string{"graceinit", word}); ok {
			t.Errorf("%q is taken for a subcommand", word)
		}
	}
}

func TestCommandUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"upgrade --force", "unknown option --force"},
		{"upgrade now", `one argument too many: "now"`},
		{"upgrade --binary", "--binary needs an argument (FILE)"},
		{"upgrade --json=yes", "--json has no argument"},
		{"upgrade --sha256 " + strings.Repeat("0A", 32), "--sha256 means nothing without --binary"},
		{"upgrade --binary x --sha256 abc", `--sha256 "abc" is not 64 hexadecimal digits`},
		{"status --watch --ready", "exclude each other"},
		{"install", "an argument is missing: DIR"},
		{"deliver", "an argument is missing: SOURCE TARGET"},
		{"deliver a", "an argument is missing: TARGET"},
		{"deliver --once a b -- c", "a COMMAND is for when"},
		{"install a b", `too many: "b"`},
		{"notify READY", `"READY" is not NAME=VALUE`},
		{"notify --timeout=soon A=1", `"soon" is not a duration`},
		{"kill", "an argument is missing: PID..."},
		{"kill -s NONE 1", `"NONE" is not a signal`},
		{"kill self", `"self" is not a pid`},
	} {
		args := strings.Fields(c.args)
		stdout, stderr, code := command(t, "", args...)
		if code != control.CodeUsage || stdout != "" || !strings.Contains(stderr, c.want) || !strings.Contains(stderr, "graceinit "+args[0]+" --help") {
			t.Errorf("%s: %d, %q, %q; want %q in it", c.args, code, stdout, stderr, c.want)
		}
	}
}

func TestNoInitAnswers(t *testing.T) {
	t.Setenv("GRACEINIT_CONTROL", "@graceinit-nobody")
	for _, args := range []string{"upgrade", "rollback", "status", "status --ready", "status --watch", "stop", "metrics"} {
		_, stderr, code := command(t, "", strings.Fields(args)...)
		if code != control.CodeNoInit || !strings.Contains(stderr, "no graceinit answers at @graceinit-nobody: connection refused") {
			t.Errorf("%s: %d, %s", args, code, stderr)
		}
		_, stderr, _ = command(t, "", append(strings.Fields(args), "--control", "/nowhere")...)
		if !strings.Contains(stderr, "/nowhere: no such file") {
			t.Errorf("%s --control: %s", args, stderr)
		}
	}
}

func TestStop(t *testing.T) {
	serve(t, replies(control.Line{OK: true}))
	if stdout, stderr, code := command(t, "", "stop"); code != 0 || stdout+stderr != "" {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
	serve(t, replies(control.Line{Error: &control.Error{Reason: "why not", ExitCode: control.CodeRefused}}))
	if _, stderr, code := command(t, "", "stop"); code != 1 || stderr != "graceinit stop: refused: why not\n" {
		t.Errorf("refused: %d, %s", code, stderr)
	}
	serve(t, func(r *control.Request) { r.Close() })
	if _, stderr, code := command(t, "", "stop"); code != control.CodeNoInit || !strings.Contains(stderr, "did not answer") {
		t.Errorf("no answer: %d, %s", code, stderr)
	}
}

func TestNotifyCommand(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	name := fmt.Sprintf("@graceinit-cmd-%d-%d", os.Getpid(), serverNames.Add(1))
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", name)
	// Nobody receives yet: the command cannot know that it was heard, and says so.
	if _, stderr, code := command(t, "", "notify", "--timeout", "20ms", "STATUS=early"); code != codeError || !strings.Contains(stderr, "not heard within 20ms") {
		t.Errorf("unheard: %d, %s", code, stderr)
	}
	heard := make(chan string, 8)
	var receiver sync.WaitGroup
	receiver.Go(func() {
		for text := ""; text != "END=1"; heard <- text {
			b, control := make([]byte, 100), make([]byte, 100)
			n, oobn, _, _, err := unix.Recvmsg(fd, b, control, unix.MSG_CMSG_CLOEXEC)
			if err != nil {
				return
			}
			text = string(b[:n])
			messages, _ := unix.ParseSocketControlMessage(control[:oobn])
			for i := range messages {
				fds, _ := unix.ParseUnixRights(&messages[i])
				for _, fd := range fds {
					_ = unix.Close(fd)
				}
			}
		}
	})
	if _, stderr, code := command(t, "", "notify", "READY=1", "STATUS=a b"); code != 0 {
		t.Errorf("%d, %s", code, stderr)
	}
	_, _, _ = command(t, "", "notify", "--timeout=10ms", "END=1") // its barrier is not received
	receiver.Wait()
	for _, want := range []string{"STATUS=early", "BARRIER=1", "READY=1\nSTATUS=a b", "BARRIER=1", "END=1"} {
		if got := <-heard; got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if _, stderr, code := command(t, "", "notify", "READY=1"); code != control.CodeNoInit || !strings.Contains(stderr, "NOTIFY_SOCKET is not set") {
		t.Errorf("without a socket: %d, %s", code, stderr)
	}
	t.Setenv("NOTIFY_SOCKET", "@graceinit-nobody")
	if _, stderr, code := command(t, "", "notify", "READY=1"); code != codeError || !strings.Contains(stderr, "connection refused") {
		t.Errorf("nobody there: %d, %s", code, stderr)
	}
}

func TestKillCommand(t *testing.T) {
	for _, args := range []string{"PID", "-TERM PID", "-15 PID", "-s SIGTERM PID", "--signal term PID", "-s TERM -- PID", "-TERM -PID"} {
		victim := testproc.Start(t, testproc.Options{Setup: func(c *exec.Cmd) { c.SysProcAttr.Setpgid = true }}, []string{"/bin/sleep"}, "600")
		pid := fmt.Sprint(victim.Cmd.Process.Pid)
		fields := strings.Fields(strings.ReplaceAll(args, "PID", pid))
		if _, stderr, code := command(t, "", append([]string{"kill"}, fields...)...); code != 0 {
			t.Errorf("kill %s: %d, %s", args, code, stderr)
		}
		if code := victim.Wait(); code != 128+15 {
			t.Errorf("kill %s: the process ended with %d", args, code)
		}
	}
	if _, stderr, code := command(t, "", "kill", "-0", fmt.Sprint(os.Getpid())); code != 0 {
		t.Errorf("kill -0: %d, %s", code, stderr)
	}
	if _, stderr, code := command(t, "", "kill", "-KILL", "999999999"); code != codeError || !strings.Contains(stderr, "no such process") {
		t.Errorf("nobody: %d, %s", code, stderr)
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	// In its container it has the same pid each time, so what one that was killed has left is in the way of the next.
	if err := os.WriteFile(fmt.Sprintf("%s/graceinit.%d", dir, os.Getpid()), []byte("a part"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second replaces the first
		stdout, stderr, code := command(t, "", "install", dir)
		if want, _ := hashFile("/proc/self/exe"); code != 0 || stdout != want+"  "+dir+"/graceinit\n" {
			t.Fatalf("%d, %s%s", code, stdout, stderr)
		}
	}
	self, _ := os.ReadFile("/proc/self/exe")
	copied, err := os.ReadFile(filepath.Join(dir, "graceinit"))
	if err != nil || string(copied) != string(self) {
		t.Errorf("%d bytes were copied of %d, %v", len(copied), len(self), err)
	}
	if st, err := os.Stat(filepath.Join(dir, "graceinit")); err != nil || st.Mode() != 0o755 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
	if _, stderr, code := command(t, "", "install", "/nonexistent"); code != codeError || !strings.Contains(stderr, "no such file or directory") {
		t.Errorf("no such directory: %d, %s", code, stderr)
	}
}

// A full disk, and one that cannot be written: a small tmpfs in a namespace of our own.
func TestInstallOnAFullDisk(t *testing.T) {
	self := strings.Join(append([]string{"/usr/bin/env", "GRACEINIT_TESTPROC=init"}, initProgram()...), " ")
	in := testproc.Start(t, testproc.Options{Ns: true}, []string{"/bin/sh"}, "-c",
		"mount -t tmpfs -o size=1m none /mnt || exit 77\n"+
			self+" install /mnt; echo $?; ls -A /mnt\n"+
			"mount -o remount,ro /mnt; "+self+" install /mnt; echo $?")
	if in.Wait() == 77 {
		t.Skip("SKIPPED: no tmpfs can be mounted here")
	}
	if in.Stdout() != "1\n1\n" || !strings.Contains(in.Stderr(), "no space left on device") || !strings.Contains(in.Stderr(), "read-only file system") {
		t.Errorf("%q\n%s", in.Stdout(), in.Stderr())
	}
}
