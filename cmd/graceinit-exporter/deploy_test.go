package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// What is in deploy/ for Prometheus and Grafana is checked here, beside the metrics that it is made of.
const deploy = "../../deploy"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// metricNames are all that the exporter can serve.
func metricNames() map[string]bool {
	names := map[string]bool{}
	name := regexp.MustCompile(`fqName: "(\w+)"`) // a Desc does not tell it in another way
	ch := make(chan *prometheus.Desc)
	go func() {
		collector{}.Describe(ch)
		close(ch)
	}()
	for desc := range ch {
		names[name.FindStringSubmatch(desc.String())[1]] = true
	}
	return names
}

var (
	mention = regexp.MustCompile(`\bgraceinit_\w+`)
	comment = regexp.MustCompile(`(?m)^\s*#.*$`)
)

// unknown returns the metrics in a text that the exporter does not have.
func unknown(text string) []string {
	names := metricNames()
	found := mention.FindAllString(text, -1)
	slices.Sort(found)
	return slices.DeleteFunc(slices.Compact(found), func(name string) bool { return names[name] })
}

type target struct {
	Datasource map[string]string
	Expr       string
}

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource map[string]string
	GridPos    struct{ X, Y, W, H int }
	Targets    []target
}

type dashboard struct {
	Title, UID string
	Panels     []panel
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Annotations struct {
		List []struct {
			BuiltIn int
			Expr    string
		}
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "grafana/graceinit.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || len(d.Panels) < 10 {
		t.Fatalf("the dashboard has little in it: %+v", d)
	}
	return d
}

// expressions are all that the dashboard asks Prometheus for.
func (d dashboard) expressions() (list []string) {
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			list = append(list, target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		if a.BuiltIn == 0 {
			list = append(list, a.Expr)
		}
	}
	return list
}

func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	const columns = 24
	taken := map[[2]int]string{}
	ids := map[int]string{}
	for _, p := range d.Panels {
		if other, there := ids[p.ID]; there || p.ID == 0 {
			t.Errorf("%q has id %d, as %q", p.Title, p.ID, other)
		}
		ids[p.ID] = p.Title
		g := p.GridPos
		if g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > columns {
			t.Errorf("%q is at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" && other != p.Title {
					t.Fatalf("%q lies over %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if (len(p.Targets) == 0) != (p.Type == "row") {
			t.Errorf("%q is a %s with %d targets", p.Title, p.Type, len(p.Targets))
		}
		for _, source := range append([]target{{Datasource: p.Datasource}}, p.Targets...) {
			if p.Type != "row" && source.Datasource["uid"] != "${datasource}" {
				t.Errorf("%q asks %v", p.Title, source.Datasource)
			}
		}
	}
	for _, expr := range d.expressions() {
		if len(mention.FindAllString(expr, -1)) != strings.Count(expr, `{namespace=~"$namespace",pod=~"$pod"`) {
			t.Errorf("not of the pods that were chosen: %s", expr)
		}
	}
	variables := map[string]bool{}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
	}
	for _, name := range []string{"datasource", "namespace", "pod"} {
		if !variables[name] {
			t.Errorf("there is no variable %s", name)
		}
	}
}

// Every metric that is asked for exists, and every metric of the exporter is on the dashboard.
func TestMetricsOfDashboardAndRules(t *testing.T) {
	dashboard := read(t, "grafana/graceinit.json")
	for file, text := range map[string]string{
		"dashboard": dashboard,
		"rules":     comment.ReplaceAllString(read(t, "prometheus/graceinit.rules.yaml"), ""),
		"tests":     comment.ReplaceAllString(read(t, "prometheus/graceinit.rules.test.yaml"), ""),
	} {
		if names := unknown(text); len(names) > 0 {
			t.Errorf("%s: no such metrics: %s", file, names)
		}
	}
	for name := range metricNames() {
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(dashboard) {
			t.Errorf("%s is not on the dashboard", name)
		}
	}
}

var alertLine = regexp.MustCompile(`(?m)^ *- alert: (\w+)\n`)

// alerts are the rules by name.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	text := read(t, "prometheus/graceinit.rules.yaml")
	found := alertLine.FindAllStringSubmatchIndex(text, -1)
	list := map[string]string{}
	for i, at := range found {
		end := len(text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		name := text[at[2]:at[3]]
		if list[name] != "" {
			t.Errorf("two alerts have the name %s", name)
		}
		list[name] = text[at[1]:end]
	}
	if len(list) < 10 {
		t.Fatalf("only %d alerts", len(list))
	}
	return list
}

// Each alert says how bad it is, what it means, and where more is to be read; and there it is.
func TestRules(t *testing.T) {
	readme := read(t, "prometheus/README.md")
	tests := read(t, "prometheus/graceinit.rules.test.yaml")
	list := alerts(t)
	for name, rule := range list {
		for _, want := range []string{
			"expr: ", "summary: ", "description: ",
			"runbook_url: https://github.com/graceinit/graceinit/blob/main/deploy/prometheus/README.md#" + strings.ToLower(name) + "\n",
		} {
			if !strings.Contains(rule, want) {
				t.Errorf("%s has no %q", name, want)
			}
		}
		if !regexp.MustCompile(`severity: (critical|warning|info)\n`).MatchString(rule) {
			t.Errorf("%s has no severity", name)
		}
		if !strings.Contains(readme, "\n### "+name+"\n") {
			t.Errorf("README.md has no section %s", name)
		}
		if !strings.Contains(tests, `alertname="`+name+`"`) {
			t.Errorf("no test has %s fire", name)
		}
	}
	for _, section := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(readme, -1) {
		if list[section[1]] == "" {
			t.Errorf("README.md has a section %s, but there is no such alert", section[1])
		}
	}
}

// The operator's object has the same rules, further to the right.
func TestPrometheusRule(t *testing.T) {
	_, rules, _ := strings.Cut(read(t, "prometheus/graceinit.rules.yaml"), "\ngroups:\n")
	var want strings.Builder
	want.WriteString("  groups:\n")
	for line := range strings.Lines(rules) {
		want.WriteString("  " + line)
	}
	_, got, _ := strings.Cut(read(t, "prometheus/prometheusrule.yaml"), "\nspec:\n")
	if got != want.String() {
		t.Error("prometheusrule.yaml has not the rules of graceinit.rules.yaml: make it anew, as README.md says")
	}
}

// promtool runs Prometheus' own tool: that on the PATH, or PROMTOOL.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	tool := os.Getenv("PROMTOOL")
	if tool == "" {
		tool = "promtool"
	}
	if _, err := exec.LookPath(tool); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("promtool is needed (Debian: package prometheus): %v", err)
		}
		t.Skipf("NOT CHECKED: promtool is missing (Debian: package prometheus; or PROMTOOL=PATH)")
	}
	cmd := exec.Command(tool, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRulesWithPromtool(t *testing.T) {
	promtool(t, "", "check", "rules", "--lint-fatal", filepath.Join(deploy, "prometheus/graceinit.rules.yaml"))
	promtool(t, "", "test", "rules", filepath.Join(deploy, "prometheus/graceinit.rules.test.yaml"))
}

// Prometheus understands what the dashboard asks. It is asked as recording rules, which promtool can check.
func TestDashboardWithPromtool(t *testing.T) {
	replacer := strings.NewReplacer("$__interval", "1m", "$__rate_interval", "4m", "$__range", "6h", "$namespace", "a", "$pod", "b")
	var rules bytes.Buffer
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for i, expr := range readDashboard(t).expressions() {
		quoted, err := json.Marshal(replacer.Replace(expr)) // which YAML reads as well
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&rules, "      - record: panel:expr:%d\n        expr: %s\n", i, quoted)
		if strings.Contains(replacer.Replace(expr), "$") {
			t.Errorf("an unknown variable in %s", expr)
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, rules.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", "--lint-fatal", file)
}

// What promtool says of the format and the names of the metrics themselves.
func TestMetricsWithPromtool(t *testing.T) {
	socket := socketPath(t)
	fakeInit(t, socket, answers(t, fullStatus()))
	url, _ := serveHere(t, "--control", socket)
	_, text := get(t, url+"/metrics")
	promtool(t, text, "check", "metrics")
}
