package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program returns a command that runs this program itself, as a process of its own, in the cluster of the bed.
func (b *bed) program(name string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	if name == "" {
		name = self
	}
	cmd := exec.CommandContext(b.t.Context(), name, args...)
	cmd.Env = append(os.Environ(), fakeEnv+"="+b.dir, mainEnv+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// A reader that goes away (| head, | tee and ^C) does not end a roll half-way through a pod.
func TestReaderGoesAway(t *testing.T) {
	b := newBed(t, 3, nil)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	read.Close()
	defer write.Close()
	cmd := b.program("", "roll", "-l", "x=y", "--image", v2, "--kubectl", self, "--poll", "1ms")
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Run(); err != nil {
		t.Errorf("the roll: %v", err)
	}
	b.expect("the pods run", b.apps(), "222")
}

// kubectl completes a plugin's words by this program.
func TestCompletion(t *testing.T) {
	b := newBed(t, 1, nil)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "kubectl-graceinit")); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("kubectl_complete-graceinit")
	if err != nil {
		t.Fatal(err)
	}
	cmd := b.program(script, "ro")
	cmd.Env = append(cmd.Env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "rollback\t") || !strings.Contains(string(out), "\n:") {
		t.Errorf("%v: %s", err, out)
	}
}

// What is wrong with a command line, or with what kubectl needs, is said with the way out.
func TestMessages(t *testing.T) {
	for _, c := range []struct {
		code   int
		says   string
		silent string // what must not be said
		args   []string
	}{
		{64, "and not both", "", []string{"roll", "hello-0", "--binary", "x", "--image", v2}},
		{64, `unknown command "rol"`, "shorthand", []string{"rol", "-l", "x"}},
		{1, "--binary: open /nope", "", []string{"roll", "hello-0", "--binary", "/nope"}},
		{69, "install kubectl, or name it by --kubectl PATH", "", []string{"status", "hello-0", "--kubectl", "no-such-kubectl"}},
		{69, "no-such-kubectl", "", []string{"status", "hello-0", "--kubectl", "no-such-kubectl"}},
		{69, "/none/kubectl", "", []string{"status", "hello-0", "--kubectl", "/none/kubectl"}},
		{64, `--image "Foo Bar:v1"`, "", []string{"roll", "hello-0", "--image", "Foo Bar:v1"}},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), make(chan struct{}), c.args, &out, &errs)
		if code != c.code || !strings.Contains(errs.String(), c.says) || c.silent != "" && strings.Contains(errs.String(), c.silent) {
			t.Errorf("%q: %d: %s", c.args, code, errs.String())
		}
	}

	b := newBed(t, 1, func(c *cluster) { c.Unreachable = true })
	b.run(69, "status", "hello-0")
	b.says("was refused - did you specify", "(set KUBECONFIG, --kubeconfig or --context)")
	if strings.Contains(b.errs, "memcache.go") {
		t.Errorf("kubectl's own log is shown: %s", b.errs)
	}
}

func TestCheckImage(t *testing.T) {
	sum := "@sha256:" + strings.Repeat("0a", 32)
	for _, good := range []string{"hello", "hello:v1", v1, "localhost:5000/a/b__c-d.e:V1_x", "registry.example/hello" + sum,
		"registry.example/hello:v1" + sum, "[::1]:5000/hello:v1"} {
		if err := checkImage(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", " ", "Foo Bar:v1", "foo:", "Foo:v1", "registry.example/Hello:v1", "hello:v1@", "hello@sha256:12", "hello:-v1",
		"https://registry.example/hello:v1", "hello:v1:v2", "/hello", "hello/", "hello:" + strings.Repeat("x", 129), "hello:v1\n"} {
		if err := checkImage(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if checkImage("x:") == nil {
		t.Error("it is not said what an image is called")
	}
}
