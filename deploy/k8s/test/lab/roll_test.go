package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
	"github.com/graceinit/graceinit/test/container/load"
)

const (
	many    = 20
	atOnce  = 3
	refused = "HELLO_REFUSES"
)

// graceinit runs the plugin as kubectl does, and as its admin.
func (s *space) graceinit(args ...string) (string, int) {
	s.Helper()
	if _, err := exec.LookPath(filepath.Join(theLab.Dir, "bin", "kubectl-graceinit")); err != nil {
		s.Fatal("there is no kubectl-graceinit: ", err)
	}
	began := time.Now()
	out, code := s.run(kubectlCommand(s.Context(), append([]string{"graceinit", args[0], "-n", s.name}, args[1:]...)...))
	s.Logf("kubectl graceinit %s: exit code %d after %v\n%s", strings.Join(args, " "), code, time.Since(began).Round(100*time.Millisecond), out)
	return out, code
}

// seldom: the probes of 40 pods once a second would be all that this machine does.
func seldom(patch string) string {
	return strings.Replace(patch, "periodSeconds: 1}", "periodSeconds: 5}", 1)
}

// atATime returns how many pods the plugin says to have worked on at a time, and how many were not ready at a time, as
// the API had it.
func (s *space) atATime(out string, from int) (worked, unready int) {
	s.Helper()
	busy := map[string]bool{}
	for line := range strings.Lines(out) {
		var e struct{ Event, Pod string }
		if json.Unmarshal([]byte(line), &e) != nil {
			continue
		}
		switch e.Event {
		case "begin":
			busy[e.Pod] = true
		case "end":
			delete(busy, e.Pod)
		}
		worked = max(worked, len(busy))
	}
	not := map[string]bool{}
	for _, p := range apiserver.History[*corev1.Pod](theLab.API.Store, watch.Modified, from) {
		if p.Namespace != s.name {
			continue
		}
		if podReady(p) {
			delete(not, p.Name)
		} else {
			not[p.Name] = true
		}
		unready = max(unready, len(not))
	}
	return worked, unready
}

// TestRollBinary and TestRollImage: 20 pods, one of which refuses the new version. The roll stops there and takes it
// back, never has more pods in an upgrade than it may, and goes on where it was when the cause has gone.
func TestRollBinary(t *testing.T) {
	t.Parallel()
	s := enter(t, "roll-binary")
	s.kustomize("base/injected", seldom(quick("Deployment", 60, "GRACEINIT_DRAIN_DELAY", "0s", refused, "/grace/refused")),
		fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: hello}\nspec: {replicas: %d}\n", many))
	s.roll(s.ready(many)[many/2].Name, "--binary", filepath.Join(theLab.Dir, "bin", "hello-v2"))
	// And back, by the inits' own means.
	if _, code := s.graceinit("rollback", "-l", "app.kubernetes.io/name=hello", "--max-unavailable", "5"); code != 0 {
		t.Errorf("the rollback: exit code %d", code)
	}
	for _, p := range s.pods() {
		if v := s.answers(p); v != "v1" {
			t.Errorf("rolled back, %s answers as %s", p.Name, v)
		}
	}
}

func TestRollImage(t *testing.T) {
	t.Parallel()
	s := enter(t, "roll-image")
	s.kustomize("base/payload-statefulset", seldom(quick("StatefulSet", 60, "GRACEINIT_DRAIN_DELAY", "0s", refused, "/grace/refused")),
		fmt.Sprintf("apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: hello}\nspec: {replicas: %d}\n", many))
	s.roll("hello-10", "--image", hello("v2"))

	// The StatefulSet knows that its pods are what its template says, and a pod that is replaced is, too.
	s.await("all pods count as updated", 10*time.Second, func() bool {
		set, err := apiserver.Get[*appsv1.StatefulSet](theLab.API.Store, s.name, "hello")
		return err == nil && set.Status.UpdatedReplicas == many
	})
	s.kubectl("delete", "pod", "hello-3", "--grace-period=1")
	s.ready(many)
	if v := s.answers(s.pod("hello-3")); v != "v2" {
		t.Errorf("replaced, hello-3 answers as %s", v)
	}
	if _, code := s.graceinit("rollback", "-l", "app.kubernetes.io/name=hello", "--max-unavailable", "5"); code != 0 {
		t.Errorf("the rollback: exit code %d", code)
	}
	for _, p := range s.pods() {
		want := "v1"
		if p.Name == "hello-3" { // nothing is known of what it ran before
			continue
		}
		if v := s.answers(p); v != want {
			t.Errorf("rolled back, %s answers as %s", p.Name, v)
		}
	}
}

func (s *space) roll(name string, what ...string) {
	s.Helper()
	pods := s.ready(many)
	bad := s.pod(name)
	if err := os.WriteFile(grace(bad, "refused"), []byte("v2\n"), 0o644); err != nil {
		s.Fatal(err)
	}
	seen := follow(s.T, pods)
	var runs []*load.Run
	for _, p := range []*corev1.Pod{pods[0], bad, pods[many-1]} {
		r, err := load.Start(s.Context(), load.Config{
			Addr: p.Status.PodIP + ":8080", Device: bridge, PID: version, KeepAliveRate: 50, KeepAliveConns: 10, FreshRate: 10, SlowInFlight: 1,
		})
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { r.Abort() })
		runs = append(runs, r)
	}
	args := append([]string{"roll", "-l", "app.kubernetes.io/name=hello", "--max-unavailable", fmt.Sprint(atOnce)}, what...)

	if _, code := s.graceinit(append(args, "--dry-run")...); code != 0 {
		s.Errorf("--dry-run: exit code %d", code)
	}
	if most, _ := seen.report(); most != 0 {
		s.Errorf("--dry-run had %d pods in an upgrade", most)
	}

	mark := theLab.API.Store.Version()
	out, code := s.graceinit(args...)
	worked, unready := s.atATime(out, mark)
	if worked != atOnce || unready > atOnce {
		s.Errorf("the roll worked on %d pods at a time, %d were not ready; --max-unavailable %d", worked, unready, atOnce)
	}
	if code != 2 || !strings.Contains(out, bad.Name) {
		s.Errorf("the roll over a bad pod: exit code %d, and it should be 2 and name %s", code, bad.Name)
	}
	most, _ := seen.report()
	if most < 1 || most > atOnce {
		s.Errorf("up to %d pods were in an upgrade at a time; --max-unavailable %d", most, atOnce)
	}
	s.Logf("at a time: %d pods in an upgrade, %d worked on, %d not ready", most, worked, unready)
	var done []string
	for _, p := range pods {
		switch v := s.answers(p); {
		case v == "v2":
			done = append(done, p.Name)
		case v != "v1":
			s.Errorf("%s answers as %s", p.Name, v)
		}
		s.undisturbed(p, "app")
	}
	s.Logf("%d pods done: %v", len(done), done)
	if slices.Contains(done, bad.Name) || len(done) == 0 || len(done) > many-1-atOnce {
		s.Errorf("the roll did not stop at %s: %d pods are done, %v", bad.Name, len(done), done)
	}
	s.await("every pod is ready again", 30*time.Second, func() bool {
		return !slices.ContainsFunc(s.pods(), func(p *corev1.Pod) bool { return !podReady(p) })
	})

	// What was wrong is put right, and the same command goes on.
	if err := os.Remove(grace(bad, "refused")); err != nil {
		s.Fatal(err)
	}
	seen.report()
	mark = theLab.API.Store.Version()
	out, code = s.graceinit(args...)
	if code != 0 {
		s.Errorf("the roll goes on: exit code %d", code)
	}
	worked, unready = s.atATime(out, mark)
	if worked != atOnce || unready > atOnce {
		s.Errorf("the roll worked on %d pods at a time, %d were not ready; --max-unavailable %d", worked, unready, atOnce)
	}
	most, upgrades := seen.report()
	if most < 1 || most > atOnce {
		s.Errorf("up to %d pods were in an upgrade at a time; --max-unavailable %d", most, atOnce)
	}
	s.Logf("at a time: %d pods in an upgrade, %d worked on, %d not ready", most, worked, unready)
	for _, name := range done {
		if upgrades[name] > 0 {
			s.Errorf("%s was done, and was upgraded again", name)
		}
	}
	for _, p := range pods {
		if v := s.answers(p); v != "v2" {
			s.Errorf("in the end %s answers as %s", p.Name, v)
		}
		s.undisturbed(p, "app")
	}
	for _, r := range runs {
		s.clean(r.Stop(), "a pod of the roll")
	}
	// Once more: there is nothing left to do.
	if _, code := s.graceinit(args...); code != 0 {
		s.Errorf("a roll that is done: exit code %d", code)
	}
	if most, _ := seen.report(); most != 0 {
		s.Errorf("a roll that was done had %d pods in an upgrade", most)
	}
	seen.stop()
}
