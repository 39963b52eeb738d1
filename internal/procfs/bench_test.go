package procfs

import (
	"net"
	"os"
	"testing"
)

// BenchmarkLook is what a look at a drain takes where the process has 10,000 connections: one that counts them, and on
// average over all looks.
func BenchmarkLook(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for range 5000 { // each has two ends, both ours
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		s, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
	}
	listening, err := Listening()
	if err != nil {
		b.Fatal(err)
	}
	self, err := Stat(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	for name, i := range map[string]*Inspector{"all": {Cheap: 1e9}, "all, on average": {}, "some": {Cheap: 1e9}} {
		want := All
		if name == "some" {
			want = Listeners
		}
		b.Run(name, func(b *testing.B) {
			p := self
			i.Inspect(&p, listening, want)
			for b.Loop() {
				i.Inspect(&p, listening, want)
				if want != All {
					continue
				}
				if _, err := i.Established(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
