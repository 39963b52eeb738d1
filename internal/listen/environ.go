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
	for member := range strings.SplitSeq(text, ",") {
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
	env = without(env, "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID")
	if n := len(listeners) + len(stored); n > 0 {
		env = append(env, "LISTEN_FDS="+strconv.Itoa(n), "LISTEN_FDNAMES="+names(listeners, stored))
	}
	for _, d := range dialects {
		env = without(env, variables[d]...)
		if len(listeners) > 0 {
			env = d.add(env, listeners, generation)
		}
	}
	return env
}

// variables are those of each dialect; a * at the end stands for any rest.
var variables = map[Dialect][]string{
	ServerStarter: {"SERVER_STARTER_PORT", "SERVER_STARTER_GENERATION"},
	Einhorn:       {"EINHORN_*"},
	Nginx:         {"NGINX"},
}

func (d Dialect) add(env []string, listeners []Listener, generation int) []string {
	var ports, fds []string
	for i, l := range listeners {
		fd := strconv.Itoa(firstFD + i)
		fds = append(fds, fd)
		ports = append(ports, starterPort(l)+"="+fd)
	}
	switch d {
	case ServerStarter:
		return append(env, "SERVER_STARTER_PORT="+strings.Join(ports, ";"), "SERVER_STARTER_GENERATION="+strconv.Itoa(generation))
	case Einhorn:
		for i, fd := range fds {
			env = append(env, fmt.Sprintf("EINHORN_FD_%d=%s", i, fd))
		}
		return append(env, "EINHORN_FD_COUNT="+strconv.Itoa(len(fds)), "EINHORN_FDS="+strings.Join(fds, " "))
	case Nginx:
		return append(env, "NGINX="+strings.Join(fds, ";")+";")
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

func names(listeners []Listener, stored []string) string {
	var list []string
	for _, l := range listeners {
		list = append(list, orElse(l.Name, unknown))
	}
	for _, name := range stored {
		list = append(list, orElse(name, storedName))
	}
	return strings.Join(list, ":")
}

func orElse(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// without returns a copy of env without the variables of these names.
func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(variable string) bool {
		have, _, _ := strings.Cut(variable, "=")
		return slices.ContainsFunc(names, func(name string) bool {
			prefix, isPrefix := strings.CutSuffix(name, "*")
			return have == name || isPrefix && strings.HasPrefix(have, prefix)
		})
	})
}
