package listen

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Spec is one --listen value.
type Spec struct {
	URL  string // with its scheme, without the options
	Name string // for LISTEN_FDNAMES, or empty

	family    int     // AF_INET, AF_INET6 or AF_UNIX
	kind      int     // SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET
	addr      address // of AF_INET and AF_INET6
	dualStack bool    // [::] that takes IPv4 too, and may become 0.0.0.0
	reusePort bool
	path      string // of AF_UNIX; an abstract one begins with @
	backlog   int
	mode      int    // -1: what the umask leaves
	owner     string // USER[:GROUP], or empty
}

// Specs are the values of --listen. In one text they are separated by white space, since commas belong to the options.
type Specs []Spec

// Set implements envconfig.Setter.
func (l *Specs) Set(text string) error {
	values := strings.Fields(text)
	if len(values) == 0 {
		return errors.New("no listener given (like tcp://:8080)")
	}
	for _, value := range values {
		s, err := Parse(value)
		if err != nil {
			return err
		}
		for _, other := range *l {
			if s.sameAddress(other) {
				return fmt.Errorf("listener %s is there twice (for several sockets on one port, all of them need reuseport)", s.URL)
			}
		}
		*l = append(*l, s)
	}
	return nil
}

func (s Spec) sameAddress(other Spec) bool {
	switch {
	case s.reusePort && other.reusePort:
		return false
	case s.family != unix.AF_UNIX && s.addr.port == 0: // each gets a port of its own
		return false
	}
	return s.family == other.family && s.kind == other.kind && s.path == other.path && s.addr == other.addr
}

type scheme struct {
	prefix string
	family int // AF_UNSPEC: IPv4 or IPv6, as the address says
	kind   int
}

// For each kind of socket, the first scheme with its kind is the one that names it.
var (
	internetSchemes = []scheme{
		{"tcp://", unix.AF_UNSPEC, unix.SOCK_STREAM},
		{"tcp4://", unix.AF_INET, unix.SOCK_STREAM},
		{"tcp6://", unix.AF_INET6, unix.SOCK_STREAM},
		{"udp://", unix.AF_UNSPEC, unix.SOCK_DGRAM},
		{"udp4://", unix.AF_INET, unix.SOCK_DGRAM},
		{"udp6://", unix.AF_INET6, unix.SOCK_DGRAM},
	}
	unixSchemes = []scheme{
		{"unix://", unix.AF_UNIX, unix.SOCK_STREAM},
		{"unixgram://", unix.AF_UNIX, unix.SOCK_DGRAM},
		{"unixpacket://", unix.AF_UNIX, unix.SOCK_SEQPACKET},
	}
)

func schemeOf(schemes []scheme, kind int) string {
	for _, s := range schemes {
		if s.kind == kind {
			return s.prefix
		}
	}
	return "socket://"
}

// Parse reads a --listen value: URL[,option...].
func Parse(text string) (Spec, error) {
	if strings.ContainsFunc(text, isControl) {
		return Spec{}, fmt.Errorf("listener %q: has control characters", text)
	}
	url, options, hasOptions := strings.Cut(text, ",")
	switch {
	case strings.Contains(url, "://"):
	case strings.HasPrefix(url, "/"), strings.HasPrefix(url, "@"):
		url = "unix://" + url
	default:
		url = "tcp://" + url
	}
	s := Spec{URL: url, mode: -1, backlog: math.MaxInt32} // listen(2): the kernel lowers it to net.core.somaxconn
	err := s.parseURL()
	if err == nil && hasOptions {
		for _, option := range strings.Split(options, ",") {
			if err = s.setOption(option); err != nil {
				break
			}
		}
	}
	if err != nil {
		return Spec{}, fmt.Errorf("listener %q: %w", text, err)
	}
	return s, nil
}

func (s *Spec) parseURL() error {
	for _, known := range append(internetSchemes, unixSchemes...) {
		rest, ok := strings.CutPrefix(s.URL, known.prefix)
		if !ok {
			continue
		}
		s.family, s.kind = known.family, known.kind
		if known.family == unix.AF_UNIX {
			return s.setPath(rest)
		}
		return s.setAddress(rest)
	}
	name, _, _ := strings.Cut(s.URL, "://")
	return fmt.Errorf("scheme %q is none of tcp, tcp4, tcp6, udp, udp4, udp6, unix, unixgram, unixpacket", name)
}

// maxPath is what sun_path holds beside a final zero (unix(7)).
const maxPath = 107

func (s *Spec) setPath(path string) error {
	switch {
	case len(path) < 2 || path[0] != '/' && path[0] != '@':
		return errors.New("needs an absolute path (unix:///run/app.sock) or an abstract name (unix://@app)")
	case len(path) > maxPath:
		return fmt.Errorf("the path has %d bytes, a socket's can have %d (unix(7)); choose a shorter one", len(path), maxPath)
	}
	s.path = path
	return nil
}

func (s *Spec) setAddress(text string) error {
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return fmt.Errorf("no port (like %s:8080)", text)
	}
	host, portText := text[:colon], text[colon+1:]
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return fmt.Errorf("port %q is not a number from 0 to 65535", portText)
	}
	if host == "" || host == "*" {
		host = "[::]"
		if s.family == unix.AF_INET {
			host = "0.0.0.0"
		}
	}
	if s.addr, err = parseHost(host); err != nil {
		return err
	}
	s.addr.port = uint16(port)
	family := unix.AF_INET6
	if s.addr.isIPv4() {
		family = unix.AF_INET
	}
	if s.family != unix.AF_UNSPEC && s.family != family {
		return fmt.Errorf("host %s is not of the scheme's protocol (with tcp:// or udp:// the address decides)", host)
	}
	s.dualStack = s.family == unix.AF_UNSPEC && family == unix.AF_INET6 && s.addr.wildcard()
	s.family = family
	return nil
}

func parseHost(host string) (address, error) {
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return address{}, fmt.Errorf("host %s: [ without ]", host)
		}
	}
	ip, zone, ok := parseIP(inner)
	switch {
	case !ok:
		return address{}, fmt.Errorf("host %q is not an address; an init resolves no names, give a number (127.0.0.1, [::1]) or none for all addresses", host)
	case strings.Contains(inner, ":") != bracketed:
		return address{}, fmt.Errorf("host %s: brackets go around IPv6 addresses, and only those (tcp://[::1]:80)", host)
	}
	return address{ip: ip, zone: zone}, nil
}

func (s *Spec) setOption(text string) error {
	option, value, hasValue := strings.Cut(text, "=")
	isFile := s.family == unix.AF_UNIX && s.path[0] == '/'
	var (
		applies bool
		n       uint64
		err     error
	)
	switch option {
	case "name":
		applies, s.Name = true, value
		if !validName(value) {
			err = errors.New("is not a name (up to 255 printable ASCII characters without a colon)")
		}
	case "backlog":
		applies = s.kind != unix.SOCK_DGRAM
		if n, err = strconv.ParseUint(value, 10, 31); err != nil {
			err = errors.New("is not a number")
		}
		s.backlog = int(n)
	case "reuseport":
		applies, s.reusePort = s.family != unix.AF_UNIX, true
	case "v6only":
		applies, s.dualStack = s.family == unix.AF_INET6, false
		s.URL = strings.Replace(strings.Replace(s.URL, "6://", "://", 1), "://", "6://", 1)
	case "mode":
		applies = isFile
		if n, err = strconv.ParseUint(value, 8, 32); err != nil || n > 0o777 {
			err = errors.New("is not a mode (like 0660)")
		}
		s.mode = int(n)
	case "owner":
		applies, s.owner = isFile, value
		if value == "" {
			err = errors.New("is not a USER[:GROUP]")
		}
	default:
		return fmt.Errorf("option %q is none of name=NAME, backlog=N, reuseport, v6only, mode=MODE, owner=USER[:GROUP]", option)
	}
	isSwitch := option == "reuseport" || option == "v6only"
	switch {
	case !applies:
		return fmt.Errorf("option %s means nothing for such a socket", option)
	case isSwitch && hasValue:
		return fmt.Errorf("option %s takes no value", option)
	case !isSwitch && !hasValue:
		return fmt.Errorf("option %s needs a value", option)
	case err != nil:
		return fmt.Errorf("option %s: %q %w", option, value, err)
	}
	return nil
}

// validName is systemd's rule (fdname_is_valid): the names are passed on with colons between them.
func validName(name string) bool {
	if name == "" || len(name) > 255 {
		return false
	}
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return true
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
