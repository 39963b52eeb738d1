package upgrades

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/graceinit/graceinit/demo/pidns"
)

func TestMain(m *testing.M) {
	pidns.Main()
	Main()
	os.Exit(m.Run())
}

// Everything is done once, of every way that this machine has: no request may be lost where none has to be, and no
// connection of the accept queue.
func TestShort(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	graceinit := filepath.Join(t.TempDir(), "graceinit")
	build := exec.Command("make", "-s", "build", "OUT="+graceinit)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r, err := Run(context.Background(), Options{Init: graceinit, Root: root, Short: true})
	if errors.Is(err, pidns.ErrForbidden) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r.Servers); t.Logf("%+v %+v", r.Look.Took[:3], r.Drain); for _, x := range append(r.Still, r.Loaded...) { x.Before, x.During, x.Series = nil, nil, nil; t.Logf("%+v", x) }
}
