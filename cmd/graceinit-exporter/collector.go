package main

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/graceinit/graceinit/internal/control"
)

// collector is the metrics of an init, as `graceinit metrics` prints them, and what the exporter knows itself. The tests
// compare it with that command.
type collector struct{ ask *asker }

// emit adds a sample to a family, with a value for each of its labels.
type emit func(value float64, labels ...string)

// family is a metric of the init. A family without samples is not there, as in the command's text.
type family struct {
	desc    *prometheus.Desc
	kind    prometheus.ValueType
	samples func(*control.Status, emit)
}

var (
	upDesc       = prometheus.NewDesc("graceinit_up", "Whether the init answered.", nil, nil)
	durationDesc = prometheus.NewDesc("graceinit_scrape_duration_seconds", "How long it took to ask the init.", nil, nil)
	exporterDesc = prometheus.NewDesc("graceinit_exporter_info", "Always 1; the label says which exporter runs.", []string{"version"}, nil)
)

// outcomes are the ways in which an upgrade ends. All are listed, so that a rate can be told from nothing.
var outcomes = []control.Step{
	control.StepDone, control.StepInPlace, control.StepForced, control.StepFailed,
	control.StepRefused, control.StepRolledBack, control.StepShutdown,
}

var families = []family{
	{
		prometheus.NewDesc("graceinit_info", "Always 1; the labels say what runs.", []string{"version", "mode"}, nil),
		prometheus.GaugeValue,
		func(st *control.Status, sample emit) { sample(1, st.Version, st.Mode) },
	},
	gauge("start_time_seconds", "When the init was started, in Unix time.",
		func(st *control.Status) float64 { return unixTime(st.Started) }),
	optional("main_start_time_seconds", "When the main process was started, in Unix time.",
		func(st *control.Status) (float64, bool) {
			if st.Main == nil {
				return 0, false
			}
			return unixTime(st.Main.Since), true
		}),
	gauge("generation", "The main process's generation.", func(st *control.Status) float64 { return float64(st.Generation) }),
	gauge("ready", "Whether the main process is ready.", func(st *control.Status) float64 { return number(st.Ready) }),
	gauge("upgrade_in_progress", "Whether an upgrade is in progress.",
		func(st *control.Status) float64 { return number(st.Upgrade != nil) }),
	{
		prometheus.NewDesc("graceinit_upgrades_total", "Upgrades, by how they ended.", []string{"outcome"}, nil),
		prometheus.CounterValue,
		func(st *control.Status, sample emit) {
			for _, outcome := range outcomes {
				sample(float64(st.Counters.Upgrades[outcome]), strings.ReplaceAll(string(outcome), " ", "_"))
			}
		},
	},
	optional("last_upgrade_ready_seconds", "How long the last successor took to be ready.",
		func(st *control.Status) (float64, bool) {
			if st.LastUpgrade == nil {
				return 0, false
			}
			return st.LastUpgrade.Ready, true
		}),
	optional("last_upgrade_drain_seconds", "How long the last predecessor drained.",
		func(st *control.Status) (float64, bool) {
			if st.LastUpgrade == nil {
				return 0, false
			}
			return st.LastUpgrade.Drain, true
		}),
	gauge("probation_remaining_seconds", "How long the successor's death would still roll back.",
		func(st *control.Status) float64 { return st.Probation }),
	optional("predecessor_connections", "TCP connections that the predecessor still has.",
		func(st *control.Status) (float64, bool) {
			if st.Upgrade == nil || st.Upgrade.Connections == nil {
				return 0, false
			}
			return float64(*st.Upgrade.Connections), true
		}),
	gauge("listeners", "Listeners that the init holds.", func(st *control.Status) float64 { return float64(len(st.Listeners)) }),
	gauge("stored_fds", "File descriptors in the fd store.", func(st *control.Status) float64 {
		stored := 0
		for _, s := range st.Store {
			stored += s.FDs
		}
		return float64(stored)
	}),
	gauge("zombies", "Processes that have ended and wait for their parent to notice.",
		func(st *control.Status) float64 { return float64(st.Zombies) }),
	counter("reaped_orphans_total", "Orphans that were reaped.", func(c *control.Counters) uint64 { return c.Reaped }),
	counter("forwarded_signals_total", "Signals that were passed on.", func(c *control.Counters) uint64 { return c.Forwarded }),
	counter("notifications_total", "Notifications that were received.", func(c *control.Counters) uint64 { return c.Notifications }),
	counter("stops_total", "Stop signals that were sent.", func(c *control.Counters) uint64 { return c.Stops }),
	counter("kills_total", "SIGKILLs that were sent.", func(c *control.Counters) uint64 { return c.Kills }),
	counter("kill_timeouts_total", "Processes that SIGKILL did not end in time.",
		func(c *control.Counters) uint64 { return c.KillTimeouts }),
	counter("killed_connections_total", "Connections that were open when SIGKILL was sent.",
		func(c *control.Counters) uint64 { return c.ConnectionsAtKill }),
}

func gauge(name, help string, value func(*control.Status) float64) family {
	return optional(name, help, func(st *control.Status) (float64, bool) { return value(st), true })
}

// optional is a gauge that is not always known.
func optional(name, help string, value func(*control.Status) (float64, bool)) family {
	return family{
		prometheus.NewDesc("graceinit_"+name, help, nil, nil),
		prometheus.GaugeValue,
		func(st *control.Status, sample emit) {
			if v, known := value(st); known {
				sample(v)
			}
		},
	}
}

func counter(name, help string, value func(*control.Counters) uint64) family {
	return family{
		prometheus.NewDesc("graceinit_"+name, help, nil, nil),
		prometheus.CounterValue,
		func(st *control.Status, sample emit) { sample(float64(value(&st.Counters))) },
	}
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upDesc, durationDesc, exporterDesc} {
		ch <- d
	}
	for _, f := range families {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector. Where the init does not answer, that is what the metrics say: to Prometheus, a
// scrape that fails would be an exporter that is broken.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	begin := time.Now()
	status, err := c.ask.status()
	ch <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, number(err == nil))
	ch <- prometheus.MustNewConstMetric(durationDesc, prometheus.GaugeValue, time.Since(begin).Seconds())
	ch <- prometheus.MustNewConstMetric(exporterDesc, prometheus.GaugeValue, 1, version)
	if err != nil {
		return
	}
	for _, f := range families {
		f.samples(status, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
		})
	}
}

func unixTime(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
