package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graceinit/graceinit/demo/record"
)

// example is a short run with one upgrade, and one that ends.
func example() *record.Record {
	good := record.Run{Init: "graceinit", LoadEnd: 2, Requests: 1200,
		Generations: []record.Generation{{Number: 1, PID: 7, Build: 1}, {Number: 2, PID: 9, Build: 2}},
		Events:      []record.Event{{At: 1, Kind: record.Upgrade}, {At: 1.1, Kind: record.Log}}}
	for i := range 25 {
		at := float64(i) / 10
		ok, slow := map[int]int{1: 40}, map[int]int{1: 16}
		if at >= 1 {
			ok, slow = map[int]int{1: 1, 2: 39}, map[int]int{1: 10, 2: 6}
		}
		good.Rate = append(good.Rate, record.Rate{At: at, Seconds: 0.1, OK: ok})
		good.InFlight = append(good.InFlight, record.Flight{At: at, Slow: slow})
	}
	bad := good
	bad.Init, bad.Ended, bad.Failed = "tini", 1.5, 200
	bad.Rate = append([]record.Rate{}, good.Rate...)
	for i := 15; i < len(bad.Rate); i++ {
		bad.Rate[i] = record.Rate{At: bad.Rate[i].At, Seconds: 0.1, OK: map[int]int{}, Failed: 40}
	}
	return &record.Record{CPUs: 2, Kernel: "6.1", Load: record.Load{KeepAlive: 300, Fresh: 100, Slow: 16, SlowSeconds: 4}, Runs: []record.Run{good, bad}}
}

func near(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 }

func TestRatesAreStacked(t *testing.T) {
	r := example()
	layers := rates(&r.Runs[0])
	if len(layers) != 3 || layers[0].generation != failedLayer || layers[1].generation != 2 || layers[2].generation != 1 {
		t.Fatalf("layers %+v", layers)
	}
	for i, xy := range layers[1].top {
		first := layers[2].top[i]
		if xy.X != first.X || !near(xy.Y, 400) {
			t.Errorf("at %v s the sum is %v, want 400", xy.X, xy.Y)
		}
		want := 400.0
		if xy.X > 1 {
			want = 10
		}
		if !near(first.Y, want) {
			t.Errorf("at %v s generation 1 answers %v, want %v", xy.X, first.Y, want)
		}
		if xy.X > r.Runs[0].LoadEnd {
			t.Errorf("a point at %v s, after the load", xy.X)
		}
	}
	failed := rates(&r.Runs[1])[0].top
	if last := failed[len(failed)-1]; !near(last.Y, 400) {
		t.Errorf("at %v s %v requests fail, want 400", last.X, last.Y)
	}
}

func TestFlightsAreStacked(t *testing.T) {
	layers := flights(&example().Runs[0])
	top, first := layers[1].top, layers[2].top
	if n := len(top); n != 21 || top[n-1].Y != 16 || first[n-1].Y != 10 {
		t.Errorf("%d points, %v and %v", n, top, first)
	}
}

func TestThePictureIsXMLAndSaysWhatItShows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.svg")
	if err := picture(example(), file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(string(b))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"1 upgrades in place", "0 of 1200 requests failed", "requests per second", "in seconds",
		"generation 2", "USR2", "tini exits at 1.5 s", "sans-serif"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
	if picture(&record.Record{}, file) == nil {
		t.Error("nothing was drawn without an error")
	}
}

func TestTheRecordSurvivesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.json")
	r := example()
	if err := r.Write(file); err != nil {
		t.Fatal(err)
	}
	back, err := record.Read(file)
	if err != nil || len(back.Runs) != 2 || back.Runs[0].Rate[12].OK[2] != 39 || back.Runs[1].Ended != 1.5 {
		t.Errorf("%+v, %v", back, err)
	}
}
