package procfs

import (
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// What took long holds for a while, but not beyond the moment in which a process lets go of a listener.
func TestInspectorSparesWhatTakesLong(t *testing.T) {
	l := twoListeners(t)
	listening, err := Listening()
	if err != nil {
		t.Fatal(err)
	}
	self, err := Stat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	look := func(i *Inspector) []uint64 {
		p := self
		i.Inspect(&p, listening, Listeners)
		if p.FDsErr != nil || p.SignalsErr != nil || !p.Inspected() {
			t.Errorf("%+v", p)
		}
		return p.Sockets
	}
	always := Inspector{Cheap: time.Hour}
	rarely := Inspector{Cheap: time.Nanosecond, Rest: 1e9}
	before := look(&always)
	if len(before) != 2 || !slices.Equal(before, look(&rarely)) {
		t.Fatalf("%v, want the two listeners", before)
	}
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if now := look(&always); len(now) != 3 {
		t.Errorf("%v, want the connection in it too", now)
	}
	if now := look(&rarely); !slices.Equal(now, before) {
		t.Errorf("%v, want the answer from before", now)
	}
	l.Close()
	if now := look(&rarely); len(now) != 2 || slices.Equal(now, before) {
		t.Errorf("%v after a listener was closed, want the other one and the connection", now)
	}

	if found, err := rarely.Established(); err != nil || found == nil {
		t.Errorf("%v, %v", found, err)
	}
	if found, err := rarely.Established(); err != nil || found != nil {
		t.Errorf("%v, %v, want no answer yet", found, err)
	}
	if found, err := always.Established(); err != nil || found == nil {
		t.Errorf("%v, %v", found, err)
	}
	some := Inspector{Cheap: time.Nanosecond, Rest: 1e9, Some: 1}
	p := self
	if some.Inspect(&p, listening, Listeners); !p.Partial || len(p.Sockets) == 0 || !listening[p.Sockets[len(p.Sockets)-1]] {
		t.Errorf("%v, partial %v, want what there is up to a socket that listens", p.Sockets, p.Partial)
	}
	if some.Inspect(&p, listening, All); p.Partial || len(p.Sockets) != 2 {
		t.Errorf("%v, partial %v, want all", p.Sockets, p.Partial)
	}

	none := map[uint64]bool{}
	once := Inspector{Some: 1}
	once.processes = map[ID]*reading{self.ID: {some: true, listens: true}}
	if once.Inspect(&p, none, Listeners); !p.Partial || len(p.Sockets) > 2 {
		t.Errorf("%v, partial %v, want no search for another listener", p.Sockets, p.Partial)
	}
	few := Inspector{Some: 1}
	if few.Inspect(&p, none, Few); !p.Partial {
		t.Errorf("%v, want a few fds, whatever they are", p.Sockets)
	}
	if few.Inspect(&p, none, Listeners); p.Partial {
		t.Errorf("%v, want all: a few fds do not say whether another listens", p.Sockets)
	}

	rarely.Forget()
	look(&rarely)
	if rarely.Forget(); len(rarely.processes) != 1 {
		t.Error("a process that is looked at was forgotten")
	}
	if rarely.Forget(); len(rarely.processes) != 0 {
		t.Error("a process that nobody asks about is kept")
	}
}
