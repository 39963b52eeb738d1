package listen

import (
	"math"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	all, most := address{port: 8080}, math.MaxInt32
	tcp := func(url, addr string) Spec {
		ap := netip.MustParseAddrPort(addr)
		s := Spec{URL: url, family: unix.AF_INET6, kind: unix.SOCK_STREAM, mode: -1, backlog: most}
		s.addr = address{ip: ap.Addr().As16(), zone: ap.Addr().Zone(), port: ap.Port()}
		if ap.Addr().Is4() {
			s.family = unix.AF_INET
		}
		return s
	}
	dual := Spec{family: unix.AF_INET6, kind: unix.SOCK_STREAM, addr: all, dualStack: true, mode: -1, backlog: most}
	file := Spec{family: unix.AF_UNIX, kind: unix.SOCK_STREAM, path: "/run/app.sock", mode: -1, backlog: most}
	with := func(s Spec, change func(*Spec)) Spec { change(&s); return s }
	for text, want := range map[string]Spec{
		"tcp://:8080":               with(dual, func(s *Spec) { s.URL = "tcp://:8080" }),
		"tcp://*:8080":              with(dual, func(s *Spec) { s.URL = "tcp://*:8080" }),
		"tcp://[::]:8080":           with(dual, func(s *Spec) { s.URL = "tcp://[::]:8080" }),
		":8080":                     with(dual, func(s *Spec) { s.URL = "tcp://:8080" }),
		"udp://:8080":               with(dual, func(s *Spec) { s.URL, s.kind = "udp://:8080", unix.SOCK_DGRAM }),
		"tcp6://:8080":              with(dual, func(s *Spec) { s.URL, s.dualStack = "tcp6://:8080", false }),
		"tcp://:8080,v6only":        with(dual, func(s *Spec) { s.URL, s.dualStack = "tcp6://:8080", false }),
		"tcp6://:8080,v6only":       with(dual, func(s *Spec) { s.URL, s.dualStack = "tcp6://:8080", false }),
		"tcp4://:80":                tcp("tcp4://:80", "0.0.0.0:80"),
		"tcp://0.0.0.0:80":          tcp("tcp://0.0.0.0:80", "0.0.0.0:80"),
		"127.0.0.1:80":              tcp("tcp://127.0.0.1:80", "127.0.0.1:80"),
		"[::1]:80":                  tcp("tcp://[::1]:80", "[::1]:80"),
		"tcp://[fe80::1%eth0]:80":   tcp("tcp://[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
		"tcp://[::ffff:1.2.3.4]:80": tcp("tcp://[::ffff:1.2.3.4]:80", "1.2.3.4:80"),
		"tcp://:8080,name=http,backlog=5,reuseport": with(dual, func(s *Spec) {
			s.URL, s.Name, s.backlog, s.reusePort = "tcp://:8080", "http", 5, true
		}),
		"unix:///run/app.sock": with(file, func(s *Spec) { s.URL = "unix:///run/app.sock" }),
		"/run/app.sock,mode=0660,owner=www-data:33": with(file, func(s *Spec) {
			s.URL, s.mode, s.owner = "unix:///run/app.sock", 0o660, "www-data:33"
		}),
		"@app":            with(file, func(s *Spec) { s.URL, s.path = "unix://@app", "@app" }),
		"unixgram:///x":   with(file, func(s *Spec) { s.URL, s.path, s.kind = "unixgram:///x", "/x", unix.SOCK_DGRAM }),
		"unixpacket://@x": with(file, func(s *Spec) { s.URL, s.path, s.kind = "unixpacket://@x", "@x", unix.SOCK_SEQPACKET }),
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("%s:\n%+v, %v\n%+v", text, got, err, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"http://:80":                   `scheme "http" is none of tcp, tcp4, tcp6, udp, udp4, udp6, unix, unixgram, unixpacket`,
		"8080":                         `no port (like 8080:8080)`,
		"tcp://127.0.0.1":              `no port (like 127.0.0.1:8080)`,
		"tcp://:http":                  `port "http" is not a number from 0 to 65535`,
		"tcp://:65536":                 `port "65536" is not a number from 0 to 65535`,
		"tcp://localhost:80":           `host "localhost" is not an address; an init resolves no names, give a number (127.0.0.1, [::1]) or none for all addresses`,
		"tcp://::1:80":                 `host ::1: brackets go around IPv6 addresses, and only those (tcp://[::1]:80)`,
		"tcp://[127.0.0.1]:80":         `host [127.0.0.1]: brackets go around IPv6 addresses, and only those (tcp://[::1]:80)`,
		"tcp://[::1:80":                `host [::1: [ without ]`,
		"tcp4://[::1]:80":              `host [::1] is not of the scheme's protocol (with tcp:// or udp:// the address decides)`,
		"udp6://127.0.0.1:80":          `host 127.0.0.1 is not of the scheme's protocol (with tcp:// or udp:// the address decides)`,
		"unix://run/app.sock":          `needs an absolute path (unix:///run/app.sock) or an abstract name (unix://@app)`,
		"unix://":                      `needs an absolute path (unix:///run/app.sock) or an abstract name (unix://@app)`,
		"/" + strings.Repeat("x", 107): `the path has 108 bytes, a socket's can have 107 (unix(7)); choose a shorter one`,
		"/run/\x07":                    `has control characters`,
		":80,port=x":                   `option "port" is none of name=NAME, backlog=N, reuseport, v6only, mode=MODE, owner=USER[:GROUP]`,
		":80,name=a:b":                 `option name: "a:b" is not a name (up to 255 printable ASCII characters without a colon)`,
		":80,name=":                    `option name: "" is not a name (up to 255 printable ASCII characters without a colon)`,
		":80,backlog=-1":               `option backlog: "-1" is not a number`,
		":80,backlog":                  `option backlog needs a value`,
		":80,reuseport=1":              `option reuseport takes no value`,
		":80,mode=0660":                `option mode means nothing for such a socket`,
		"@x,owner=1":                   `option owner means nothing for such a socket`,
		"tcp4://:80,v6only":            `option v6only means nothing for such a socket`,
		"/x,reuseport":                 `option reuseport means nothing for such a socket`,
		"udp://:80,backlog=1":          `option backlog means nothing for such a socket`,
		"/x,mode=888":                  `option mode: "888" is not a mode (like 0660)`,
		"/x,mode=04755":                `option mode: "04755" is not a mode (like 0660)`,
	} {
		_, err := Parse(text)
		if err == nil {
			t.Errorf("%s: no error", text)
		} else if _, got, _ := strings.Cut(err.Error(), `": `); got != want || !strings.HasPrefix(err.Error(), `listener "`) {
			t.Errorf("%s:\n%v\n%s", text, err, want)
		}
	}
}

func TestSpecsSet(t *testing.T) {
	var specs Specs
	for _, text := range []string{":80,name=http\n\t127.0.0.1:0", "127.0.0.1:0", ":90,reuseport :90,reuseport", "udp://:80"} {
		if err := specs.Set(text); err != nil {
			t.Fatal(err)
		}
	}
	if len(specs) != 6 || specs[0].Name != "http" {
		t.Errorf("%+v", specs)
	}
	for _, text := range []string{"", " \n", ":80", ":443 tcp://:443", ":90", "/x unix:///x", "nonsense"} {
		if err := specs.Set(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestAddressesAreReadAndWrittenAsNetipDoes(t *testing.T) {
	for text := range strings.FieldsSeq(`1.2.3.4 0.0.0.0 255.255.255.255 256.1.1.1 1.2.3 1.2.3.4.5 01.2.3.4 1.2.3.+4 1..2.3 a.b.c.d
		:: ::1 1:: 1::2 1:2:3:4:5:6:7:8 1:2:3:4:5:6:7 1:2:3:4:5:6:7:8:9 1::2:3:4:5:6:7:8 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1:2:3:4:5:6::8
		0:0:1:0:0:0:1:0 1:0:0:1:0:0:1:1 1:0:2:0:3:0:4:0 ::ffff:1.2.3.4 ::1.2.3.4 1.2.3.4::1 1:2:3:4:5:6:1.2.3.4 1:2:3:4:5:6:7:1.2.3.4 ::1.2.3
		fe80::1%eth0 fe80::1% fe80::1%a%b ::% : ::: 1:::2 1::2::3 12345::1 00001::1 ::0001 :1 1: ::g ABCD:EF01::a`) {
		compareWithNetip(t, text)
	}
}

func FuzzParseIP(f *testing.F) {
	f.Add("1:0:0:4::1.2.3.4%x")
	f.Add("127.0.0.1")
	f.Fuzz(compareWithNetip)
}

func compareWithNetip(t *testing.T, text string) {
	want, err := netip.ParseAddr(text)
	ip, zone, ok := parseIP(text)
	if ok != (err == nil) {
		t.Errorf("%s: ok %t, but %v", text, ok, err)
	}
	if !ok || err != nil {
		return
	}
	if want.Is4In6() {
		want, zone = want.Unmap(), "" // a zone means nothing there
	}
	if got, want := (address{ip: ip, zone: zone, port: 80}).String(), netip.AddrPortFrom(want, 80).String(); got != want {
		t.Errorf("%s is %s, want %s", text, got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{":80", "tcp://[fe80::1%eth0]:80,v6only", "/run/app.sock,mode=0660,owner=a:b", "unix://@a,name=x", "udp4://*:0,reuseport"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "listener ") || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Errorf("error %q", err)
			}
			return
		}
		again, err := Parse(s.URL)
		again.Name, again.backlog, again.reusePort, again.mode, again.owner = s.Name, s.backlog, s.reusePort, s.mode, s.owner
		if err != nil || again != s {
			t.Errorf("%q: %+v, but its URL: %+v, %v", text, s, again, err)
		}
	})
}
