package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/control"
)

// metricsCommand prints the status in Prometheus's text format, for an exporter that runs commands or for the
// textfile collector: the init itself speaks no HTTP.
func metricsCommand(a *commands.Args) int {
	line, code := askOnce(a, control.Ask{Op: control.OpStatus})
	if line.Status == nil {
		return code
	}
	return show(a.Command, renderMetrics(line.Status))
}

// outcomes are the ways in which an upgrade ends. All are listed, so that a rate can be told from nothing.
var outcomes = []control.Step{
	control.StepDone, control.StepInPlace, control.StepForced, control.StepFailed,
	control.StepRefused, control.StepRolledBack, control.StepShutdown,
}

func renderMetrics(st *control.Status) string {
	var m metrics
	m.family("graceinit_info", "gauge", "Always 1; the labels say what runs.")
	m.sample(1, "version", st.Version, "mode", st.Mode)
	m.gauge("graceinit_start_time_seconds", "When the init was started, in Unix time.", unixTime(st.Started))
	if st.Main != nil {
		m.gauge("graceinit_main_start_time_seconds", "When the main process was started, in Unix time.", unixTime(st.Main.Since))
	}
	m.gauge("graceinit_generation", "The main process's generation.", float64(st.Generation))
	m.gauge("graceinit_ready", "Whether the main process is ready.", number(st.Ready))
	m.gauge("graceinit_upgrade_in_progress", "Whether an upgrade is in progress.", number(st.Upgrade != nil))
	m.family("graceinit_upgrades_total", "counter", "Upgrades, by how they ended.")
	for _, outcome := range outcomes {
		m.sample(float64(st.Counters.Upgrades[outcome]), "outcome", strings.ReplaceAll(string(outcome), " ", "_"))
	}
	if last := st.LastUpgrade; last != nil {
		m.gauge("graceinit_last_upgrade_ready_seconds", "How long the last successor took to be ready.", last.Ready)
		m.gauge("graceinit_last_upgrade_drain_seconds", "How long the last predecessor drained.", last.Drain)
	}
	m.gauge("graceinit_probation_remaining_seconds", "How long the successor's death would still roll back.", st.Probation)
	if st.Upgrade != nil && st.Upgrade.Connections != nil {
		m.gauge("graceinit_predecessor_connections", "TCP connections that the predecessor still has.", float64(*st.Upgrade.Connections))
	}
	m.gauge("graceinit_listeners", "Listeners that the init holds.", float64(len(st.Listeners)))
	m.gauge("graceinit_zombies", "Processes that have ended and wait for their parent to notice.", float64(st.Zombies))
	stored := 0
	for _, s := range st.Store {
		stored += s.FDs
	}
	m.gauge("graceinit_stored_fds", "File descriptors in the fd store.", float64(stored))
	for _, c := range []struct {
		name, help string
		value      uint64
	}{
		{"reaped_orphans", "Orphans that were reaped.", st.Counters.Reaped},
		{"forwarded_signals", "Signals that were passed on.", st.Counters.Forwarded},
		{"notifications", "Notifications that were received.", st.Counters.Notifications},
		{"stops", "Stop signals that were sent.", st.Counters.Stops},
		{"kills", "SIGKILLs that were sent.", st.Counters.Kills},
		{"kill_timeouts", "Processes that SIGKILL did not end in time.", st.Counters.KillTimeouts},
		{"killed_connections", "Connections that were open when SIGKILL was sent.", st.Counters.ConnectionsAtKill},
	} {
		m.family("graceinit_"+c.name+"_total", "counter", c.help)
		m.sample(float64(c.value))
	}
	return m.text.String()
}

// metrics writes the text format (https://prometheus.io/docs/instrumenting/exposition_formats/).
type metrics struct {
	text strings.Builder
	name string
}

func (m *metrics) family(name, kind, help string) {
	m.name = name
	m.text.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// sample adds a sample to the family; labels are names and values in turn.
func (m *metrics) sample(value float64, labels ...string) {
	m.text.WriteString(m.name)
	for i := 0; i < len(labels); i += 2 {
		begin := ","
		if i == 0 {
			begin = "{"
		}
		m.text.WriteString(begin + labels[i] + `="` + escapeLabel(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		m.text.WriteString("}")
	}
	m.text.WriteString(" " + strconv.FormatFloat(value, 'f', -1, 64) + "\n")
}

func (m *metrics) gauge(name, help string, value float64) {
	m.family(name, "gauge", help)
	m.sample(value)
}

func escapeLabel(value string) string {
	value = strings.ReplaceAll(value, `\`, `\\`)
	value = strings.ReplaceAll(value, `"`, `\"`)
	return strings.ReplaceAll(value, "\n", `\n`)
}

func unixTime(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
