package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Command is run in a container as an operator would, beside the app.
type Command struct {
	Args  []string
	User  string    // default: the container's
	Stdin io.Reader // default: empty
	Tee   io.Writer // gets what it says at once; default: nobody
}

// Exec runs a command in the container and returns all that it said, and its exit code: -1 where there is none.
func (l *Life) Exec(ctx context.Context, c Command) (string, int) {
	args := []string{"exec"}
	if c.Stdin != nil {
		args = append(args, "-i")
	}
	if c.User != "" {
		args = append(args, "--user", c.User)
	}
	return l.output(exec.CommandContext(ctx, l.d.bin, append(append(args, l.ct.id), c.Args...)...), c)
}

// EnterAndRun runs a program of this machine in the container's PID and network namespaces, but not in its cgroup: as
// an operator on the node would where the container has no room for one more process.
func (l *Life) EnterAndRun(ctx context.Context, args ...string) (string, int) {
	enter := []string{"--target", strconv.Itoa(l.ct.init.Host), "--pid", "--net", "--"}
	return l.output(exec.CommandContext(ctx, "nsenter", append(enter, args...)...), Command{})
}

func (l *Life) output(cmd *exec.Cmd, c Command) (string, int) {
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout = c.Stdin, &out
	if c.Tee != nil {
		cmd.Stdout = io.MultiWriter(&out, c.Tee)
	}
	cmd.Stderr = cmd.Stdout
	l.event("%q", cmd.Args[1:])
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return out.String() + err.Error(), -1
	}
	l.event("exit code %d: %s", cmd.ProcessState.ExitCode(), tail(out.String(), 500))
	return out.String(), cmd.ProcessState.ExitCode()
}

// Status is of what `graceinit status --json` prints the part that the tests look at (docs/control.md).
type Status struct {
	State      string `json:"state"`
	Generation int    `json:"generation"`
	Ready      bool   `json:"ready"`
	Main       struct {
		PID  int    `json:"pid"`
		Said string `json:"said"`
	} `json:"main"`
}

// Status asks the init for it.
func (l *Life) Status(ctx context.Context) (Status, error) {
	var line struct{ Status Status }
	out, code := l.Exec(ctx, Command{Args: []string{l.Case.Init.Command[0], "status", "--json"}})
	if code != 0 {
		return Status{}, fmt.Errorf("graceinit status ended with %d: %s", code, out)
	}
	err := json.Unmarshal([]byte(out), &line)
	return line.Status, err
}

// App are the processes of the container without the inits, the oldest first.
func (l *Life) App() []Process { return l.ct.app() }

// Log is what the container has printed so far.
func (l *Life) Log() string { return l.ct.logs() }

// Until waits until cond is true. It is not where that takes too long, or the container ends.
func (l *Life) Until(ctx context.Context, cond func() bool) bool {
	return l.until(ctx, upgradeTimeout, cond)
}

// Expect says which lines upgrades that are not Upgrade's are to end with.
func (l *Life) Expect(lines ...string) { l.Expected = append(l.Expected, lines...) }

// Busy waits until the load runs in full: every slow request in flight, and a second's worth of the others served since
// now.
func (l *Life) Busy(ctx context.Context) bool { return l.goesOn(ctx) }

// Tasks counts the processes and threads of the container.
func (l *Life) Tasks() int {
	n := 0
	for _, p := range tree(l.ct.init.Host) {
		tasks, _ := os.ReadDir("/proc/" + strconv.Itoa(p.Host) + "/task")
		n += len(tasks)
	}
	return n
}

// LimitPIDs sets how many processes and threads the container may have.
func (l *Life) LimitPIDs(ctx context.Context, n int) error {
	_, err := l.d.out(ctx, "update", "--pids-limit", strconv.Itoa(n), l.ct.id)
	l.event("at most %d processes and threads: %v", n, err)
	return err
}

// ID is the container's.
func (l *Life) ID() string { return l.ct.id }

// Use is what PID 1 occupies.
type Use struct {
	FDs int
	RSS int64 // bytes
}

// InitUse tells what PID 1 occupies now.
func (l *Life) InitUse() Use {
	dir := "/proc/" + strconv.Itoa(l.ct.init.Host)
	fds, _ := os.ReadDir(dir + "/fd")
	statm, _ := os.ReadFile(dir + "/statm") // size and resident set, in pages
	var size, resident int64
	_, _ = fmt.Sscan(string(statm), &size, &resident)
	return Use{FDs: len(fds), RSS: resident * int64(os.Getpagesize())}
}

// Sockets are the addresses of the control socket and the notification socket.
func (l *Life) Sockets() (control, notify string) {
	// Each PID namespace has a control socket of its own, by the namespace's number (docs/control.md).
	link, _ := os.Readlink("/proc/" + strconv.Itoa(l.ct.init.Host) + "/ns/pid")
	control = "@graceinit-" + strings.Trim(link, "pid:[]")
	for _, p := range l.App() {
		environ, _ := os.ReadFile("/proc/" + strconv.Itoa(p.Host) + "/environ")
		for v := range strings.SplitSeq(string(environ), "\x00") {
			if path, ok := strings.CutPrefix(v, "NOTIFY_SOCKET="); ok {
				notify = path
			}
		}
	}
	return control, notify
}
