package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// element is one of the picture, with its text.
type element struct {
	name  string
	attrs map[string]string
	text  string
}

// parse fails where the picture is no XML.
func parse(t *testing.T, svg []byte) []element {
	t.Helper()
	var out []element
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local, attrs: map[string]string{}}
			for _, a := range token.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			out = append(out, e)
		case xml.CharData:
			if len(out) > 0 {
				out[len(out)-1].text += string(token)
			}
		}
	}
}

func (e element) number(t *testing.T, name string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(e.attrs[name], 64)
	if err != nil {
		t.Fatalf("%s of %+v: %v", name, e, err)
	}
	return v
}

func find(all []element, name, class string) []element {
	var out []element
	for _, e := range all {
		if e.name == name && e.attrs["class"] == class {
			out = append(out, e)
		}
	}
	return out
}

func texts(all []element) []string {
	var out []string
	for _, e := range all {
		if e.name == "text" {
			out = append(out, strings.TrimSpace(e.text))
		}
	}
	return out
}

func TestBarsAreAsLongAsTheirValues(t *testing.T) {
	all := parse(t, SVG("a < b & c", 1, 400, Bars{Title: "start", Unit: "ms", Goal: 4, Bars: []Bar{
		{Label: "graceinit", Ours: true, Value: 3, Low: 2.5, High: 3.5}, {Label: "tini", Value: 1.5, Low: 1.5, High: 1.5}, {Label: "s6", Note: "has none"},
	}}))
	ours, theirs := find(all, "rect", "s0"), find(all, "rect", "s1")
	if len(ours) != 1 || len(theirs) != 1 {
		t.Fatalf("%d and %d bars, want 1 and 1", len(ours), len(theirs))
	}
	a, b := ours[0].number(t, "width"), theirs[0].number(t, "width")
	if b < 50 || math.Abs(a-2*b) > 0.2 {
		t.Errorf("a bar of 3 is %v long, one of 1.5 %v", a, b)
	}
	unit, start := b/1.5, theirs[0].number(t, "x")
	whiskers := find(all, "line", "rule")
	if len(whiskers) != 3 {
		t.Fatalf("%d lines of whiskers, want 3: only one interval has a length", len(whiskers))
	}
	if low, high := whiskers[0].number(t, "x1"), whiskers[0].number(t, "x2"); math.Abs(low-start-2.5*unit) > 0.2 || math.Abs(high-start-3.5*unit) > 0.2 {
		t.Errorf("the whisker goes from %v to %v", low, high)
	}
	goal := find(all, "line", "goal")
	if len(goal) != 1 || math.Abs(goal[0].number(t, "x1")-start-4*unit) > 0.2 {
		t.Errorf("the goal is drawn at %+v", goal)
	}
	words := texts(all)
	for _, want := range []string{"a < b & c", "start, ms", "graceinit", "3", "1.50", "has none", "goal 4"} {
		if !slices.Contains(words, want) {
			t.Errorf("no %q in %q", want, words)
		}
	}
}

func TestALogarithmicAxisHasEqualDecades(t *testing.T) {
	all := parse(t, SVG("x", 1, 500, Bars{Log: true, Bars: []Bar{{Label: "a", Value: 1000}, {Label: "b", Value: 100}, {Label: "c", Value: 10}}}))
	bars := slices.Concat(find(all, "rect", "s0"), find(all, "rect", "s1"))
	if len(bars) != 3 {
		t.Fatalf("%d bars", len(bars))
	}
	if a, b, c := bars[0].number(t, "width"), bars[1].number(t, "width"), bars[2].number(t, "width"); math.Abs((a-b)-(b-c)) > 0.2 || a <= b {
		t.Errorf("the bars of 1000, 100 and 10 are %v, %v and %v long", a, b, c)
	}
}

func TestLinesGoThroughTheirValues(t *testing.T) {
	l := Lines{Title: "latency", XUnit: "s", YUnit: "ms", Marks: []Mark{{At: 5, Text: "USR2"}},
		Lines: []Line{{Label: "p50", X: []float64{0, 5, 10}, Y: []float64{0, 10, 0}}, {Label: "p99", X: []float64{0, 10}, Y: []float64{5, 10}}}}
	all := parse(t, SVG("x", 1, 500, l))
	first := find(all, "path", "s0")
	if len(first) != 1 || len(find(all, "path", "s1")) != 1 {
		t.Fatal("want a line of each colour")
	}
	points := strings.FieldsFunc(first[0].attrs["d"], func(r rune) bool { return r == 'M' || r == 'L' })
	if len(points) != 3 {
		t.Fatalf("path %q", first[0].attrs["d"])
	}
	at := func(i int) (x, y float64) {
		a, b, _ := strings.Cut(points[i], " ")
		x, err := strconv.ParseFloat(a, 64)
		if err == nil {
			y, err = strconv.ParseFloat(b, 64)
		}
		if err != nil {
			t.Fatal(err)
		}
		return x, y
	}
	x0, y0 := at(0)
	x1, y1 := at(1)
	x2, y2 := at(2)
	if x1-x0 < 50 || math.Abs((x1-x0)-(x2-x1)) > 0.2 || y0 != y2 || math.Abs(y0-y1-l.area()) > 0.2 {
		t.Errorf("the points are (%v,%v) (%v,%v) (%v,%v)", x0, y0, x1, y1, x2, y2)
	}
	if mark := find(all, "line", "goal"); len(mark) != 1 || math.Abs(mark[0].number(t, "x1")-x1) > 0.2 {
		t.Errorf("the mark is not at its time: %+v", mark)
	}
	l.Dots = true
	if d := find(parse(t, SVG("x", 1, 500, l)), "path", "s0")[0].attrs["d"]; strings.Count(d, "h0") != 3 || strings.Contains(d, "L") {
		t.Errorf("dots are not connected: %q", d)
	}
}

func TestPanelsStandInRowsAndNothingLeavesThePicture(t *testing.T) {
	b := Bars{Title: "x", Bars: []Bar{{Label: "a", Ours: true, Value: 1}}}
	all := parse(t, SVG("x", 2, 300, b, b, Lines{Title: "empty"}, Bars{Title: "none"}))
	width, height := all[0].number(t, "width"), all[0].number(t, "height")
	if width != 2*300+3*margin {
		t.Errorf("the width is %v", width)
	}
	bars := find(all, "rect", "s0")
	if len(bars) != 2 || bars[0].attrs["y"] != bars[1].attrs["y"] || bars[0].attrs["x"] == bars[1].attrs["x"] {
		t.Errorf("two panels in a row: %+v", bars)
	}
	for _, e := range all {
		for _, name := range []string{"x", "y", "x1", "x2", "y1", "y2"} {
			if _, ok := e.attrs[name]; !ok {
				continue
			}
			v, limit := e.number(t, name), height
			if name[0] == 'x' {
				limit = width
			}
			if v < 0 || v > limit {
				t.Errorf("%s of %+v is outside of %v × %v", name, e, width, height)
			}
		}
	}
}

func TestTicks(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		log    bool
		want   []string
	}{
		{[]float64{0, 1}, false, []string{"0", "0.2", "0.4", "0.6", "0.8", "1"}},
		{[]float64{3.1}, false, []string{"0", "1", "2", "3", "4"}},
		{[]float64{-5, 5}, false, []string{"-6", "-4", "-2", "0", "2", "4", "6"}},
		{[]float64{0, 70_000}, false, []string{"0", "20000", "40000", "60000", "80000"}},
		{[]float64{2, 300}, true, []string{"1", "10", "100", "1000"}},
		{[]float64{0}, true, []string{"1", "10"}},
	} {
		var got []string
		for _, v := range newAxis(tc.log, tc.values...).ticks() {
			got = append(got, tick(v))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("ticks of %v are %v, want %v", tc.values, got, tc.want)
		}
	}
}

func TestValue(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.0123: "0.012", 0.8: "0.80", 1.234: "1.23", 12.34: "12.3", 1234.5: "1234", -2.5: "-2.50", 2: "2"} {
		if got := Value(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}
