package listen

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEnvironment(t *testing.T) {
	listeners := []Listener{
		{Name: "http", URL: "tcp://:80", Address: "[::]:80"},
		{URL: "tcp6://:80", Address: "[::]:80"},
		{URL: "udp4://:53", Address: "0.0.0.0:53"},
		{URL: "tcp://[::1]:81", Address: "[::1]:81"},
		{Name: "sock", URL: "unix:///run/s", Address: "/run/s"},
	}
	inherited := []string{"LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_PIDFDID=5", "LISTEN_FDNAMES=x", "LISTEN_FDSX=stays",
		"NGINX=7;", "EINHORN_FD_9=9", "EINHORN_MASTER_PID=1", "SERVER_STARTER_PORT=80=9", "A=b"}
	for _, tc := range []struct {
		name      string
		listeners []Listener
		stored    []string
		dialects  string
		want      string
	}{
		{"nothing", nil, nil, "", "LISTEN_FDSX=stays NGINX=7; EINHORN_FD_9=9 EINHORN_MASTER_PID=1 SERVER_STARTER_PORT=80=9 A=b"},
		{"listeners", listeners[:2], nil, "", "LISTEN_FDSX=stays NGINX=7; EINHORN_FD_9=9 EINHORN_MASTER_PID=1 SERVER_STARTER_PORT=80=9 A=b" +
			" LISTEN_FDS=2 LISTEN_FDNAMES=http:unknown"},
		{"stored", nil, []string{"state", ""}, "nginx", "LISTEN_FDSX=stays EINHORN_FD_9=9 EINHORN_MASTER_PID=1 SERVER_STARTER_PORT=80=9 A=b" +
			" LISTEN_FDS=2 LISTEN_FDNAMES=state:stored"},
		{"all", listeners, []string{"conn-1"}, "server-starter,einhorn, nginx", "LISTEN_FDSX=stays A=b" +
			" LISTEN_FDS=6 LISTEN_FDNAMES=http:unknown:unknown:unknown:sock:conn-1" +
			" SERVER_STARTER_PORT=80=3;[::]:80=4;u53=5;[::1]:81=6;/run/s=7 SERVER_STARTER_GENERATION=12" +
			" EINHORN_FD_0=3 EINHORN_FD_1=4 EINHORN_FD_2=5 EINHORN_FD_3=6 EINHORN_FD_4=7 EINHORN_FD_COUNT=5 EINHORN_FDS=3_4_5_6_7" +
			" NGINX=3;4;5;6;7;"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var d Dialects
			if tc.dialects != "" {
				if err := d.Set(tc.dialects); err != nil {
					t.Fatal(err)
				}
			}
			before := slices.Clone(inherited)
			var want []string
			for variable := range strings.FieldsSeq(tc.want) {
				want = append(want, strings.ReplaceAll(variable, "_4_5_6_7", " 4 5 6 7"))
			}
			if got := Environment(inherited, tc.listeners, tc.stored, 12, d); !slices.Equal(got, want) {
				t.Errorf("\n%q\n%q", got, want)
			}
			if !slices.Equal(inherited, before) {
				t.Error("the environment given was changed")
			}
		})
	}
}

func TestDialectsSet(t *testing.T) {
	var d Dialects
	if err := d.Set("nginx,einhorn,nginx"); err != nil || !slices.Equal(d, Dialects{Nginx, Einhorn}) {
		t.Error(d, err)
	}
	if err := d.Set("upstart"); err == nil || err.Error() != `"upstart" is none of server-starter, einhorn, nginx` {
		t.Error(err)
	}
}

func TestInherited(t *testing.T) {
	const first = 400
	path := t.TempDir() + "/s"
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, 0); err != nil {
		t.Fatal(err)
	}
	tcp, stream := open(t, "tcp://127.0.0.1:0"), open(t, "unixpacket://"+path)
	for i, fd := range []int{tcp.FD, stream.FD, pipe[0]} {
		if err := unix.Dup3(fd, first+i, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(first + i)
	}
	pid := strconv.Itoa(os.Getpid())
	got, err := inherited(first, "3", pid, "http:unknown:")
	if err != nil {
		t.Fatal(err)
	}
	fifo, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(pipe[0]))
	if err != nil {
		t.Fatal(err)
	}
	want := []Listener{
		{FD: first, Name: "http", URL: "tcp://" + tcp.Address, Address: tcp.Address, Inode: tcp.Inode},
		{FD: first + 1, URL: "unixpacket://" + path, Address: path, Inode: stream.Inode},
		{FD: first + 2, URL: fifo, Address: fifo, Inode: got[2].Inode},
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n%+v\n%+v", got, want)
	}
	for _, l := range got {
		if flags, err := unix.FcntlInt(uintptr(l.FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("fd %d is not close-on-exec", l.FD)
		}
	}
	for _, tc := range []struct{ fds, pid, names, err string }{
		{"", pid, "", ""},
		{"3", "", "", ""},
		{"3", "1" + pid, "a:b:c", ""},
		{"x", pid, "", "LISTEN_FDS=x is not a number of fds"},
		{"-1", pid, "", "LISTEN_FDS=-1 is not a number of fds"},
		{"3", pid, "a:b", "LISTEN_FDNAMES=a:b has 2 names for LISTEN_FDS=3 fds"},
		{"1", pid, "\x1b", `LISTEN_FDNAMES: "\x1b" is not a name (up to 255 printable ASCII characters without a colon)`},
		{"4", pid, "", "LISTEN_FDS=4 promises fd 403, which cannot be used: bad file descriptor"},
	} {
		got, err := inherited(first, tc.fds, tc.pid, tc.names)
		if len(got) != 0 || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("%+v: %v, %v", tc, got, err)
		}
	}
}
