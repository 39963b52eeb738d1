// Command graceinit-exporter serves the metrics of a running graceinit to Prometheus. It is for use as a sidecar: it asks
// the init over its control socket, so that PID 1 itself opens no port.
//
// A scrape's way: the mux (server.go) calls promhttp, that calls Collect (collector.go), that asks the init (asker.go).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/drain/httpdown"
	"github.com/graceinit/graceinit/internal/control"
)

// version is set by the build.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(25) // a scrape leaves little behind: two megabytes less, and no time that could be measured
	}
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

const usage = `Usage: graceinit-exporter [flags]

Serves the metrics of a running graceinit to Prometheus at /metrics. At /healthz it answers 200 for as long as it runs
itself, whether the init answers or not.

Flags, and the environment variables that they win over:
  --control ADDRESS   the init's control socket, as its own --control says: a path, or @name (GRACEINIT_CONTROL; default:
                      the one of this PID namespace, which in a sidecar is not the init's)
  --listen ADDRESS    where to serve (GRACEINIT_EXPORTER_LISTEN; default :9464)
  --timeout TIME      how long the init may take for its answer; less than Prometheus' scrape_timeout
                      (GRACEINIT_EXPORTER_TIMEOUT; default 5s)
  --runtime-metrics   also go_* and process_*, about the exporter itself (GRACEINIT_EXPORTER_RUNTIME_METRICS)
  --version           show the version
  --help              show this help

Only root and the user that the init runs as may use the control socket.
`

const (
	defaultListen  = ":9464" // as OpenTelemetry's Prometheus exporter, which few pods will have beside this one
	defaultTimeout = 5 * time.Second
)

type settings struct {
	control        string
	listen         string
	timeout        time.Duration
	runtimeMetrics bool
	version, help  bool
}

func (s *settings) setTimeout(v string) (err error) {
	if s.timeout, err = time.ParseDuration(v); err != nil {
		return fmt.Errorf("%q is no time, like 5s", v) // a number without a unit is the usual mistake
	}
	return nil
}

// parse reads the settings: from the environment first, so that a flag wins.
func parse(args []string, env func(string) string) (settings, error) {
	s := settings{control: env("GRACEINIT_CONTROL"), listen: defaultListen, timeout: defaultTimeout}
	if v := env("GRACEINIT_EXPORTER_LISTEN"); v != "" {
		s.listen = v
	}
	if v := env("GRACEINIT_EXPORTER_TIMEOUT"); v != "" {
		if err := s.setTimeout(v); err != nil {
			return s, fmt.Errorf("GRACEINIT_EXPORTER_TIMEOUT: %w", err)
		}
	}
	if v := env("GRACEINIT_EXPORTER_RUNTIME_METRICS"); v != "" {
		var err error
		if s.runtimeMetrics, err = strconv.ParseBool(v); err != nil {
			return s, fmt.Errorf("GRACEINIT_EXPORTER_RUNTIME_METRICS: %q is neither true nor false", v)
		}
	}
	flags := flag.NewFlagSet("graceinit-exporter", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run says what is wrong
	flags.StringVar(&s.control, "control", s.control, "")
	flags.StringVar(&s.listen, "listen", s.listen, "")
	flags.Func("timeout", "", s.setTimeout)
	flags.BoolVar(&s.runtimeMetrics, "runtime-metrics", s.runtimeMetrics, "")
	flags.BoolVar(&s.version, "version", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		s.help = true
	case err != nil:
		return s, err
	case flags.NArg() > 0:
		return s, fmt.Errorf("%q: it takes no arguments", flags.Arg(0))
	case s.timeout <= 0:
		return s, fmt.Errorf("a timeout of %s leaves no time for an answer", s.timeout)
	case s.control == "off":
		return s, errors.New("the control socket is switched off (GRACEINIT_CONTROL or --control): there is nothing to ask")
	}
	return s, nil
}

func run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) int {
	s, err := parse(args, env)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "graceinit-exporter: %v (see graceinit-exporter --help)\n", err)
		return control.CodeUsage
	case s.help:
		fmt.Fprint(stdout, usage)
		return 0
	case s.version:
		fmt.Fprintf(stdout, "graceinit-exporter version %s\n", version)
		return 0
	}
	logger := log.New(stderr, "graceinit-exporter: ", log.LstdFlags|log.LUTC|log.Lmsgprefix)
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		logger.Printf("cannot listen: %v", err)
		return 1
	}
	logger.Printf("version %s serves http://%s/metrics of the graceinit at %s", version, listener.Addr(), control.Address(s.control))
	ask := &asker{address: s.control, timeout: s.timeout, log: logger}
	// A scrape lasts no longer than the timeout, and whoever scrapes us sends the next one in many seconds.
	stop := httpdown.HTTP{StopTimeout: s.timeout + time.Second, KillTimeout: time.Second, Grace: time.Second}
	if err := stop.Serve(ctx, newServer(ask, s, logger), listener); err != nil {
		logger.Printf("the server ended: %v", err)
		return 1
	}
	logger.Print("stopped")
	return 0
}
