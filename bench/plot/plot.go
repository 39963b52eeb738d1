// Package plot draws the figures as SVG: bars with whiskers, and lines over time, several panels to a picture.
//
// The pictures have no script and no font of their own, and follow the reader's choice of light or dark. Their background is
// theirs too: on whatever page they are shown, their text stays readable.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Panel is one of the diagrams of a picture.
type Panel interface {
	height() float64
	draw(c *canvas, x, y, width float64)
}

const (
	margin      = 16.0
	titleHeight = 30.0
	headHeight  = 24.0 // of a panel: its title
	textSize    = 12
	// textWidth is about what a letter of that size takes; an SVG cannot measure.
	textWidth = 6.3
)

// SVG is a picture of the panels, in rows of so many columns.
func SVG(title string, columns int, panelWidth float64, panels ...Panel) []byte {
	width := margin + float64(columns)*(panelWidth+margin)
	var c canvas
	y := margin + titleHeight
	for i := 0; i < len(panels); i += columns {
		row := panels[i:min(i+columns, len(panels))]
		high := 0.0
		for k, p := range row {
			p.draw(&c, margin+float64(k)*(panelWidth+margin), y, panelWidth)
			high = max(high, p.height())
		}
		y += high + margin
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%s" height="%s" role="img" font-family="system-ui,'Liberation Sans',Arial,Helvetica,sans-serif" font-size="%d">`+"\n",
		number(width), number(y), number(width), number(y), textSize)
	fmt.Fprintf(&out, "<title>%s</title>\n%s", escape(title), style)
	fmt.Fprintf(&out, `<rect class="ground" width="%s" height="%s"/>`+"\n", number(width), number(y))
	fmt.Fprintf(&out, `<text class="ink" x="%s" y="%s" font-size="%d" font-weight="600">%s</text>`+"\n", number(margin), number(margin+14), textSize+4, escape(title))
	out.Write(c.out.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

const style = `<style>
.ground{fill:#fff}.ink{fill:#24292f}.dim{fill:#57606a}.grid{stroke:#d8dee4}.rule{stroke:#24292f}.goal{stroke:#b8322a;stroke-dasharray:5 3}.goaltext{fill:#b8322a}
.s0{fill:#2f6f9f;stroke:#2f6f9f}.s1{fill:#8a949e;stroke:#8a949e}.s2{fill:#b07a1e;stroke:#b07a1e}.s3{fill:#4f8f6f;stroke:#4f8f6f}.s4{fill:#8a5fa8;stroke:#8a5fa8}.s5{fill:#b5533c;stroke:#b5533c}
@media(prefers-color-scheme:dark){
.ground{fill:#0d1117}.ink{fill:#e6edf3}.dim{fill:#9198a1}.grid{stroke:#30363d}.rule{stroke:#e6edf3}.goal{stroke:#ff7b72}.goaltext{fill:#ff7b72}
.s0{fill:#58a6dc;stroke:#58a6dc}.s1{fill:#6e7681;stroke:#6e7681}.s2{fill:#d9a441;stroke:#d9a441}.s3{fill:#6fbf95;stroke:#6fbf95}.s4{fill:#b48ad6;stroke:#b48ad6}.s5{fill:#e0836c;stroke:#e0836c}
}
</style>
`

// colours is how many classes of them the style has.
const colours = 6

type canvas struct{ out bytes.Buffer }

func (c *canvas) text(class, anchor string, x, y float64, text string) {
	fmt.Fprintf(&c.out, `<text class="%s" x="%s" y="%s"`, class, number(x), number(y))
	if anchor != "start" {
		fmt.Fprintf(&c.out, ` text-anchor="%s"`, anchor)
	}
	fmt.Fprintf(&c.out, ">%s</text>\n", escape(text))
}

func (c *canvas) heading(x, y float64, text string) {
	fmt.Fprintf(&c.out, `<text class="ink" x="%s" y="%s" font-weight="600">%s</text>`+"\n", number(x), number(y+textSize), escape(text))
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&c.out, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`+"\n", class, number(x1), number(y1), number(x2), number(y2))
}

func (c *canvas) rect(class string, x, y, width, height float64) {
	fmt.Fprintf(&c.out, `<rect class="%s" stroke="none" x="%s" y="%s" width="%s" height="%s"/>`+"\n", class, number(x), number(y), number(width), number(height))
}

// number keeps a tenth of a pixel.
func number(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return b.String()
}

// axis maps values to pixels.
type axis struct {
	low, high float64 // values
	from, to  float64 // pixels
	log       bool
	step      float64 // of the ticks
}

func (a axis) at(v float64) float64 {
	if a.log {
		v = min(max(v, a.low), a.high)
		return a.from + (a.to-a.from)*(math.Log(v)-math.Log(a.low))/(math.Log(a.high)-math.Log(a.low))
	}
	return a.from + (a.to-a.from)*(v-a.low)/(a.high-a.low)
}

// newAxis holds the values, of which those of a logarithmic one must be above 0: others lie at its lower end.
func newAxis(log bool, values ...float64) axis {
	a := axis{log: log}
	if !log {
		for _, v := range values {
			a.low, a.high = min(a.low, v), max(a.high, v)
		}
		if a.high <= a.low {
			a.high = a.low + 1
		}
		a.step = step(a.high - a.low)
		a.low, a.high = math.Floor(a.low/a.step)*a.step, math.Ceil(a.high/a.step-1e-9)*a.step
		return a
	}
	a.low, a.high = math.Inf(1), 0
	for _, v := range values {
		if v > 0 {
			a.low, a.high = min(a.low, v), max(a.high, v)
		}
	}
	if a.high == 0 {
		a.low, a.high = 1, 10
	}
	a.low, a.high = math.Pow(10, math.Floor(math.Log10(a.low))), math.Pow(10, math.Ceil(math.Log10(a.high)))
	if a.high == a.low {
		a.high *= 10
	}
	return a
}

// tight makes a linear axis end where its values do.
func (a axis) tight(values []float64) axis {
	if !a.log && len(values) > 1 && slices.Min(values) < slices.Max(values) {
		a.low, a.high = slices.Min(values), slices.Max(values)
	}
	return a
}

// step is the distance of the ticks: 1, 2 or 5 of a power of ten, for three to seven of them.
func step(span float64) float64 {
	raw := span / 5
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, f := range []float64{1, 2, 5} {
		if raw <= f*power*1.0001 {
			return f * power
		}
	}
	return 10 * power
}

func (a axis) ticks() []float64 {
	var out []float64
	if a.log {
		for v := a.low; v <= a.high*1.0001; v *= 10 {
			out = append(out, v)
		}
		return out
	}
	for i := math.Ceil(a.low/a.step - 1e-9); i*a.step <= a.high+a.step*1e-9; i++ {
		out = append(out, i*a.step)
	}
	return out
}

// Value writes a value with about three digits, or all of those before the point. A whole number is a count.
func Value(v float64) string {
	switch size := math.Abs(v); {
	case v == math.Trunc(v) || size >= 100 || math.IsInf(v, 0) || math.IsNaN(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case size >= 0.1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	default:
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
}

// tick is a value on an axis: as short as it can be, and without the minus of a negative zero.
func tick(v float64) string { return strconv.FormatFloat(round(v)+0, 'g', -1, 64) }

// round takes away what floating point added to a multiple of a step.
func round(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	if err != nil {
		return v
	}
	return r
}
