// Package container tests graceinit with real servers in real containers. README.md tells how to run one case.
package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/harness"
)

// What the first test prepares for all. Not TestMain: what is read before m.Run is unknown to go test's cache.
var (
	docker *harness.Docker
	images *harness.Images
	binary string
	tmp    string

	prepared = sync.OnceValue(prepare)
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run is TestMain with deferred functions.
func run(m *testing.M) int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(130) // the guard removes the containers
	}()
	var err error
	if tmp, err = os.MkdirTemp("", "graceinit-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(tmp)
	code := m.Run()
	if docker != nil {
		if err := docker.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return code
}

func prepare() (err error) {
	ctx := context.Background()
	if docker, err = harness.Open(ctx); err != nil {
		return err
	}
	if binary = os.Getenv("GRACEINIT_BIN"); binary == "" {
		if binary, err = harness.BuildGraceinit(); err != nil {
			return err
		}
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	if _, err = os.Stat(binary); err != nil {
		return err
	}
	images, err = docker.BuildImages(ctx, harness.Dir(), tmp, os.Stderr)
	return err
}

// needDocker skips the test where containers cannot run. In CI that is a failure: nobody would read of the skip.
func needDocker(t *testing.T) {
	t.Helper()
	switch err := prepared(); {
	case err == nil:
	case errors.Is(err, harness.ErrUnavailable) && os.Getenv("CI") != "true":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// TestUpgrades is the table: every server, as root and hardened, as PID 1 and below another init, through two
// upgrades and a stop under load.
func TestUpgrades(t *testing.T) {
	needDocker(t)
	for _, s := range slices.Concat(harness.Servers(), harness.SpawnServers()) {
		for _, hardened := range []bool{false, true} {
			for _, dockerInit := range []bool{false, true} {
				c := harness.Case{
					Server: s, Init: harness.Graceinit(binary), Hardened: hardened, DockerInit: dockerInit,
					Scratch: true, Upgrades: 2,
				}
				t.Run(c.Name(), func(t *testing.T) {
					t.Parallel()
					ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
					defer cancel()
					check(t, docker.Run(ctx, images, c))
				})
			}
		}
	}
}

func check(t *testing.T, rep *harness.Report) {
	t.Helper()
	problems := rep.Problems()
	if len(problems) > 0 {
		t.Errorf("%d problems\n%s", len(problems), rep)
		return
	}
	var ready, gone []time.Duration
	for _, u := range rep.Upgrades {
		ready, gone = append(ready, u.Ready.Round(time.Millisecond)), append(gone, u.Drained.Round(time.Millisecond))
	}
	if len(ready) > 0 {
		t.Logf("%d upgrades: a successor answered after %v to %v, the predecessor had gone after %v to %v", len(ready),
			slices.Min(ready), slices.Max(ready), slices.Min(gone), slices.Max(gone))
	}
	t.Logf("stop: %v; %d crossed; %s", rep.StopTook.Round(time.Millisecond), len(rep.Crossed), rep.Load)
}

// TestHarnessSeesADeadContainer proves that the table can be red: under tini the container dies with the
// predecessor, and the report must say so. (The engine may learn of it a moment after the upgrade was judged.)
func TestHarnessSeesADeadContainer(t *testing.T) {
	t.Parallel()
	needDocker(t)
	for _, s := range harness.Servers() {
		if s.Name != "gracedemo" {
			continue
		}
		rep := docker.Run(t.Context(), images, harness.Case{Server: s, Init: harness.Peers()[0], Upgrades: 2})
		if !rep.Started || !rep.Died || len(rep.Upgrades) != 1 || len(rep.Load.Failures) == 0 ||
			len(rep.Problems()) == 0 {
			t.Errorf("want a container that ends in its first upgrade:\n%s", rep)
		}
		if !rep.Upgrades[0].Answered {
			t.Errorf("want a successor that answered before:\n%s", rep)
		}
	}
}
