package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/testproc"
)

// payload is a container that delivers to another: its init is PID 1 of a namespace of its own.
type payload struct {
	*testproc.Init
	message string // the file of the termination message
}

func deliver(t *testing.T, socket string, args ...string) *payload {
	t.Helper()
	p := &payload{message: filepath.Join(t.TempDir(), "termination-log")}
	if err := os.WriteFile(p.message, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	program := append([]string{"/usr/bin/env", "GRACEINIT_CONTROL=" + socket, "GRACEINIT_TERMINATION_LOG=" + p.message}, initProgram()...)
	if !released() {
		program = append([]string{"/usr/bin/env", "GRACEINIT_TESTPROC=init"}, program...)
	}
	p.Init = testproc.Start(t, testproc.Options{Ns: true}, program, append([]string{"deliver"}, args...)...)
	return p
}

// said is the last line of standard output.
func (p *payload) said(t *testing.T) control.Delivery {
	t.Helper()
	var line struct{ Delivery *control.Delivery }
	testproc.Until(t, "the delivery to end", func() bool {
		out := p.Stdout()
		return strings.HasSuffix(out, "}\n") && json.Unmarshal([]byte(out), &line) == nil
	})
	if line.Delivery == nil {
		t.Fatalf("no delivery in %q", p.Stdout())
	}
	return *line.Delivery
}

// stop ends it as the kubelet does.
func (p *payload) stop(t *testing.T, want int) {
	t.Helper()
	if !p.Running() {
		t.Errorf("it has ended by itself\n%s", p.Stderr())
	}
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != want {
		t.Errorf("exit code %d, want %d\n%s", code, want, p.Stderr())
	}
}

// shared is an app with an init whose control socket is at a path, beside the executable.
func shared(t *testing.T, kind string, flags ...string) *spawned {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "control.sock")
	s := startSpawned(t, testproc.Options{Ns: true}, kind, append(flags, "--control", socket)...)
	s.control = socket
	return s
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// alone checks that nothing but the target is left in its directory.
func alone(t *testing.T, target string) {
	t.Helper()
	if list, err := os.ReadDir(filepath.Dir(target)); err != nil || len(list) != 1 {
		t.Errorf("beside the target: %v, %v", list, err)
	}
}

func TestDeliver(t *testing.T) {
	s := shared(t, "good")
	s.expect("1 good")
	source := newApp(t, "ready")

	p := deliver(t, s.control, source.path, s.path)
	d := p.said(t)
	sum, _ := hashFile(source.path)
	if d.Result != control.ResultDelivered || d.ExitCode != 0 || d.SHA256 != sum || d.Upgrade == nil || d.Upgrade.ToGeneration != 2 {
		t.Errorf("%+v\n%s", d, p.Stderr())
	}
	s.expect("2 ready")
	if content(t, s.path) != content(t, source.path) {
		t.Error("it is not at the target")
	}
	alone(t, s.path)
	p.stop(t, 0)
	if got := content(t, p.message); got != "" {
		t.Errorf("termination message %q", got)
	}

	// Its container is started again: nothing to do.
	p = deliver(t, s.control, source.path, s.path)
	if d := p.said(t); d.Result != control.ResultUnchanged || d.ExitCode != 0 || d.Upgrade != nil {
		t.Errorf("%+v", d)
	}
	p.stop(t, 0)

	// An earlier delivery was interrupted: what the app runs is not known.
	source.write([]byte(content(t, source.path)), 0o755)
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.path), ".app.staged"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	p = deliver(t, s.control, source.path, s.path)
	if d := p.said(t); d.Result != control.ResultDelivered {
		t.Errorf("%+v", d)
	}
	s.expect("3 ready")
	alone(t, s.path)
}

func TestDeliverBad(t *testing.T) {
	text := newApp(t, "good")
	text.write([]byte("hello"), 0o755)
	for name, c := range map[string]struct {
		source *app
		result control.Result
		code   int
		want   string
		args   []string
	}{
		"crashes":        {newApp(t, "exits"), control.ResultFailed, control.CodeFailed, "exited with code 7", nil},
		"is text":        {text, control.ResultRefused, control.CodeRefused, "neither an ELF file", nil},
		"another digest": {newApp(t, "ready"), control.ResultRefused, control.CodeRefused, "not 00", []string{"--sha256", strings.Repeat("00", 32)}},
		"is not there":   {&app{path: "/no/such"}, control.ResultRefused, control.CodeRefused, "open /no/such: no such file", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shared(t, "good")
			s.expect("1 good")
			before := content(t, s.path)
			p := deliver(t, s.control, append(c.args, c.source.path, s.path)...)
			d := p.said(t)
			if d.Result != c.result || d.ExitCode != c.code || !strings.Contains(d.Reason, c.want) {
				t.Errorf("%+v, want %q", d, c.want)
			}
			p.Log(c.want)
			if got := content(t, p.message); !strings.Contains(got, c.want) {
				t.Errorf("the reason is missing from the termination message %q", got)
			}
			if content(t, s.path) != before {
				t.Error("the target has changed")
			}
			alone(t, s.path)
			s.expect("1 good")
			p.stop(t, 0) // it idles, and tries nothing again

			p = deliver(t, s.control, append(c.args, "--once", c.source.path, s.path)...)
			if code := p.Wait(); code != c.code {
				t.Errorf("--once: exit code %d", code)
			}
		})
	}
}

// A delivery that is interrupted leaves the upgrade to the init. The next one, of the very version that is at the
// target, cannot know what the app runs: it waits for its turn, and delivers.
func TestDeliverInterrupted(t *testing.T) {
	s := shared(t, "ready")
	s.expect("1 ready")
	busy, _ := s.ask()
	other := newApp(t, "ready")
	other.write([]byte(content(t, s.path)+"# another\n"), 0o755)
	p := deliver(t, s.control, other.path, s.path)
	p.Log("draining")
	p.stop(t, 128+15)
	s.expect("2 ready")
	p = deliver(t, s.control, "--once", newApp(t, "exits").path, s.path) // which changes nothing about that
	if code := p.Wait(); code != control.CodeRefused || !strings.Contains(p.Stderr(), "another upgrade is in progress") {
		t.Errorf("--once: exit code %d\n%s", code, p.Stderr())
	}
	p = deliver(t, s.control, newApp(t, "ready").path, s.path)
	p.Log("waiting: another upgrade is in progress")
	_ = busy.Close()
	if d := p.said(t); d.Result != control.ResultDelivered {
		t.Errorf("%+v", d)
	}
	s.expect("3 ready")
	alone(t, s.path)
}

// Two deliveries at once follow each other, and what is at the target in the end is what runs.
func TestDeliveriesFollowEachOther(t *testing.T) {
	s := shared(t, "ready")
	s.expect("1 ready")
	busy, _ := s.ask()
	script := content(t, s.path)
	first, second := newApp(t, "ready"), newApp(t, "ready")
	first.write([]byte(script+"# first\n"), 0o755)
	second.write([]byte(script+"# second\n"), 0o755)
	p1 := deliver(t, s.control, first.path, s.path)
	p1.Log("draining")
	p2 := deliver(t, s.control, second.path, s.path)
	p2.Log("waiting: another delivery is in progress")
	_ = busy.Close()
	for i, p := range []*payload{p1, p2} {
		if d := p.said(t); d.Result != control.ResultDelivered || d.Upgrade.ToGeneration != i+2 {
			t.Errorf("%+v", d)
		}
	}
	s.expect("3 ready")
	if content(t, s.path) != script+"# second\n" {
		t.Error("the target is not what runs")
	}
	alone(t, s.path)
}

func TestDeliverToNoFile(t *testing.T) {
	source, dir := newApp(t, "good"), t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "app"), link); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{dir, dir + "/", filepath.Join(dir, "new") + "/", "/dev/null"} {
		p := deliver(t, "/nonexistent", "--once", source.path, target)
		if code := p.Wait(); code != 1 || !strings.Contains(p.Stderr(), target+" is no file that could be replaced") {
			t.Errorf("%s: exit code %d\n%s", target, code, p.Stderr())
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "app"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	p := deliver(t, "/nonexistent", "--once", source.path, link)
	if p.Wait(); !strings.Contains(p.Stderr(), "no graceinit answers") {
		t.Error(p.Stderr())
	}
	if list, _ := os.ReadDir(dir); len(list) != 2 {
		t.Errorf("left behind: %v", list)
	}
}

func TestDeliverWaitsForTheInit(t *testing.T) {
	dir := t.TempDir()
	socket, target := filepath.Join(dir, "control.sock"), filepath.Join(dir, "app")
	source := newApp(t, "good")
	p := deliver(t, socket, source.path, target)
	p.Log("waiting: no graceinit answers at " + socket)
	p2 := deliver(t, socket, "--once", source.path, target)
	if code := p2.Wait(); code != control.CodeRefused || !strings.Contains(p2.Stderr(), "another delivery is in progress") {
		t.Errorf("--once: exit code %d\n%s", code, p2.Stderr())
	}
	p2 = deliver(t, socket, "--once", source.path, filepath.Join(t.TempDir(), "other"))
	if code := p2.Wait(); code != control.CodeNoInit {
		t.Errorf("--once: exit code %d\n%s", code, p2.Stderr())
	}
	start(t, testproc.Options{Ns: true}, []string{"--control", socket, "--upgrade=spawn", "--settle=100ms", "--probation=0s"}, "/bin/sleep", "600")
	if d := p.said(t); d.Result != control.ResultFailed || !strings.Contains(d.Reason, "exited with code 1") { // it has no listener
		t.Errorf("%+v\n%s", d, p.Stderr())
	}
}

func TestDeliverSeeds(t *testing.T) {
	source, target := newApp(t, "good"), filepath.Join(t.TempDir(), "app")
	for _, want := range []control.Result{control.ResultDelivered, control.ResultUnchanged} {
		p := deliver(t, "/nonexistent", "--if-absent", source.path, target)
		if code := p.Wait(); code != 0 || p.said(t).Result != want {
			t.Errorf("exit code %d, %+v", code, p.said(t))
		}
		if st, err := os.Stat(target); err != nil || st.Mode() != 0o755 {
			t.Errorf("%v, %v", st, err)
		}
		alone(t, target)
		source.become("ready") // and what is there stays
	}
	if !strings.Contains(content(t, target), " good\n") {
		t.Error("the target was replaced")
	}
	p := deliver(t, "/nonexistent", "--if-absent", source.path, "/no/volume/app")
	if code := p.Wait(); code != 1 || !strings.Contains(p.Stderr(), "cannot stage /no/volume/.app.staged: ") {
		t.Errorf("exit code %d\n%s", code, p.Stderr())
	}
}

func TestDeliverThenRun(t *testing.T) {
	source, target := newApp(t, "good"), filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(target, []byte(content(t, source.path)), 0o755); err != nil {
		t.Fatal(err)
	}
	p := deliver(t, "/nonexistent", source.path, target, "--", "/bin/sh", "-c",
		"trap 'echo bye; exit 3' TERM; echo $$ $GRACEINIT_CONTROL runs; while :; do sleep 0.1; done")
	p.Await("off runs")
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 3 || !strings.Contains(p.Stdout(), "bye") {
		t.Errorf("exit code %d\n%s%s", code, p.Stdout(), p.Stderr())
	}
}

func TestDigest(t *testing.T) {
	testproc.NotEmulated(t, "/proc/PID/exe of other programs that it runs")
	s := shared(t, "good")
	s.expect("1 good")
	out, code := s.command("status", "--digest", "--json")
	var line control.Line
	if err := json.Unmarshal([]byte(out), &line); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	sum, err := hashFile("/proc/self/exe") // the script starts this program
	if err != nil || line.Status.Main.SHA256 != sum {
		t.Errorf("SHA-256 %q, want %q, %v", line.Status.Main.SHA256, sum, err)
	}
	// From another PID namespace the pid is somebody else's.
	s.ns = false
	if out, code := s.command("status", "--digest"); code != 0 || strings.Contains(out, "SHA-256") || !strings.Contains(out, "main") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestZombiesAreCounted(t *testing.T) {
	s := shared(t, "good")
	s.expect("1 good")
	zombies := func() (n int) {
		out, _ := s.command("status", "--json")
		var line control.Line
		if err := json.Unmarshal([]byte(out), &line); err != nil {
			t.Fatal(err)
		}
		return line.Status.Zombies
	}
	if n := zombies(); n != 0 {
		t.Errorf("%d zombies", n)
	}
	s.write([]byte("#!/bin/sh\nsleep 0 & exec "+strings.Join(testproc.Self("activated", "good"), " ")+"\n"), 0o755) // nobody waits for the sleep
	if out, code := s.command("upgrade"); code != 0 {
		t.Fatal(out)
	}
	testproc.Until(t, "a zombie to be seen", func() bool { return zombies() == 1 })
	if out, _ := s.command("metrics"); !strings.Contains(out, "graceinit_zombies 1\n") {
		t.Errorf("not in the metrics:\n%s", out)
	}
}

func TestGracePeriod(t *testing.T) {
	for flags, want := range map[string]string{
		"--grace-period=10s":                                      "the grace period of 10s is too short for drain delay 0s + stop timeout 25s + kill timeout 3s + 2s",
		"--grace-period=30s":                                      "",
		"--grace-period=30s --drain-delay=5s":                     "--grace-period 35s",
		"--grace-period=1m --drain-delay=15s --stop-timeout=40s":  "",
		"--grace-period=1m --drain-delay=15s --stop-timeout=41s ": "too short",
	} {
		in := start(t, testproc.Options{}, strings.Fields(flags), "/bin/true")
		if code := in.Wait(); code != 0 || strings.Contains(in.Stderr(), "grace period") != (want != "") || !strings.Contains(in.Stderr(), want) {
			t.Errorf("%s: exit code %d, want %q in\n%s", flags, code, want, in.Stderr())
		}
	}
}

// What became of the last upgrade is worth knowing after the container's end, too.
func TestTerminationMessageTellsOfAFailedUpgrade(t *testing.T) {
	for kind, want := range map[string]string{"exits": "exited with code 0; before that, upgrade 1 failed: ", "ready": ""} {
		message := filepath.Join(t.TempDir(), "message")
		if err := os.WriteFile(message, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		s := shared(t, "good", "--probation=0s", "--termination-log", message)
		s.expect("1 good")
		s.become(kind)
		_, _ = s.command("upgrade")
		s.Signal(syscall.SIGTERM)
		if code := s.Wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if got := content(t, message); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q", kind, got)
		}
	}
}
