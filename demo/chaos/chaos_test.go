package main

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/pidns"
)

func TestMain(m *testing.M) {
	pidns.Main()
	churn.Main()
	rolesMain()
	os.Exit(m.Run())
}

// The proof that the oracle can fail: these inits are graceinit, but for one promise.
func TestABrokenPromiseIsSeen(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it needs root")
	}
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	init := options{}.initPath(root)
	if _, err := os.Stat(init); err != nil {
		t.Skipf("make build comes first: %v", err)
	}
	for name, c := range map[string]struct{ script, want, only string }{
		"it drops requests in an upgrade": {`case $1 in --*g) set -- --predecessor-signal KILL "$@";; esac`, "a request failed, and the app was not broken", ""},
		"it does not upgrade":             {`case $1 in --*g) set -- --upgrade off "$@";; esac`, "a good upgrade at rest", ""},
		"it ends with another code":       {`case $1 in --*g) set -- -e 3 -e 77 -e 255 "$@";; esac`, "at its end", ""},
		"it ends without a reason":        {`case $1 in --*g) INIT "$@" & sleep 5; exit 0;; esac`, "the chaos had done nothing to its main process", ""},
		"it leaves zombies":               {`case $1 in --*g) (sleep 0.1 & exec sleep 1000) & ;; esac`, "does not come to rest: zombie", ""},
		"it knows no status":              {`case $1 in status) exit 0;; esac`, "does not come to rest", ""},
		"it ends late":                    {`case $1 in --*g) set -- --drain-delay 12s "$@";; esac`, "has not ended", ""},
		"it does not roll back": {`case $1 in --*g) set -- $(echo "$@" | sed 's/--probation [0-9]*s/--probation 0s/');; esac`,
			"the chaos had done nothing to its main process", "successor: dies in probation"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			liar := filepath.Join(t.TempDir(), "graceinit")
			script := "#!/bin/sh\n" + strings.ReplaceAll(c.script, "INIT", init) + "\nexec " + init + " \"$@\"\n"
			if err := os.WriteFile(liar, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			only := cmp.Or(c.only, "full disk")
			r, err := campaign(t.Context(), options{init: liar, seed: 1, lanes: 1, episode: plainEpisode(t, only), growth: 1 << 20, rest: 15 * time.Second, only: only, storms: 1})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(r.Violations, "\n"); !strings.Contains(got, c.want) {
				t.Errorf("want %q, the violations are: %s", c.want, got)
			}
		})
	}
}

// plainEpisode is the number of one with an app that graceinit upgrades, and that ends by SIGTERM.
func plainEpisode(t *testing.T, only string) uint64 {
	t.Helper()
	choice := []*fault{faultNamed(only)}
	for n := range uint64(1000) {
		if p := newPlan(1, n+1, 1, choice, true); p.App == spawn && p.End == endTerm && p.Stderr == stderrRead && !p.StopFirst && p.Watchdog == 0 && p.Code != 0 &&
			p.Probation > 0 && !p.Check && !slices.Contains(p.Flags, "--drain-delay") {
			return n + 1
		}
	}
	t.Fatal("there is none")
	return 0
}
