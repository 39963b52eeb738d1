package container

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/harness"
)

// TestFDStore: a thousand connections live through five upgrades, and the server's count of each with them.
func TestFDStore(t *testing.T) {
	t.Parallel()
	needDocker(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	l := docker.Begin(ctx, images, harness.Case{Hardened: true, Init: harness.Graceinit(binary), Server: harness.Server{
		Name: "fdstore", Command: []string{"/servers/fdstore"},
		Flags: []string{"--listen", "tcp://:" + harness.Port, "--stop-first", "--probation", "0s"},
		Run:   []string{"--ulimit", "nofile=8192"}, // each connection is one in the store, and one in the server
	}})
	said, tee := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		out, code := l.Exec(ctx, harness.Command{Tee: tee, Args: []string{"/servers/fdclient", "-connect", "127.0.0.1:" + harness.Port,
			"-connections", "1000", "-upgrades", "5", "-duration", "2m"}})
		_ = tee.Close()
		if code != 0 || !strings.Contains(out, " 6 generations") || !strings.Contains(out, " 0 failures") {
			t.Errorf("the client's exit code is %d:\n%s", code, out)
		}
		t.Log(out)
	}()
	lines := bufio.NewScanner(said)
	await := func(line string) bool {
		for lines.Scan() {
			if lines.Text() == line {
				return true
			}
		}
		return false
	}
	for generation := 1; generation <= 5; generation++ {
		if !await(fmt.Sprintf("generation %d has answered on every connection", generation)) {
			break
		}
		l.Expect("upgrade done")
		if out, code := l.Exec(ctx, harness.Command{Args: []string{graceinit, "upgrade"}}); code != 0 {
			t.Errorf("exit code %d: %s", code, out)
		}
	}
	_, _ = io.Copy(io.Discard, said)
	<-ended
	if r := l.End(ctx); len(r.Problems()) > 0 {
		t.Errorf("%s", r)
	}
}
