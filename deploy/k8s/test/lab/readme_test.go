package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// block is a fenced block of commands, as a person would type them.
type block struct {
	line     int
	commands []string
	printed  []string // what stands below each command
	told     map[string]string
}

// typed is a command, wherever it stands: one in a block that is not taken for one would not be run.
var typed = regexp.MustCompile(`(?m)^\s*\$ `)

var remark = regexp.MustCompile(`<!--\s*lab:\s*(.*?)\s*-->`)

// commands extracts what README tells to type: the lines of ```console blocks that begin with "$ ", with what continues
// them. A comment before a block tells the lab something: <!-- lab: KEY=VALUE -->.
func commands(text string) []block {
	var all []block
	told := map[string]string{}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		if m := remark.FindStringSubmatch(lines[i]); m != nil {
			k, v, _ := strings.Cut(m[1], "=")
			told[k] = v
			continue
		}
		if strings.TrimSpace(lines[i]) != "```console" {
			if strings.TrimSpace(lines[i]) != "" {
				clear(told)
			}
			continue
		}
		b := block{line: i + 1, told: told}
		told = map[string]string{}
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
			c, typed := strings.CutPrefix(strings.TrimSpace(lines[i]), "$ ")
			if !typed {
				if n := len(b.printed); n > 0 {
					b.printed[n-1] += lines[i] + "\n"
				}
				continue
			}
			more := func() bool { i++; return i < len(lines) && strings.TrimSpace(lines[i]) != "```" }
			for strings.HasSuffix(c, "\\") && more() {
				c += "\n" + strings.TrimPrefix(strings.TrimSpace(lines[i]), "> ")
			}
			if m := regexp.MustCompile(`<<-?\s*'?(\w+)'?`).FindStringSubmatch(c); m != nil {
				for more() {
					c += "\n" + strings.TrimPrefix(lines[i], "> ")
					if strings.TrimSpace(strings.TrimPrefix(lines[i], "> ")) == m[1] {
						break
					}
				}
			}
			b.commands = append(b.commands, c)
			b.printed = append(b.printed, "")
		}
		all = append(all, b)
	}
	return all
}

// shell is one bash for all commands: what one sets, the next sees.
type shell struct {
	dir string
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
	n   int
}

func startShell(t *testing.T, dir, scratch string) *shell {
	t.Helper()
	s := &shell{dir: scratch, cmd: exec.CommandContext(t.Context(), "bash", "--norc", "--noprofile")}
	s.cmd.Dir, s.cmd.Env = dir, environment()
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.in, s.out = in, bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
	return s
}

// run runs a command and returns what it printed and its exit code.
func (s *shell) run(command string, limit time.Duration) (string, int, error) {
	s.n++
	script := filepath.Join(s.dir, fmt.Sprintf("%d.sh", s.n))
	printed := script + ".out"
	if err := os.WriteFile(script, []byte("set -o pipefail\n"+command+"\n"), 0o644); err != nil {
		return "", 0, err
	}
	if _, err := fmt.Fprintf(s.in, "source %s </dev/null >%s 2>&1; echo $?\n", script, printed); err != nil {
		return "", 0, err
	}
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := s.out.ReadString('\n')
		answers <- answer{line, err}
	}()
	var a answer
	select {
	case a = <-answers:
	case <-time.After(limit):
		a.err = errors.New("it does not end")
	}
	text, _ := os.ReadFile(printed)
	code, err := strconv.Atoi(strings.TrimSpace(a.line))
	if a.err != nil {
		err = a.err
	}
	return string(text), code, err
}

// TestReadme runs every command of deploy/k8s/README.md, in order, as it is written there.
func TestReadme(t *testing.T) {
	t.Parallel()
	need(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "k8s")
	copyTree(t, "../..", dir)
	bin := filepath.Join(theLab.Dir, "bin")
	for _, name := range []string{"hello-v2", "hello-v3", "hello-bad"} {
		if err := os.Link(filepath.Join(bin, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	sh := startShell(t, dir, t.TempDir())
	run, skipped := 0, 0
	for _, b := range commands(string(text)) {
		if why, ok := b.told["skip"]; ok {
			skipped += len(b.commands)
			t.Logf("README.md:%d: %d commands cannot be run here: %s", b.line, len(b.commands), why)
			continue
		}
		for i, c := range b.commands {
			want := 0
			if i == len(b.commands)-1 && b.told["exit"] != "" {
				if want, err = strconv.Atoi(b.told["exit"]); err != nil {
					t.Fatalf("README.md:%d: lab: exit=%s", b.line, b.told["exit"])
				}
			}
			began := time.Now()
			out, code, err := sh.run(c, 3*time.Minute)
			t.Logf("README.md:%d: exit code %d after %v\n$ %s\n%s", b.line, code, time.Since(began).Round(10*time.Millisecond), c, out)
			if err != nil {
				t.Fatalf("README.md:%d: %s: %v", b.line, c, err)
			}
			if code != want {
				t.Fatalf("README.md:%d: %s: exit code %d, and not %d:\n%s", b.line, c, code, want, out)
			}
			run++
		}
	}
	t.Logf("%d commands were run, %d were not", run, skipped)
	if written := len(typed.FindAll(text, -1)); run+skipped != written || run == 0 {
		t.Errorf("README.md has %d lines that begin with $", written)
	}
}

// TestCommands: what is taken for a command.
func TestCommands(t *testing.T) {
	got := commands("text\n```console\n$ one\nprinted\n$ two \\\n>   more\n```\n<!-- lab: exit=2 -->\n```console\n$ cat <<EOF\na\nEOF\n```\n```sh\n$ not this\n```\n")
	if len(got) != 2 {
		t.Fatalf("%d blocks: %+v", len(got), got)
	}
	if want := []string{"one", "two \\\nmore"}; fmt.Sprint(got[0].commands) != fmt.Sprint([]string{want[0], "two \\\n  more"}) &&
		fmt.Sprint(got[0].commands) != fmt.Sprint(want) {
		t.Errorf("the first: %q", got[0].commands)
	}
	if got[0].printed[0] != "printed\n" {
		t.Errorf("printed: %q", got[0].printed)
	}
	if got[1].told["exit"] != "2" || got[1].commands[0] != "cat <<EOF\na\nEOF" {
		t.Errorf("the second: %+v", got[1])
	}
	if len(got[0].told) != 0 {
		t.Errorf("the first was told %v", got[0].told)
	}
}
