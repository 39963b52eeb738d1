package plot

import (
	"fmt"
	"strings"
)

// Lines is a diagram of values over time, or over something else.
type Lines struct {
	Title        string
	XUnit, YUnit string
	LogX, LogY   bool
	Lines        []Line
	Marks        []Mark
	// Dots draws the values unconnected, as those of single requests should be.
	Dots bool
	// Height of the area, 180 if it is 0.
	Height float64
}

// Line is one of them. X and Y have the same length.
type Line struct {
	Label string
	X, Y  []float64
}

// Mark is a vertical line at something that happened.
type Mark struct {
	At   float64
	Text string
}

const legendHeight = 18.0

func (l Lines) area() float64 {
	if l.Height > 0 {
		return l.Height
	}
	return 180
}

func (l Lines) height() float64 {
	return headHeight + legendHeight + l.area() + 2*axisHeight
}

func (l Lines) draw(c *canvas, x, y, width float64) {
	title := l.Title
	if l.YUnit != "" {
		title += ", " + l.YUnit
	}
	c.heading(x, y, title)
	var xs, ys []float64
	for _, line := range l.Lines {
		xs, ys = append(xs, line.X...), append(ys, line.Y...)
	}
	for _, m := range l.Marks {
		xs = append(xs, m.At)
	}
	horizontal, vertical := newAxis(l.LogX, xs...).tight(xs), newAxis(l.LogY, ys...)
	labels := 0.0
	for _, v := range vertical.ticks() {
		labels = max(labels, textWidth*float64(len(tick(v)))+10)
	}
	top := y + headHeight + legendHeight
	bottom := top + l.area()
	horizontal.from, horizontal.to = x+labels, x+width-8
	vertical.from, vertical.to = bottom, top
	for _, v := range vertical.ticks() {
		c.line("grid", horizontal.from, vertical.at(v), horizontal.to, vertical.at(v))
		c.text("dim", "end", horizontal.from-5, vertical.at(v)+4, tick(v))
	}
	for _, v := range horizontal.ticks() {
		c.line("grid", horizontal.at(v), top, horizontal.at(v), bottom)
		c.text("dim", "middle", horizontal.at(v), bottom+textSize+3, tick(v))
	}
	c.text("dim", "end", horizontal.to, bottom+axisHeight+textSize, l.XUnit)

	at := horizontal.from
	for i, line := range l.Lines {
		class := fmt.Sprintf("s%d", i%colours)
		c.rect(class, at, top-legendHeight+2, 10, 10)
		c.text("ink", "start", at+14, top-legendHeight+textSize-1, line.Label)
		at += 14 + textWidth*float64(len([]rune(line.Label))) + 16
		var path strings.Builder
		for k := range min(len(line.X), len(line.Y)) {
			px, py := horizontal.at(line.X[k]), vertical.at(line.Y[k])
			switch {
			case l.Dots:
				fmt.Fprintf(&path, "M%s %sh0", number(px), number(py))
			case k == 0:
				fmt.Fprintf(&path, "M%s %s", number(px), number(py))
			default:
				fmt.Fprintf(&path, "L%s %s", number(px), number(py))
			}
		}
		thick := "1.6"
		if l.Dots {
			thick = "3"
		}
		fmt.Fprintf(&c.out, `<path class="%s" style="fill:none" stroke-width="%s" stroke-linecap="round" stroke-linejoin="round" d="%s"/>`+"\n", class, thick, path.String())
	}
	for i, m := range l.Marks {
		px := horizontal.at(m.At)
		c.line("goal", px, top, px, bottom)
		c.text("goaltext", "start", px+4, top+textSize+float64(i%3)*(textSize+2), m.Text)
	}
}
