package listen

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Dialect is a protocol by which an app may expect its listeners beside systemd's.
type Dialect string

const (
	ServerStarter Dialect = "server-starter" // https://metacpan.org/pod/Server::Starter
	Einhorn       Dialect = "einhorn"        // https://github.com/contribsys/einhorn
	Nginx         Dialect = "nginx"          // ngx_add_inherited_sockets in src/core/nginx.c
)

// Dialects are the dialects that are spoken.
type Dialects []Dialect

// Set implements envconfig.Setter.
func (d *Dialects) Set(text string) error {
	for _, member := range strings.Split(text, ",") {
		dialect := Dialect(strings.TrimSpace(member))
		switch dialect {
		case ServerStarter, Einhorn, Nginx:
		default:
			return fmt.Errorf("%q is none of %s, %s, %s", dialect, ServerStarter, Einhorn, Nginx)
		}
		if !slices.Contains(*d, dialect) {
			*d = append(*d, dialect)
		}
	}
	return nil
}

// Names for what has none, as sd_listen_fds_with_names(3) and systemd's FD store have them.
const (
	unknown    = "unknown"
	storedName = "stored"
)

// Environment returns env with what the protocols say about the fds from 3 on: the listeners, then the fds that the
// app has stored, by their names. What they said before to us is removed; a dialect's variables only if it is spoken,
// since NGINX may mean something else to other apps. LISTEN_PID is left to whoever knows the app's pid.
//
// The dialects know no stored fds. Einhorn's EINHORN_MASTER_PID is missing on purpose: a client that finds it
// acknowledges its start to einhorn.
func Environment(env []string, listeners []Listener, stored []string, generation int, dialects Dialects) []string {
	env = slices.Clone(env)
	set := func(name, value string) {
		env = without(env, name+"=")
		if len(listeners)+len(stored) > 0 && value != "" {
			env = append(env, name+"="+value)
		}
	}
	var names, ports, fds []string
	for i, l := range listeners {
		fd := strconv.Itoa(firstFD + i)
		fds = append(fds, fd)
		ports = append(ports, starterPort(l)+"="+fd)
		names = append(names, orElse(l.Name, unknown))
	}
	for _, name := range stored {
		names = append(names, orElse(name, storedName))
	}
	set("LISTEN_PID", "")
	set("LISTEN_PIDFDID", "")
	set("LISTEN_FDS", strconv.Itoa(len(names)))
	set("LISTEN_FDNAMES", strings.Join(names, ":"))
	for _, d := range dialects {
		switch d {
		case ServerStarter:
			set("SERVER_STARTER_PORT", strings.Join(ports, ";"))
			set("SERVER_STARTER_GENERATION", strconv.Itoa(generation))
		case Einhorn:
			env = without(env, "EINHORN_")
			for i, fd := range fds {
				set("EINHORN_FD_"+strconv.Itoa(i), fd)
			}
			set("EINHORN_FD_COUNT", strconv.Itoa(len(fds)))
			set("EINHORN_FDS", strings.Join(fds, " "))
		case Nginx:
			set("NGINX", strings.Join(append(fds, ""), ";")) // each ends with one
		}
	}
	return env
}

// starterPort is the listener in the words of start_server's --port and --path: PORT or HOST:PORT, with a "u" before
// it for UDP, or a path.
func starterPort(l Listener) string {
	port := l.Address
	for _, wildcard := range []string{"0.0.0.0:", "[::]:"} {
		if rest, ok := strings.CutPrefix(l.Address, wildcard); ok && !strings.Contains(l.URL, "6://") {
			port = rest
		}
	}
	if strings.HasPrefix(l.URL, "udp") {
		port = "u" + port
	}
	return port
}

func orElse(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// without takes the variables that begin with a prefix out of env.
func without(env []string, prefix string) []string {
	return slices.DeleteFunc(env, func(variable string) bool { return strings.HasPrefix(variable, prefix) })
}
