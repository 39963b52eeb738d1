package upgrades

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/proc"
)

// settle is how long nginx's successor must have lived before its predecessor is told to go, by graceinit and by the script.
const settle = 500 * time.Millisecond

// way is a way of upgrading a server. With each, SIGUSR2 to PID 1 begins an upgrade.
type way struct {
	name string
	// control is the way that does the same without graceinit; empty for a way that is none of graceinit's.
	control string
	// closesIdle: this server closes idle keep-alive connections without a warning, and loses a request that crosses it.
	closesIdle bool
	// lossy: no init can keep what this way loses.
	lossy bool
	// frozen: the processes that serve have no part in the upgrade, and can be held still meanwhile.
	frozen bool
	// single: the server is one process, which can hold no more connections than it may open files.
	single bool
	comm   string
	title  string // how the command line of those processes begins that serve, where others of the name do not
	needs  string // a program that has to be installed
	// command is PID 1.
	command func(s *setting) (args []string, operator *orders, err error)
}

func (w *way) ours() bool { return w.control != "" }

// serves reports whether a process is one that answers requests.
func (w *way) serves(p proc.Process) bool {
	if p.Comm != w.comm || p.Zombie() {
		return false
	}
	if w.title == "" {
		return true
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	return err == nil && strings.HasPrefix(string(line), w.title)
}

// setting is what a way is measured in.
type setting struct {
	graceinit, app string
	dir            string // for this life alone
	addresses      []netip.AddrPort
	workers        int
	grace          time.Duration // how long the app lets silent connections be once it stops
}

func (s *setting) list() []string {
	var out []string
	for _, a := range s.addresses {
		out = append(out, a.String())
	}
	return out
}

func (s *setting) appCommand(way string, withAddresses bool) []string {
	args := []string{s.app, "-way", way, "-workers", strconv.Itoa(s.workers), "-grace", s.grace.String()}
	if withAddresses {
		args = append(args, s.list()...)
	}
	return args
}

const (
	spawn      = "graceinit spawn"
	byHand     = "by hand"
	starter    = "Server::Starter"
	reusePort  = "SO_REUSEPORT"
	nginxOwn   = "nginx's own"
	flipOwn    = "tableflip's own"
	graceOwn   = "grace's own"
	overNginx  = "graceinit over nginx"
	overFlip   = "graceinit over tableflip"
	overGrace  = "graceinit over grace"
	appComm    = "app"
	nginx      = "/usr/sbin/nginx"
	startServe = "start_server"
)

// ways in the order of the tables.
func ways() []way {
	own := func(name string) func(*setting) ([]string, *orders, error) {
		return func(s *setting) ([]string, *orders, error) {
			return nil, &orders{Start: s.appCommand(name, true), Signal: syscall.SIGUSR2}, nil
		}
	}
	over := func(name string) func(*setting) ([]string, *orders, error) {
		return func(s *setting) ([]string, *orders, error) {
			return append([]string{s.graceinit, "--"}, s.appCommand(name, true)...), nil, nil
		}
	}
	return []way{
		{name: spawn, control: byHand, frozen: true, comm: appComm, command: func(s *setting) ([]string, *orders, error) {
			args := []string{s.graceinit, "--probation", "0s", "--drain-timeout", "2m"}
			for _, a := range s.list() {
				args = append(args, "--listen", "tcp://"+a)
			}
			return append(append(args, "--"), s.appCommand("inherit", false)...), nil, nil
		}},
		{name: byHand, frozen: true, comm: appComm, command: func(s *setting) ([]string, *orders, error) {
			return nil, &orders{Start: s.appCommand("inherit", false), Listen: s.list(), Notify: filepath.Join(s.dir, "notify")}, nil
		}},
		{name: starter, frozen: true, comm: appComm, needs: startServe, command: func(s *setting) ([]string, *orders, error) {
			program, err := exec.LookPath(startServe)
			args := []string{program, "--backlog", "8192"}
			for _, a := range s.list() {
				args = append(args, "--port", a)
			}
			return nil, &orders{Start: append(append(args, "--"), s.appCommand("starter", false)...), Signal: syscall.SIGHUP}, err
		}},
		{name: reusePort, lossy: true, frozen: true, comm: appComm, command: func(s *setting) ([]string, *orders, error) {
			return nil, &orders{Start: s.appCommand("reuseport", true), Notify: filepath.Join(s.dir, "notify")}, nil
		}},
		{name: overFlip, control: flipOwn, single: true, comm: appComm, command: over("tableflip")},
		{name: flipOwn, single: true, comm: appComm, command: own("tableflip")},
		{name: overGrace, control: graceOwn, closesIdle: true, single: true, comm: appComm, command: over("grace")},
		{name: graceOwn, closesIdle: true, single: true, comm: appComm, command: own("grace")},
		{name: overNginx, control: nginxOwn, closesIdle: true, frozen: true, comm: "nginx", title: "nginx: worker", needs: nginx, command: func(s *setting) ([]string, *orders, error) {
			args := []string{s.graceinit, "--reparent", "--predecessor-signal", "QUIT", "--stop-signal", "QUIT", "--settle", settle.String(), "--"}
			command, _, err := s.nginx("off")
			return append(args, command...), nil, err
		}},
		{name: nginxOwn, closesIdle: true, frozen: true, comm: "nginx", title: "nginx: worker", needs: nginx, command: func(s *setting) ([]string, *orders, error) {
			command, pidFile, err := s.nginx("on") // in the foreground nginx does not upgrade below the parent that started it
			return nil, &orders{Start: command, PIDFile: pidFile, Settle: settle}, err
		}},
	}
}

// nginx writes its configuration.
func (s *setting) nginx(daemon string) (command []string, pidFile string, err error) {
	pidFile = filepath.Join(s.dir, "nginx.pid")
	var b strings.Builder
	fmt.Fprintf(&b, "user root; worker_processes 4; pid %s; error_log stderr notice;\n", pidFile)
	fmt.Fprintf(&b, "events { worker_connections 19000; }\nhttp {\n access_log off; keepalive_timeout 1h; keepalive_requests 1000000;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, " %s_temp_path %s;\n", kind, filepath.Join(s.dir, kind))
	}
	b.WriteString(" server {\n")
	for _, a := range s.list() {
		fmt.Fprintf(&b, "  listen %s backlog=8192;\n", a)
	}
	b.WriteString("  location / { return 200 \"pid $pid\\n\"; }\n }\n}\n")
	conf := filepath.Join(s.dir, "nginx.conf")
	command = []string{nginx, "-e", "stderr", "-c", conf, "-g", "daemon " + daemon + ";"}
	return command, pidFile, os.WriteFile(conf, []byte(b.String()), 0o600)
}

// pid1 is the command line of PID 1.
func (w *way) pid1(s *setting) (path string, args []string, err error) {
	args, operator, err := w.command(s)
	if err != nil || operator == nil {
		return "", args, err
	}
	text, err := json.Marshal(operator)
	if err != nil {
		return "", nil, err
	}
	path, err = os.Executable()
	return path, []string{operatorName, string(text)}, err
}
