package container

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/harness"
)

// serving is a container with a good server of generation 1, whose executable is a file in a directory of this machine.
type serving struct {
	*harness.Life
	t   *testing.T
	ctx context.Context
	dir string
}

const (
	graceinit = "/graceinit"
	server    = "/app/server" // in the container
)

// good is the executable of a good server, as it was built.
func good(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(tmp, "plaingo"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// serve starts a server like spawn-go under load.
func serve(t *testing.T, change func(*harness.Case)) *serving {
	t.Helper()
	needDocker(t)
	// t.Context would end before the container does.
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	s := &serving{t: t, ctx: ctx, dir: t.TempDir()}
	s.become(good(t))
	c := harness.Case{Hardened: true, Init: harness.Graceinit(binary), Server: harness.Server{
		Name: t.Name(), Command: []string{server, "-ready"}, Fast: "/", Slow: harness.Sleep("1s"),
		Flags: []string{"--listen", "tcp://:" + harness.Port, "--settle", "500ms", "--ready-timeout", "5s", "--probation", "0s"},
		Run:   []string{"-v", s.dir + ":" + filepath.Dir(server) + ":ro"},
		Final: "upgrade done",
	}}
	change(&c)
	s.Life = docker.Begin(ctx, images, c)
	t.Cleanup(func() {
		defer cancel()
		if problems := s.End(ctx).Problems(); len(problems) > 0 || t.Failed() {
			t.Errorf("%d problems\n%s", len(problems), s.Report)
			return
		}
		t.Logf("%s", s.Load)
	})
	if !s.Busy(ctx) || !s.Until(ctx, func() bool { return s.status().Ready }) {
		t.Fatal("the container does not serve")
	}
	return s
}

// become replaces the server's executable, by a rename.
func (s *serving) become(executable []byte) { s.replace(executable, 0o755) }

func (s *serving) replace(executable []byte, mode os.FileMode) {
	s.t.Helper()
	path := filepath.Join(s.dir, filepath.Base(server))
	if err := os.WriteFile(path+".new", executable, mode); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

// runs replaces the server's executable by a script.
func (s *serving) runs(script string) { s.become([]byte("#!/bin/sh\n" + script + "\n")) }

// status is the init's, which must answer.
func (s *serving) status() harness.Status {
	s.t.Helper()
	st, err := s.Status(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// upgrade runs `graceinit upgrade` in the container.
func (s *serving) upgrade(stdin []byte, args ...string) (string, int) {
	c := harness.Command{Args: append([]string{graceinit, "upgrade"}, args...)}
	if stdin != nil {
		c.Stdin = bytes.NewReader(stdin)
	}
	return s.Exec(s.ctx, c)
}

// must upgrades, which has to go well.
func (s *serving) must(stdin []byte, args ...string) {
	s.t.Helper()
	if !s.Busy(s.ctx) {
		s.t.Fatal("the server does not serve any more")
	}
	s.Expect("upgrade done")
	if out, code := s.upgrade(stdin, args...); code != 0 {
		s.t.Errorf("a good successor: exit code %d:\n%s", code, out)
	}
}

// same checks that the predecessor serves on, alone, as if nothing had happened.
func (s *serving) same(before harness.Status) {
	s.t.Helper()
	if !s.Until(s.ctx, func() bool { return len(s.App()) == 1 }) {
		s.t.Errorf("besides the predecessor there is: %+v", s.App())
	}
	if after := s.status(); after != before {
		s.t.Errorf("status %+v, before %+v", after, before)
	}
}

// said checks that one line in the log ends the upgrade, and gives the reason.
func (s *serving) said(final, reason string) {
	s.t.Helper()
	var lines []string
	s.Until(s.ctx, func() bool {
		lines = nil
		for line := range strings.Lines(s.Log()) {
			if harness.Final.MatchString(line) && strings.Contains(line, final) {
				lines = append(lines, line)
			}
		}
		return len(lines) > 0
	})
	if len(lines) != 1 || !strings.Contains(lines[0], reason) {
		s.t.Errorf("want one line %q with %q, the log has:\n%s", final, reason, strings.Join(lines, ""))
	}
}

// TestBadSuccessors: whatever the successor, its predecessor serves on, the command and one line in the log say why, and
// a good one upgrades afterwards.
func TestBadSuccessors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil  func(s *serving)
		code   int
		final  string
		reason string
		silent bool // the good ones do not say READY=1: settle time and accepting decide
	}{
		"missing":        {func(s *serving) { _ = os.Remove(filepath.Join(s.dir, "server")) }, 1, "upgrade refused", "no such file", false},
		"not executable": {func(s *serving) { s.replace(good(s.t), 0o644) }, 1, "upgrade refused", "x bit", false},
		"wrong architecture": {func(s *serving) {
			elf := good(s.t)
			elf[18] = 21 // e_machine: ppc64 (elf.h)
			s.become(elf)
		}, 2, "upgrade failed", "it is built for ppc64", false},
		"truncated":         {func(s *serving) { s.become(good(s.t)[:1<<20]) }, 1, "upgrade refused", "truncated ELF", false},
		"exits at once":     {func(s *serving) { s.runs("exit 1") }, 2, "upgrade failed", "exited with code 1", false},
		"crashes after 1 s": {func(s *serving) { s.runs("sleep 1; kill -SEGV $$") }, 2, "upgrade failed", "killed by", false},
		// It serves, and drains when it is told to give up: nothing is lost.
		"hangs before ready": {func(s *serving) { s.runs("exec /servers/plaingo") }, 2, "upgrade failed", "READY=1", false},
		"listens on nothing": {func(s *serving) { s.runs("exec sleep 1000") }, 2, "upgrade failed", "to accept connections, as its predecessor does", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(k *harness.Case) {
				if c.silent {
					k.Server.Command = k.Server.Command[:1]
				}
			})
			before := s.status()
			c.spoil(s)
			s.Expect(c.final)
			if out, code := s.upgrade(nil); code != c.code || !strings.Contains(out, c.reason) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, c.code, c.reason, out)
			}
			s.said(c.final, c.reason)
			s.same(before)
			s.become(good(t))
			s.must(nil)
		})
	}
}

// TestRollback: a successor that fails in its probation is replaced by its predecessor's executable, whose file is gone.
// It drains before it fails: what a crash loses no init can save.
func TestRollback(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after string
		lines []string
	}{
		"alone":                        {"4s", []string{"upgrade done", "upgrade rolled back"}},
		"while the predecessor drains": {"500ms", []string{"upgrade rolled back"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(k *harness.Case) {
				k.Server.Flags = append(k.Server.Flags, "--probation", "10s")
				k.Server.Slow = harness.Sleep("2s")
			})
			s.runs("exec /servers/plaingo -ready -fail-after " + c.after)
			out, code := s.upgrade(nil)
			if code != 2 || !strings.Contains(out, "exited with code 9") {
				t.Errorf("exit code %d, want 2:\n%s", code, out)
			}
			// The successor, too, finishes its requests before it fails: then the predecessor may be the first to end.
			if len(c.lines) == 1 && strings.Contains(out, ": probation (") {
				c.lines = []string{"upgrade done", "upgrade rolled back"}
			}
			s.Expect(c.lines...)
			s.said("upgrade rolled back", "exited with code 9")
			if st := s.status(); st.Generation != 3 {
				t.Errorf("generation %d after the rollback", st.Generation)
			}
			if !s.Until(s.ctx, func() bool { st := s.status(); return st.State == "running" && len(s.App()) == 1 }) {
				t.Errorf("after the rollback: %+v", s.App())
			}
			s.become(good(t))
			s.must(nil)
		})
	}
}

// TestFullDisk: an operator's copy was cut. In memory there is room: the root is read-only, too.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := serve(t, func(k *harness.Case) {
		k.Server.Command = []string{"plaingo", "-ready"}
		k.Server.Run = []string{"-e", "PATH=/new:/servers:/bin", "--tmpfs", "/new:size=1m,mode=1777,exec"}
	})
	before := s.status()
	out, code := s.Exec(s.ctx, harness.Command{Args: []string{"cp", "/servers/plaingo", "/new/plaingo"}})
	if code == 0 || !strings.Contains(out, "No space left on device") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	s.Expect("upgrade refused")
	if out, code := s.upgrade(nil); code != 1 || !strings.Contains(out, "truncated ELF") {
		t.Errorf("exit code %d, want 1:\n%s", code, out)
	}
	s.said("upgrade refused", "truncated ELF")
	s.same(before)
	s.must(good(t), "--binary", "-")
}

// TestNoRoomForAProcess: the container may not have one process more. The server is one that needs no new thread.
func TestNoRoomForAProcess(t *testing.T) {
	t.Parallel()
	s := serve(t, func(k *harness.Case) {
		k.Server.Command = []string{"/usr/bin/node", "/conf/plain.js"}
	})
	before := s.status()
	if err := s.LimitPIDs(s.ctx, s.Tasks()); err != nil {
		t.Fatal(err)
	}
	s.Expect("upgrade failed")
	const reason = "resource temporarily unavailable"
	out, code := s.EnterAndRun(s.ctx, binary, "upgrade")
	if code != 2 || !strings.Contains(out, reason) {
		t.Errorf("exit code %d, want 2 with %q:\n%s", code, reason, out)
	}
	s.said("upgrade failed", reason)
	if err := s.LimitPIDs(s.ctx, 1000); err != nil {
		t.Fatal(err)
	}
	s.same(before)
	s.must(nil)
}

// TestDelivered: what comes over the control socket is run only if it is what it should be.
func TestDelivered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verify bool
		args   []string
		reason string
	}{
		"wrong digest":       {false, []string{"--sha256", strings.Repeat("0", 64)}, "the SHA-256 of"},
		"not signed":         {true, nil, "it is not signed"},
		"signature of other": {true, []string{"--signature", "/app/other.minisig"}, "the signature is not that of this file"},
		"other's signature":  {true, []string{"--signature", "/app/stranger.minisig"}, "the signature was made with key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, stranger := newSigner(1), newSigner(2)
			s := serve(t, func(k *harness.Case) {
				if c.verify {
					k.Server.Flags = append(k.Server.Flags, "--verify-key", key.public())
				}
			})
			binary := good(t)
			for file, text := range map[string]string{
				"good.minisig": key.sign(binary), "other.minisig": key.sign(binary[1:]), "stranger.minisig": stranger.sign(binary),
			} {
				if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			before := s.status()
			out, code := s.upgrade(binary, slices.Concat([]string{"--binary", "-"}, c.args)...)
			if code != 1 || !strings.Contains(out, c.reason) || strings.Count(out, "\n") != 1 {
				t.Errorf("exit code %d, want 1 and one line with %q:\n%s", code, c.reason, out)
			}
			s.same(before)
			s.must(binary, "--binary", "-", "--signature", "/app/good.minisig")
		})
	}
}
