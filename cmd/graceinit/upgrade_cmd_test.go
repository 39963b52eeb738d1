package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/testproc"
)

func progress(p control.Progress) control.Line {
	p.Upgrade = 4
	return control.Line{Progress: &p}
}

// course is how an upgrade goes that ends with the step given.
func course(end control.Step, code int) []control.Line {
	connections := 14
	return []control.Line{
		progress(control.Progress{Step: control.StepTriggered, Waiting: "the check to end", Left: 60}),
		progress(control.Progress{Step: control.StepStarted, ToGeneration: 3, ToPID: 99, Elapsed: 0.5, Waiting: "READY=1"}),
		progress(control.Progress{Step: control.StepStarted, ToGeneration: 3, ToPID: 99, Elapsed: 0.7, Waiting: "READY=1"}),
		progress(control.Progress{Step: control.StepDraining, FromGeneration: 2, FromPID: 41, ToGeneration: 3, ToPID: 99, Elapsed: 1, Ready: 0.042, Connections: &connections, Left: 59}),
		progress(control.Progress{Step: end, FromGeneration: 2, FromPID: 41, ToGeneration: 3, ToPID: 99, Elapsed: 65, Ready: 0.042,
			Drain: 64, Reason: "because", Final: true, ExitCode: code}),
	}
}

func TestUpgradeCommand(t *testing.T) {
	for end, code := range map[control.Step]int{
		control.StepDone: control.CodeDone, control.StepRefused: control.CodeRefused,
		control.StepFailed: control.CodeFailed, control.StepForced: control.CodeForced,
	} {
		serve(t, replies(course(end, code)...))
		stdout, stderr, got := command(t, "", "upgrade")
		want := "upgrade 4, 0s: triggered, at most 1m0s more, waits for the check to end\n" +
			"upgrade 4, 500ms: started (generation 3, pid 99), waits for READY=1\n" +
			"upgrade 4, 1s: draining (generation 2, pid 41), 14 connections left, at most 59s more, ready after 42ms\n" +
			"upgrade 4 " + string(end) + " after 1m5s: generation 2 (pid 41) to 3 (pid 99), ready after 42ms, drained for 1m4s: because\n"
		if stdout != want || stderr != "" || got != code {
			t.Errorf("%s: exit code %d, %s\n%s\nwant\n%s", end, got, stderr, stdout, want)
		}
	}
}

func TestUpgradeOptions(t *testing.T) {
	serve(t, replies(course(control.StepForced, control.CodeForced)...))
	stdout, _, code := command(t, "", "upgrade", "--no-wait")
	if code != 0 || strings.Count(stdout, "\n") != 1 {
		t.Errorf("--no-wait: %d, %s", code, stdout)
	}
	stdout, _, code = command(t, "", "rollback", "--json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var last control.Line
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(lines) != 5 || !last.Progress.Final || code != control.CodeForced {
		t.Errorf("--json: %d, %v, %s", code, err, stdout)
	}
	serve(t, replies(control.Line{Error: &control.Error{Reason: "nothing to go back to", ExitCode: control.CodeRefused}}))
	if _, stderr, code := command(t, "", "rollback", "--no-wait"); code != 1 || stderr != "graceinit rollback: refused: nothing to go back to\n" {
		t.Errorf("refused: %d, %s", code, stderr)
	}
	serve(t, replies(course(control.StepDone, 0)[:2]...))
	if _, stderr, code := command(t, "", "upgrade"); code != control.CodeNoInit || !strings.Contains(stderr, "the init went away") {
		t.Errorf("the init went away: %d, %s", code, stderr)
	}
}

// What the init gets is the file, from wherever it comes, and what the command can see to be wrong is not sent.
func TestUpgradeToABinary(t *testing.T) {
	dir := t.TempDir()
	content := "\x7fELF" + strings.Repeat("content", 300000)
	file := filepath.Join(dir, "app")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	got := make(chan string, 1)
	serve(t, func(r *control.Request) {
		b := make([]byte, len(content)+1)
		n, _ := unix.Pread(r.Binary, b, 0)
		got <- string(b[:n])
		replies(progress(control.Progress{Step: control.StepDone, Final: true, Reason: r.Digest}))(r)
	})
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"--binary", file}},
		{content, []string{"--binary", "-"}},
		{content, []string{"--binary=-", "--sha256", strings.ToUpper(sum)}},
	} {
		stdout, stderr, code := command(t, c.stdin, append([]string{"upgrade"}, c.args...)...)
		if code != 0 || !strings.Contains(stdout, sum) || stderr != "" {
			t.Fatalf("%q: %d, %s%s", c.args, code, stdout, stderr)
		}
		if <-got != content {
			t.Errorf("%q: something else came", c.args)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"--binary " + file + " --sha256 " + strings.Repeat("00", 32), "the SHA-256 of " + file + " is " + sum + ", not 00"},
		{"--binary " + dir, dir + " into memory: read " + dir + ": is a directory"},
		{"--binary /nonexistent", "/nonexistent: no such file"},
		{"--binary /dev/null", "/dev/null is empty"},
		{"--binary -", "/in is empty"},
		{"--binary " + file + " --signature /nonexistent", "/nonexistent: no such file"},
		{"--binary " + file + " --signature " + file, file + " is too long for a minisign signature"},
	} {
		_, stderr, code := command(t, "", append([]string{"upgrade"}, strings.Fields(c.args)...)...)
		if code != control.CodeRefused || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: %d, %s; want %q in it", c.args, code, stderr, c.want)
		}
	}
	if len(got) != 0 {
		t.Error("the init was asked all the same")
	}
}

// The signature is the one beside the binary, or the one named.
func TestReadSignature(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "app")
	for _, path := range []string{binary + ".minisig", binary + ".other"} {
		if err := os.WriteFile(path, []byte(filepath.Ext(path)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][3]string{
		{binary, "", ".minisig"}, {binary, binary + ".other", ".other"}, {binary + "2", "", ""}, {"-", "", ""}, {"-", binary + ".minisig", ".minisig"},
	} {
		if text, err := readSignature(c[0], c[1]); err != nil || text != c[2] {
			t.Errorf("readSignature(%q, %q) = %q, %v", c[0], c[1], text, err)
		}
	}
}

// On a terminal there is one line, drawn anew, and then how it ended.
func TestUpgradeOnATerminal(t *testing.T) {
	terminal, screen := openTerminal(t, 40)
	step := make(chan struct{})
	serve(t, func(r *control.Request) {
		lines := course(control.StepDone, 0)
		for _, line := range lines[:4] {
			r.Send(line)
		}
		<-step
		r.Send(lines[4])
		r.Close()
	})
	saved := os.Stdout
	os.Stdout = terminal
	defer func() { os.Stdout = saved }()
	ended := make(chan int, 1)
	go func() {
		code, _ := runCommand([]string{"graceinit", "upgrade"})
		ended <- code
	}()
	// After a second without news the time has gone on by itself.
	testproc.Until(t, "the line to be drawn anew", func() bool { return strings.Contains(screen(), "upgrade 4, 2") })
	close(step)
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d", code)
	}
	testproc.Until(t, "the last line", func() bool { return strings.Contains(screen(), "upgrade 4 done after 1m5s") })
	for drawn := range strings.SplitSeq(strings.SplitAfter(screen(), "upgrade 4 done")[0], "\r") {
		if text := strings.TrimSuffix(drawn, eraseToEnd); len(text) >= 40 || strings.Contains(text, "\n") {
			t.Errorf("drawn over more than a line: %q", drawn)
		}
	}
}

// openTerminal returns a pseudoterminal, and what is on it so far.
func openTerminal(t *testing.T, width uint16) (terminal *os.File, screen func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudoterminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: width})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	if err := unix.SetNonblock(fd, true); err != nil { // Fd made it blocking
		t.Fatal(err)
	}
	var text []byte
	return terminal, func() string {
		b := make([]byte, 1<<16)
		if n, err := unix.Read(fd, b); err == nil {
			text = append(text, b[:n]...)
		}
		return string(text)
	}
}
