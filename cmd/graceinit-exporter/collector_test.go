package main

import (
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/testproc"
)

// fullStatus has something in every field, and another number in each, so that a metric that is missing or mixed up with
// another shows, also one of a field that is added later.
func fullStatus() *control.Status {
	st := &control.Status{}
	n := 0
	fill(reflect.ValueOf(st).Elem(), &n)
	st.Counters.Upgrades = map[control.Step]int{}
	for i, outcome := range outcomes {
		st.Counters.Upgrades[outcome] = 1000 + i
	}
	return st
}

func fill(v reflect.Value, n *int) {
	*n++
	if t, ok := v.Addr().Interface().(*time.Time); ok {
		*t = time.UnixMilli(1_700_000_000_000 + int64(*n)*1001).UTC()
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.String:
		v.SetString(fmt.Sprintf("text \"%d\" \\ \n", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(int64(*n))
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.25)
	case reflect.Map:
	default:
		panic("a field of a kind that the test does not know: " + v.Kind().String())
	}
}

func parseText(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return parsed
}

// samples are the values, by family and labels.
func samples(t *testing.T, parsed map[string]*dto.MetricFamily) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for name, f := range parsed {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			slices.Sort(labels)
			key := name
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			switch f.GetType() {
			case dto.MetricType_GAUGE:
				values[key] = m.GetGauge().GetValue()
			case dto.MetricType_COUNTER:
				values[key] = m.GetCounter().GetValue()
			default:
				t.Errorf("%s is a %s", name, f.GetType())
			}
		}
	}
	return values
}

// shapes are the families by name, as HELP and TYPE tell of them.
func shapes(parsed map[string]*dto.MetricFamily) map[string]string {
	text := map[string]string{}
	for name, f := range parsed {
		text[name] = f.GetType().String() + " " + f.GetHelp()
	}
	return text
}

// ownMetrics are those that only the exporter has.
var ownMetrics = []string{"graceinit_up", "graceinit_scrape_duration_seconds", "graceinit_exporter_info"}

// graceinitMetrics is what `graceinit metrics` prints.
func graceinitMetrics(t *testing.T, socket string) map[string]*dto.MetricFamily {
	t.Helper()
	cmd := &exec.Cmd{Path: initProgram(t), Args: []string{"graceinit", "metrics", "--control", socket}}
	text, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	return parseText(t, string(text))
}

// compare fails where the two do not have the same families with the same help and type, and the same samples.
// Those in moving have another value at each time.
func compare(t *testing.T, socket, url string, moving ...string) {
	t.Helper()
	_, text := get(t, url+"/metrics")
	exporter, command := parseText(t, text), graceinitMetrics(t, socket)
	for _, name := range ownMetrics {
		if exporter[name] == nil {
			t.Errorf("there is no %s", name)
		}
		delete(exporter, name)
	}
	if len(exporter) < 15 {
		t.Errorf("only %d families", len(exporter))
	}
	differences(t, shapes(command), shapes(exporter))
	want, got := samples(t, command), samples(t, exporter)
	for _, name := range moving {
		if _, there := got[name]; there {
			want[name], got[name] = 0, 0
		}
	}
	differences(t, want, got)
}

func differences[V comparable](t *testing.T, command, exporter map[string]V) {
	t.Helper()
	for name, want := range command {
		if got, there := exporter[name]; !there || got != want {
			t.Errorf("%s: `graceinit metrics` has %v, the exporter %v", name, want, got)
		}
	}
	for name, got := range exporter {
		if _, there := command[name]; !there {
			t.Errorf("%s: only the exporter has it, as %v", name, got)
		}
	}
}

// The exporter has what `graceinit metrics` has: name, help, type, labels and values.
func TestAsTheCommand(t *testing.T) {
	for name, st := range map[string]*control.Status{"full": fullStatus(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			socket := socketPath(t)
			fakeInit(t, socket, answers(t, st))
			url, _ := serveHere(t, "--control", socket)
			compare(t, socket, url)
		})
	}
}

func TestAsTheCommandOfARealInit(t *testing.T) {
	socket := socketPath(t)
	startInit(t, socket)
	url, _ := serveHere(t, "--control", socket)
	testproc.Until(t, "graceinit_ready 1", func() bool { return scrape(t, url)["graceinit_ready"] == 1 })
	compare(t, socket, url, "graceinit_zombies") // here it is not PID 1 but among all processes of the machine
}

// The image of a sidecar is not renewed with the app's: a newer init may say more than this exporter knows.
func TestNewerInit(t *testing.T) {
	socket := socketPath(t)
	fakeInit(t, socket, says(`{"status":{"version":"9","tomorrow":{"a":[1]},"counters":{"upgrades":{"done":3,"by magic":1},"spells":2}},"more":1}`+"\n"))
	url, _ := serveHere(t, "--control", socket)
	got := scrape(t, url)
	if got["graceinit_up"] != 1 || got[`graceinit_upgrades_total{outcome="done"}`] != 3 {
		t.Errorf("%v", got)
	}
}
