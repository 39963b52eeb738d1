package lifecycle

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/states.md")

// TestStatesDocument keeps docs/states.md, which is generated from the machine, up to date.
func TestStatesDocument(t *testing.T) {
	const path = "../../docs/states.md"
	var doc bytes.Buffer
	fmt.Fprintf(&doc, "# The states of a life\n\nGenerated from the machine (internal/lifecycle/state.go) by "+
		"`go test ./internal/lifecycle -run TestStatesDocument -update`. The simulation checks that\n"+
		"these transitions happen, each of them, and no others.\n\n```mermaid\n%s```\n\n| state | meaning |\n|---|---|\n", Mermaid())
	for s := State(0); int(s) < stateCount; s++ {
		fmt.Fprintf(&doc, "| %s | %s |\n", s, s.Meaning())
	}
	if *update {
		if err := os.WriteFile(path, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, doc.Bytes()) {
		t.Errorf("%s is not what the machine says (%v); run the command in it", path, err)
	}
}
