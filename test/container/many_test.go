package container

import (
	"context"
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/harness"
)

var manyUpgrades = flag.Int("upgrades", 10, "how many upgrades TestManyUpgrades performs of each server")

// TestManyUpgrades upgrades each server that knows nothing of upgrades again and again under load: one that loses a
// request, an fd or a process now and then is not seen in two.
func TestManyUpgrades(t *testing.T) {
	t.Parallel()
	needDocker(t)
	for _, s := range harness.SpawnServers() {
		if s.ClosesIdle != harness.Announced {
			continue // what it loses by itself would add up
		}
		s.Slow = harness.Sleep("0.5s")
		s.Flags = append(slices.Clip(s.Flags), "--settle", "300ms", "--probation", "0s")
		c := harness.Case{Server: s, Init: harness.Graceinit(binary), Hardened: true, Scratch: true, Upgrades: *manyUpgrades}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(c.Upgrades)*15*time.Second)
			defer cancel()
			check(t, docker.Run(ctx, images, c))
		})
	}
}
