package harness

import "slices"

// SpawnServers are servers that graceinit upgrades: it holds their listeners, and they only take what they are passed
// (LISTEN_FDS) and stop on SIGTERM.
func SpawnServers() []Server {
	listen := []string{"--listen", "tcp://:" + Port}
	// A server that cannot say that it is ready must live for the settle time, and accept connections by then.
	settle := append(slices.Clip(listen), "--settle", "500ms")
	return []Server{
		{
			Name: "spawn-go", Image: "plaingo",
			Command: []string{"/servers/plaingo", "-ready"},
			Fast:    "/", Slow: Sleep("4s"),
			Flags: listen, Final: "upgrade done",
		},
		{
			Name:    "spawn-python",
			Command: []string{"/usr/bin/python3", "/conf/plain.py"},
			Fast:    "/", Slow: Sleep("4s"),
			Flags: settle, Final: "upgrade done",
		},
		{
			Name:    "spawn-node",
			Command: []string{"/usr/bin/node", "/conf/plain.js"},
			Fast:    "/", Slow: Sleep("4s"),
			Flags: settle, Final: "upgrade done",
		},
		{
			// Says READY=1, by its gem sd_notify, which knows no abstract sockets.
			Name:    "spawn-puma",
			Command: []string{"/usr/bin/puma", "--config", "/conf/puma.rb"},
			Fast:    "/", Slow: Sleep("4s"),
			Flags: settle, Final: "upgrade done",
		},
		{
			// Says READY=1. Without keep-alive for the same reason as in Servers.
			Name: "spawn-gunicorn",
			Command: []string{"/usr/bin/gunicorn", "--workers", "2", "--worker-class", "gthread", "--threads", "24",
				"--keep-alive", "0", "--worker-tmp-dir", "/dev/shm", "--chdir", "/conf", "app:application"},
			Fast: "/", Slow: Sleep("4s"),
			Flags: listen, Final: "upgrade done",
		},
		{
			// It could upgrade itself, but does not get to see USR2.
			Name: "spawn-gracedemo", Image: "gracedemo",
			Command: []string{"/servers/gracedemo", "-a0", ":" + Port, "-a1", ":8081", "-a2", ":8082"},
			Fast:    Sleep("0s"), Slow: Sleep("4s"),
			Flags: append(slices.Clip(settle), "--listen", "tcp://:8081", "--listen", "tcp://:8082"),
			Final: "upgrade done", ClosesIdle: AfterReading,
		},
	}
}
