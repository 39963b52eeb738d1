package container

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/harness"
)

// TestReadiness: what says READY=1 is believed. The settle time, an hour, cannot have been what made it ready.
func TestReadiness(t *testing.T) {
	t.Parallel()
	needDocker(t)
	listen := []string{"--listen", "tcp://:" + harness.Port}
	for name, c := range map[string]struct {
		command []string
		flags   []string
		said    string // STATUS=
		final   string // empty: no upgrade, which ends in place, and that takes the settle time
	}{
		"systemd-notify": {[]string{"/bin/sh", "/conf/notify.sh"}, []string{"--upgrade", "spawn"}, "as ready as a script can be", "upgrade done"},
		"gunicorn": {[]string{"/usr/bin/gunicorn", "--worker-tmp-dir", "/dev/shm", "--chdir", "/conf", "app:application"},
			listen, "Gunicorn arbiter booted", "upgrade done"},
		"go-systemd": {[]string{"/servers/httpserver"}, listen, "", "upgrade done"},
		"haproxy":    {[]string{"/usr/sbin/haproxy", "-Ws", "-f", "/conf/haproxy.cfg"}, []string{"--stop-signal", "USR1"}, "", ""},
	} {
		for _, hardened := range []bool{false, true} {
			k := harness.Case{Hardened: hardened, Init: harness.Graceinit(binary), Server: harness.Server{
				Name: name, Command: c.command,
				Flags: append(slices.Clip(c.flags), "--settle", "1h", "--ready-timeout", "30s", "--probation", "0s"),
			}}
			t.Run(k.Name(), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				l := docker.Begin(ctx, images, k)
				if l.Started { // it is ready
					if st, err := l.Status(ctx); err != nil || st.Main.Said != c.said {
						t.Errorf("status %+v, %v; want %q said", st, err, c.said)
					}
				}
				if l.Started && c.final != "" {
					l.Expect(c.final)
					if out, code := l.Exec(ctx, harness.Command{Args: []string{graceinit, "upgrade"}}); code != 0 {
						t.Errorf("exit code %d: %s", code, out)
					}
				}
				if r := l.End(ctx); len(r.Problems()) > 0 || t.Failed() {
					t.Errorf("%s", r)
				}
			})
		}
	}
}
