package harness

import (
	"slices"
	"strings"

	"github.com/graceinit/graceinit/test/container/load"
)

// Outcome is what an upgrade of a server is to look like.
type Outcome int

const (
	// Replaced: a successor answers, and every process of the predecessor's generation goes.
	Replaced Outcome = iota
	// InPlace: the main process executes itself anew and stays; its other processes are replaced.
	InPlace
	// Unchanged: the server cannot upgrade itself. It is to serve on as if nothing had happened.
	Unchanged
)

// Closing is what a server does to its idle connections at the end.
type Closing int

const (
	// Announced: it answers once more and says that the connection ends. No request is lost.
	Announced Closing = iota
	// BeforeReading: it closes them. A request that no process has read is lost.
	BeforeReading
	// AfterReading: as before, and for net/http a connection is idle until the request's head is complete: one
	// that was just read is lost too.
	AfterReading
)

// excuses tells whether a server's own way of closing explains a failure.
func (c Closing) excuses(f load.Failure) bool {
	return c == BeforeReading && f.Unread || c == AfterReading && f.Crossed
}

// Port is where every server listens in its container.
const Port = "8080"

// Sleep is the path of a slow answer, for those servers that take a duration.
func Sleep(duration string) string { return "/sleep/?duration=" + duration }

// Server is a row of the table.
type Server struct {
	Name    string
	Image   string // name in goPrograms for the server's scratch image; empty: the Debian image
	Command []string
	Slow    string   // path of an answer that takes its time, in the table 4 s
	Fast    string   // path of an answer at once; empty: it speaks no HTTP, and there is no load
	Flags   []string // graceinit's, that this server needs
	Outcome Outcome
	Final   string // how the line that ends an upgrade begins

	// Predecessor is what the predecessor waits for before it goes. graceinit is told by a flag; under other
	// inits the harness plays the operator and sends it.
	Predecessor string
	// StopSignal is the one that lets this server finish its requests, for other inits: `docker run --stop-signal`.
	StopSignal string
	// Run are arguments of `docker run` that this server needs.
	Run []string
	// Tmpfs are the directories that the server itself must be able to write to.
	Tmpfs []string
	// ClosesIdle: on its way out this server closes idle keep-alive connections without a warning, and a request
	// that crosses the close is lost, whatever init there is (README.md has the measurement). In an upgrade such
	// requests are counted apart.
	ClosesIdle Closing
	// Exit is the status that the server ends with after it was told to stop.
	Exit int
}

// Servers are those that upgrade themselves, and two that cannot.
func Servers() []Server {
	return []Server{
		{
			Name: "gracedemo", Image: "gracedemo",
			Command: []string{"/servers/gracedemo", "-a0", ":" + Port, "-a1", ":8081", "-a2", ":8082"},
			Fast:    Sleep("0s"), Slow: Sleep("4s"),
			Final: "upgrade done", ClosesIdle: AfterReading,
		},
		{
			Name: "tableflip", Image: "tableflip",
			Command: []string{"/servers/tableflip"},
			Fast:    "/", Slow: Sleep("4s"),
			Final: "upgrade done",
		},
		{
			Name:    "nginx",
			Command: []string{"/usr/sbin/nginx", "-e", "stderr", "-c", "/conf/nginx.conf", "-g", "daemon off;"},
			Fast:    "/", Slow: "/slow",
			Flags: []string{"--reparent", "--predecessor-signal", "QUIT", "--stop-signal", "QUIT"},
			Final: "upgrade done", Predecessor: "QUIT", StopSignal: "QUIT", ClosesIdle: BeforeReading,
			Tmpfs: []string{"/tmp"},
		},
		{
			Name:    "nginx-daemon",
			Command: []string{"/usr/sbin/nginx", "-e", "stderr", "-c", "/conf/nginx.conf", "-g", "daemon on;"},
			Fast:    "/", Slow: "/slow",
			Flags: []string{"--pid-file", "/tmp/nginx.pid", "--predecessor-signal", "QUIT", "--stop-signal", "QUIT"},
			Final: "upgrade done", Predecessor: "QUIT", StopSignal: "QUIT", ClosesIdle: BeforeReading,
			Tmpfs: []string{"/tmp"},
		},
		{
			Name: "gunicorn",
			// No keep-alive: a gthread worker that is told to stop leaves requests on kept connections unread
			// until it exits, with or without an upgrade.
			Command: []string{"/usr/bin/gunicorn", "--bind", ":" + Port, "--workers", "2", "--worker-class", "gthread",
				"--threads", "24", "--keep-alive", "0", "--worker-tmp-dir", "/dev/shm", "--chdir", "/conf", "app:application"},
			Fast: "/", Slow: Sleep("4s"),
			Flags: []string{"--predecessor-signal", "TERM"},
			Final: "upgrade done", Predecessor: "TERM",
		},
		{
			Name:    "haproxy",
			Command: []string{"/usr/sbin/haproxy", "-W", "-db", "-f", "/conf/haproxy.cfg"},
			Fast:    "/", Slow: "/slow",
			// TERM makes haproxy drop what it is doing; USR1 is its soft stop.
			Flags:   []string{"--stop-signal", "USR1"},
			Outcome: InPlace, Final: "upgrade done in place", StopSignal: "USR1",
		},
		{
			Name: "plain-go", Image: "plaingo",
			Command: []string{"/servers/plaingo"},
			Fast:    "/", Slow: Sleep("4s"),
			// Every Go program catches USR2, so it is forwarded, and then nothing happens until the ready timeout.
			Flags:   []string{"--ready-timeout", "3s"},
			Outcome: Unchanged, Final: "upgrade failed",
		},
		{
			Name:    "plain-python",
			Command: []string{"/usr/bin/python3", "/conf/plain.py", Port},
			Fast:    "/", Slow: Sleep("4s"),
			Outcome: Unchanged, Final: "upgrade refused",
		},
	}
}

// Init is a column of the table.
type Init struct {
	Name    string
	Command []string // before the server's command
	Binary  string   // path on the host that is mounted at Command[0]; empty: it is in the Debian image
	Ours    bool     // takes Server.Flags and logs upgrades
	InImage bool     // the image's entry point, without flags
	Direct  bool     // forwards nothing: the harness signals the app's processes itself
}

// Peers are the inits to compare with, no init at all, and "by-hand": a PID 1 that only reaps, where the harness
// sends every signal to the right process at the right time. What a server loses by-hand it loses by itself.
func Peers() []Init {
	return []Init{
		{Name: "tini", Command: []string{"/usr/bin/tini", "--"}},
		{Name: "dumb-init", Command: []string{"/usr/bin/dumb-init", "--"}},
		{Name: "catatonit", Command: []string{"/usr/bin/catatonit", "--"}},
		{Name: "none"},
		{Name: "by-hand", Command: []string{"/usr/bin/python3", "/conf/keeper.py"}, Direct: true},
	}
}

// Graceinit is ours, from a binary on this machine.
func Graceinit(binary string) Init {
	return Init{Name: "graceinit", Command: []string{"/graceinit"}, Binary: binary, Ours: true}
}

// Case is one container's life.
type Case struct {
	Server     Server
	Init       Init
	Hardened   bool // --user 1000 --cap-drop ALL --read-only
	DockerInit bool // docker run --init: the init is not PID 1
	Scratch    bool // the server's scratch image where it has one
	Upgrades   int
}

// Name of the case, as the tests use it.
func (c Case) Name() string {
	user, place := "root", "pid1"
	if c.Hardened {
		user = "hardened"
	}
	if c.DockerInit {
		place = "subreaper"
	}
	return strings.Join([]string{c.Server.Name, user, place}, "/")
}

// runArgs are the arguments of docker run.
func (c Case) runArgs(img *Images) []string {
	args := []string{"-d"}
	if c.DockerInit {
		args = append(args, "--init")
	}
	if c.Hardened {
		args = append(args, "--user", "1000", "--cap-drop", "ALL", "--read-only")
		for _, t := range c.Server.Tmpfs {
			args = append(args, "--tmpfs", t+":mode=1777")
		}
	}
	args = append(args, c.Server.Run...)
	if c.Init.Binary != "" {
		args = append(args, "-v", c.Init.Binary+":"+c.Init.Command[0]+":ro")
	}
	if !c.Init.Ours && c.Server.StopSignal != "" {
		args = append(args, "--stop-signal", c.Server.StopSignal)
	}
	image := img.Servers
	if c.Scratch && c.Server.Image != "" {
		image = img.Scratch[c.Server.Image]
	}
	args = append(args, image)
	if c.Init.InImage {
		return slices.Concat(args, c.Server.Command)
	}
	args = append(args, c.Init.Command...)
	if c.Init.Ours {
		args = append(args, c.Server.Flags...)
		if c.Hardened {
			args = append(args, "--log-format", "json")
		}
		args = append(args, "--")
	}
	return slices.Concat(args, c.Server.Command)
}
