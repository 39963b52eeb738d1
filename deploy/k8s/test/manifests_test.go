package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	deploy = "../.."               // everything that is to be deployed
	label  = "decode-checked only" // says that nobody has run it
)

// YAML that is not Kubernetes', and who looks at it.
var others = map[string]string{
	"prometheus/graceinit.rules.yaml":      "Prometheus' rules; promtool",
	"prometheus/graceinit.rules.test.yaml": "promtool's tests of them",
}

func manifests(t *testing.T) *tree {
	t.Helper()
	found, err := look(deploy)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every file is decoded as strictly as an API server with fieldValidation=Strict would, and keeps the rules.
func TestManifests(t *testing.T) {
	found := manifests(t)
	for _, want := range []string{
		"k8s/base/baked/deployment.yaml", "k8s/base/injected/deployment.yaml",
		"k8s/base/payload-statefulset/statefulset.yaml", "k8s/openkruise/cloneset.yaml",
	} {
		if !slices.Contains(found.manifests, want) {
			t.Errorf("%s was not found", want)
		}
	}
	for file := range others {
		if !slices.Contains(found.manifests, file) {
			t.Errorf("%s is gone, or named otherwise", file)
		}
	}
	for _, file := range found.manifests {
		if others[file] != "" {
			continue
		}
		t.Run(file, func(t *testing.T) {
			text := read(t, deploy, file)
			list, err := decode(file, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				t.Error("it has no document")
			}
			for _, problem := range brokenSet(list) {
				t.Error(problem)
			}
			for _, o := range list {
				if what := untested(o); what != nil && !strings.Contains(text, label) {
					t.Errorf("it uses %s and does not say %q", what, label)
				}
				if w := workloadOf(o); w != nil {
					for _, problem := range wrongSums(*w, text) {
						t.Error(problem)
					}
				}
			}
		})
	}
	for _, file := range found.patches {
		t.Run(file, func(t *testing.T) {
			if err := decodePatch(file, []byte(read(t, deploy, file))); err != nil {
				t.Error(err)
			}
		})
	}
}

// What kubectl makes of each kustomization keeps the same rules: a patch can break what it patches.
func TestKustomizations(t *testing.T) {
	kubectl, old := findKubectl(t)
	found := manifests(t)
	if len(found.kustomizations) < 5 {
		t.Errorf("only %d kustomizations were found: %q", len(found.kustomizations), found.kustomizations)
	}
	root := deploy
	if old {
		root = inOldWords(t, found)
	}
	for _, dir := range found.kustomizations {
		t.Run(dir, func(t *testing.T) {
			text := read(t, deploy, dir, "kustomization.yaml")
			if old {
				k, err := readKustomization(filepath.Join(deploy, dir, "kustomization.yaml"))
				if err != nil {
					t.Fatal(err)
				}
				if words := tooNew(k); words != nil {
					t.Skipf("NOT CHECKED: %s is too old for %s; kubectl 1.21 or newer would do", kubectl, words)
				}
			}
			list, err := decode("kubectl kustomize "+dir, kustomize(t, kubectl, filepath.Join(root, dir)))
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				t.Error("it makes nothing")
			}
			for _, problem := range brokenSet(list) {
				t.Error(problem)
			}
			for _, o := range list {
				if what := untested(o); what != nil && !strings.Contains(text, label) {
					t.Errorf("it uses %s and kustomization.yaml does not say %q", what, label)
				}
			}
		})
	}
}

// kustomize returns what kubectl makes of a directory.
func kustomize(t *testing.T, kubectl, dir string) []byte {
	t.Helper()
	var complaint bytes.Buffer
	cmd := exec.Command(kubectl, "kustomize", dir)
	cmd.Stderr = &complaint
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl kustomize %s: %v\n%s", dir, err, &complaint)
	}
	if complaint.Len() > 0 {
		t.Logf("kubectl kustomize %s says: %s", dir, &complaint)
	}
	return text
}

// findKubectl returns kubectl (KUBECTL names another), and whether its kustomize is one of before version 2.1, as that of
// Debian 12's kubectl 1.20 is.
func findKubectl(t *testing.T) (kubectl string, old bool) {
	t.Helper()
	kubectl = os.Getenv("KUBECTL")
	if kubectl == "" {
		kubectl = "kubectl"
	}
	if _, err := exec.LookPath(kubectl); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("kubectl is needed: %v", err)
		}
		t.Skipf("NOT CHECKED: what kubectl makes of the kustomizations (%v)", err)
	}
	text, err := exec.Command(kubectl, "version", "--client", "-o", "json").Output()
	if err != nil {
		t.Fatalf("kubectl version: %v", err)
	}
	var answer struct {
		ClientVersion struct{ Major, Minor string } `json:"clientVersion"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("kubectl version: %v", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(answer.ClientVersion.Minor, "+"))
	if err != nil || answer.ClientVersion.Major != "1" {
		t.Fatalf("kubectl version: what is %q?", text)
	}
	return kubectl, minor < 21
}

// inOldWords makes a copy of the manifests in which the kustomizations are written as kubectl before 1.21 wants them:
// directories are `bases`, patches `patchesStrategicMerge`. Newer ones call both deprecated, so that we do not write so.
func inOldWords(t *testing.T, found *tree) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(deploy)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range found.kustomizations {
		file := filepath.Join(root, dir, "kustomization.yaml")
		k, err := readKustomization(file)
		if err != nil {
			t.Fatal(err)
		}
		if tooNew(k) != nil {
			continue
		}
		old := map[string]any{}
		if err := yaml.Unmarshal([]byte(read(t, file)), &old); err != nil {
			t.Fatal(err)
		}
		delete(old, "resources")
		delete(old, "patches")
		add := func(words, value string) {
			list, _ := old[words].([]string)
			old[words] = append(list, value)
		}
		for _, resource := range k.Resources {
			if strings.HasSuffix(resource, ".yaml") {
				add("resources", resource)
			} else {
				add("bases", resource)
			}
		}
		for _, patch := range k.Patches {
			add("patchesStrategicMerge", patch.Path)
		}
		text, err := json.Marshal(old) // which is YAML, too
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// tooNew lists what of a kustomization has no old words.
func tooNew(k *Kustomization) []string {
	var list []string
	if len(k.Components) > 0 {
		list = append(list, "components")
	}
	for _, patch := range k.Patches {
		if patch.Path == "" || patch.Target != nil {
			list = append(list, "patches with a target")
		}
	}
	return list
}

var sumComment = regexp.MustCompile(`(?m)^ *# (\w+) preStop \+ (\w+) drain delay \+ (\w+) stop timeout \+ (\w+) kill timeout \+ 2s reserve = (\w+)\.`)

// wrongSums compares the sum that the comment beside terminationGracePeriodSeconds shows with what the manifest says.
func wrongSums(w workload, text string) []string {
	inits := initsOf(w)
	if len(inits) == 0 {
		return nil
	}
	shown := sumComment.FindStringSubmatch(text)
	if shown == nil {
		return []string{"no comment shows the sum of the times"}
	}
	actual, err := timesOf(inits[0])
	if err != nil {
		return []string{err.Error()}
	}
	var list []string
	for i, d := range []time.Duration{actual.preStop, actual.drainDelay, actual.stop, actual.kill, grace(w)} {
		if said, err := time.ParseDuration(shown[i+1]); err != nil || said != d {
			list = append(list, fmt.Sprintf("the sum in the comment has %s for %s", shown[i+1], d))
		}
	}
	return list
}
