package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestMergedReports(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for seed := range uint64(2) {
		r := newReport(options{seed: seed + 1}, &kit{version: "graceinit 1"})
		r.add(&episode{plan: Plan{App: spawn, End: endTerm, Seed: seed}, requests: 100, counts: map[string]int{"flood": 7},
			hits: map[string]int{"SIGKILL: helper, started": 1}, upgrades: map[string]int{"done": 3}, base: figures{rss: 3000, heap: 2000, fds: 13},
			last: figures{rss: 3500, heap: 2100 + int64(seed), fds: 12}, orphans: 50})
		path := filepath.Join(dir, strconv.FormatUint(seed, 10)+".json")
		if err := r.save(path); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	doc := filepath.Join(dir, "doc.md")
	if err := os.WriteFile(doc, []byte("before\n"+markBegin+"STALE\n"+markEnd+"\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := merge(paths, doc); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{"before\n", "\nafter\n", "| seeds | 1, 2 |", "| requests | 200 |", "| done 6 |", "| 14 |",
		"3000 to 3500 kB", "2000 to 2101 kB", "101 kB more at most", "| SIGKILL: helper, started | 2 |", "| violations of the oracle | 0, in 0 episodes |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "STALE") {
		t.Errorf("the table before is still there:\n%s", text)
	}
	if err := merge(paths, filepath.Join(dir, "absent.md")); err == nil {
		t.Error("a document that is not there was written")
	}
}
