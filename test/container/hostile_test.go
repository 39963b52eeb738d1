package container

import (
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/graceinit/graceinit/test/container/harness"
)

// TestHostile: more than 10,000 hostile messages and datagrams, from root and another user in the container and from
// root in a container that shares its network, change nothing.
func TestHostile(t *testing.T) {
	t.Parallel()
	const each = 1700                     // messages for each of two sockets by each of three attackers
	s := serve(t, func(c *harness.Case) { // by an abstract name, a sibling can reach the notification socket too
		c.Server.Flags = append(c.Server.Flags, "--notify", "@graceinit-test-hostile")
	})
	before, idle := s.status(), s.InitUse()
	control, notify := s.Sockets()
	if control == "" || notify == "" {
		t.Fatalf("control socket %q, notification socket %q", control, notify)
	}
	attack := func(stranger bool, seed int) []string {
		return []string{"/servers/hostile", "-control", control, "-notify", notify, "-messages", strconv.Itoa(each),
			"-stranger=" + strconv.FormatBool(stranger), "-seed", strconv.Itoa(seed)}
	}

	sent := 0
	var mu sync.Mutex
	var attacks sync.WaitGroup
	done := func(who, out string, code int) {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		if m := regexp.MustCompile(`sent (\d+)`).FindStringSubmatch(out); m != nil {
			n, _ = strconv.Atoi(m[1])
		}
		if code != 0 {
			t.Errorf("%s: exit code %d: %s", who, code, out)
		}
		sent += n
	}
	for seed, user := range []string{"0", "1234"} {
		attacks.Go(func() {
			out, code := s.Exec(s.ctx, harness.Command{User: user, Args: attack(user != "0", seed)})
			done("uid "+user, out, code)
		})
	}
	attacks.Go(func() {
		out, code := docker.RunAttached(s.ctx, append([]string{"--network", "container:" + s.ID(), images.Servers}, attack(true, 9)...)...)
		done("a sibling", out, code)
	})
	attacks.Wait()
	if sent < 10_000 {
		t.Errorf("only %d messages were sent", sent)
	}

	// Connections whose other end was sent along end only when the init's patience does, after 5 s.
	var after harness.Use
	if !s.Until(s.ctx, func() bool { after = s.InitUse(); return after.FDs == idle.FDs }) {
		t.Errorf("%d fds, before the attack %d", after.FDs, idle.FDs)
	}
	t.Logf("%d hostile messages: RSS %d kB, before %d kB; %d fds", sent, after.RSS>>10, idle.RSS>>10, after.FDs)
	if most := idle.RSS + 3<<20; after.RSS > most {
		t.Errorf("RSS %d bytes, before the attack %d", after.RSS, idle.RSS)
	}
	s.same(before)
	s.become(good(t))
	s.must(nil)
}
