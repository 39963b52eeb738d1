// Package gracedemo builds facebookgo's gracedemo, unmodified, and looks at its generations.
package gracedemo

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/graceinit/graceinit/demo/proc"
)

// pkg is pinned by go.mod.
const pkg = "github.com/facebookgo/grace/gracedemo"

// App is a directory with several builds of the app and one executable, which Install replaces.
type App struct {
	Dir string
	// Fast and Slow are two of the app's ports. With the slow requests on a port of their own, the connections of a
	// process on that port are its slow requests in flight.
	Fast, Slow, third int

	images   []os.FileInfo // by build, what Install put in place
	listener uint64        // inode of the listening socket of Fast, which every generation inherits
}

// Build makes the builds 1 to n. They differ in their build id only.
func Build(ctx context.Context, root string, n int) (*App, error) {
	dir, err := os.MkdirTemp("", "gracedemo-")
	if err != nil {
		return nil, err
	}
	a := &App{Dir: dir, images: make([]os.FileInfo, n+1)}
	for i := 1; i <= n; i++ {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", fmt.Sprintf("-s -w -buildid=build-%d", i),
			"-o", a.build(i), pkg)
		cmd.Dir = filepath.Join(root, "demo")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			a.Close()
			return nil, fmt.Errorf("cannot build %s: %w\n%s", pkg, err, out)
		}
	}
	ports, err := freePorts(3)
	if err != nil {
		a.Close()
		return nil, err
	}
	a.Fast, a.Slow, a.third = ports[0], ports[1], ports[2]
	return a, a.Install(1)
}

// Restart forgets the sockets of an app that has ended.
func (a *App) Restart() { a.listener = 0 }

// Close removes the files.
func (a *App) Close() { _ = os.RemoveAll(a.Dir) }

func (a *App) build(i int) string { return filepath.Join(a.Dir, "build-"+strconv.Itoa(i)) }
func (a *App) path() string       { return filepath.Join(a.Dir, "app") }

// Install puts a build in the place of the executable, as a deployment does: written aside, then renamed over it.
func (a *App) Install(build int) error {
	in, err := os.Open(a.build(build))
	if err != nil {
		return err
	}
	defer in.Close()
	aside := a.path() + ".new"
	out, err := os.OpenFile(aside, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(aside, a.path())
	}
	if err == nil {
		a.images[build], err = os.Stat(a.path())
	}
	return err
}

// Command starts the app.
func (a *App) Command() []string {
	return []string{a.path(), "-a0", Addr(a.Fast), "-a1", Addr(a.Slow), "-a2", Addr(a.third)}
}

// Addr is a port on loopback: nobody else is to reach the app.
func Addr(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// Process is one generation of the app.
type Process struct {
	proc.Process
	Listening bool // it accepts connections, or will
	Slow      int  // its slow requests in flight
	Build     int  // 0: unknown
}

// Processes are those below PID 1 in the namespace that the proc mount belongs to, without Slow.
func (a *App) Processes(mount string) ([]Process, error) { return a.processes(mount, nil) }

// ProcessesAtWork are the same with Slow. That makes the kernel walk through all of its sockets: some milliseconds.
func (a *App) ProcessesAtWork(mount string) ([]Process, error) {
	slow, err := proc.TCP("/proc", a.Slow)
	if err != nil {
		return nil, err
	}
	return a.processes(mount, slow.Established)
}

func (a *App) processes(mount string, slow map[uint64]bool) ([]Process, error) {
	all, err := proc.List(mount)
	if err != nil {
		return nil, err
	}
	if a.listener == 0 {
		fast, err := proc.TCP("/proc", a.Fast)
		if err != nil {
			return nil, err
		}
		for a.listener = range fast.Listening {
		}
	}
	var out []Process
	for _, p := range all {
		if p.PID == 1 {
			continue
		}
		q := Process{Process: p}
		if !p.Zombie() {
			// An error means that it ends just now, or has not executed anything yet.
			sockets, _ := proc.SocketsOf(mount, p.PID)
			q.Listening = a.listener != 0 && slices.Contains(sockets, a.listener)
			q.Slow = proc.Count(sockets, slow)
			q.Build = a.buildOf(mount, p.PID)
		}
		out = append(out, q)
	}
	return out, nil
}

func (a *App) buildOf(mount string, pid int) int {
	fi, err := os.Stat(filepath.Join(mount, strconv.Itoa(pid), "exe"))
	if err != nil {
		return 0
	}
	for i, image := range a.images {
		if image != nil && os.SameFile(fi, image) {
			return i
		}
	}
	return 0
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) ([]int, error) {
	var out []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// All stay open until all are found, or one would be found twice.
		defer ln.Close()
		addr, ok := ln.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("%v is no TCP address", ln.Addr())
		}
		out = append(out, addr.Port)
	}
	return out, nil
}

// Root is the directory of the repository that contains dir.
func Root(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		_, err := os.Stat(filepath.Join(at, "cmd", "graceinit"))
		if err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("cannot find the repository from %s", dir)
		}
	}
}
