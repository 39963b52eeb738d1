package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/graceinit/graceinit/demo/record"
)

var (
	ink  = color.RGBA{0x33, 0x33, 0x33, 0xff}
	grey = color.RGBA{0x88, 0x88, 0x88, 0xff}
	red  = color.RGBA{0xb8, 0x32, 0x2a, 0xff}
	// By generation, for ever in turn.
	colours = []color.RGBA{
		{0x5b, 0x84, 0xb1, 0xff}, {0x7f, 0xb0, 0x9a, 0xff}, {0xd8, 0xb3, 0x6c, 0xff}, {0x9a, 0x86, 0xb0, 0xff},
	}
)

func colourOf(generation int) color.RGBA {
	if generation == failedLayer {
		return red
	}
	return colours[(generation-1)%len(colours)]
}

const (
	pictureWidth, pictureHeight = 11 * vg.Inch, 7.6 * vg.Inch
	headHeight, legendWidth     = 0.75 * vg.Inch, 2.1 * vg.Inch
	textSize                    = 12
)

// areas are the panels: for every run the requests a second, and for the first also the slow requests in flight.
func areas(r *record.Record) (panels []*plot.Plot, end float64) {
	for i := range r.Runs {
		run := &r.Runs[i]
		end = max(end, run.LoadEnd)
		p := panel(rates(run), run)
		p.Title.Text = fmt.Sprintf("%s: requests answered by each generation; %d of %d failed", run.Init, run.Failed, run.Requests)
		p.Y.Label.Text = "requests per second"
		scale(p, run, float64(r.Load.KeepAlive+r.Load.Fresh), 100)
		panels = append(panels, p)
		if i == 0 {
			p := panel(flights(run), run)
			p.Title.Text = fmt.Sprintf("%s: slow requests (%.0f s) in flight; the draining generation finishes its own", run.Init, r.Load.SlowSeconds)
			p.Y.Label.Text = "requests in flight"
			scale(p, run, float64(r.Load.Slow), 4)
			panels = append(panels, p)
		}
	}
	for _, p := range panels {
		p.X.Min, p.X.Max = 0, end
		p.X.Tick.Marker = every(end, 5)
	}
	panels[len(panels)-1].X.Label.Text = "time since the load began, in seconds"
	return panels, end
}

// scale leaves room for the words of the markers above what is expected, or more where more was measured.
func scale(p *plot.Plot, run *record.Run, expected, step float64) {
	top := expected
	if run.Ended != 0 {
		for _, l := range rates(run) {
			for _, xy := range l.top {
				top = max(top, xy.Y)
			}
		}
	}
	p.Y.Max = 1.25 * top
	p.Y.Tick.Marker = every(top, step)
}

// every sets ticks at whole steps.
func every(limit, step float64) plot.ConstantTicks {
	var out plot.ConstantTicks
	for v := 0.0; v <= limit; v += step {
		out = append(out, plot.Tick{Value: v, Label: fmt.Sprintf("%.0f", v)})
	}
	return out
}

func panel(layers []layer, run *record.Run) *plot.Plot {
	p := plot.New()
	p.Title.TextStyle.Font = face(textSize, true)
	p.Title.TextStyle.Color, p.Title.Padding = ink, 4
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font, a.Tick.Label.Font = face(textSize, false), face(textSize-1, false)
		a.Label.TextStyle.Color, a.Tick.Label.Color, a.Color, a.Tick.Color = ink, ink, grey, grey
		a.Padding = 0
	}
	p.Y.Min = 0
	for _, l := range layers {
		if len(l.top) == 0 {
			continue
		}
		p.Add(&plotter.Line{XYs: l.top, FillColor: colourOf(l.generation)})
	}
	for _, at := range triggers(run) {
		p.Add(marker{at: at, text: "USR2", style: usr2})
	}
	if run.Ended != 0 {
		text := fmt.Sprintf("%s exits at %.1f s, and every process with it", run.Init, run.Ended)
		p.Add(marker{at: run.Ended, words: run.LoadEnd, text: text, style: death})
	}
	return p
}

var (
	usr2  = draw.LineStyle{Color: ink, Width: 1.2, Dashes: []vg.Length{4, 3}}
	death = draw.LineStyle{Color: ink, Width: 1.6}
)

// marker is a vertical line with a word at its top.
type marker struct {
	at    float64
	words float64 // where the text begins, if not at the line
	text  string
	style draw.LineStyle
}

func (m marker) Plot(c draw.Canvas, p *plot.Plot) {
	tx, _ := p.Transforms(&c)
	x := tx(m.at)
	c.StrokeLine2(m.style, x, c.Min.Y, x, c.Max.Y)
	s := p.X.Tick.Label
	s.Color, s.XAlign, s.YAlign = m.style.Color, draw.XLeft, draw.YTop
	c.FillText(s, vg.Point{X: tx(max(m.at, m.words)) + 4, Y: c.Max.Y - 1}, m.text)
}

func (m marker) Thumbnail(c *draw.Canvas) {
	x := c.Center().X
	c.StrokeLine2(m.style, x, c.Min.Y, x, c.Max.Y)
}

func face(size float64, strong bool) font.Font {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
	if strong {
		f.Weight = 2 // bold
	}
	return f
}

// patch is the thumbnail of an area.
type patch struct{ color.Color }

func (t patch) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(t.Color, []vg.Point{c.Min, {X: c.Min.X, Y: c.Max.Y}, c.Max, {X: c.Max.X, Y: c.Min.Y}})
}

func legend(r *record.Record) plot.Legend {
	l := plot.NewLegend()
	l.Top, l.Left, l.Padding = true, true, 4
	l.TextStyle.Font, l.TextStyle.Color = face(textSize, false), ink
	l.ThumbnailWidth = 18
	most := 0
	for _, run := range r.Runs {
		most = max(most, len(run.Generations))
	}
	for g := 1; g <= most; g++ {
		l.Add(fmt.Sprintf("generation %d", g), patch{colourOf(g)})
	}
	l.Add("failed", patch{red})
	l.Add("new binary, USR2", marker{style: usr2})
	return l
}

// caption says what was measured.
func caption(r *record.Record) string {
	text := fmt.Sprintf("the grace demo, unmodified; %d keep-alive and %d fresh requests a second, %d slow ones of %.0f s in flight; %d CPUs, Linux %s",
		r.Load.KeepAlive, r.Load.Fresh, r.Load.Slow, r.Load.SlowSeconds, r.CPUs, r.Kernel)
	if n := r.Runs[0].Crossed; n > 0 {
		text += fmt.Sprintf("; %d crossed the app's close of an idle connection", n)
	}
	return text
}

func picture(r *record.Record, file string) error {
	if len(r.Runs) == 0 {
		return errors.New("the record is empty")
	}
	svg := vgsvg.New(pictureWidth, pictureHeight)
	all := draw.New(svg)
	all.FillPolygon(color.White, []vg.Point{{}, {X: pictureWidth}, {X: pictureWidth, Y: pictureHeight}, {Y: pictureHeight}})

	first := &r.Runs[0]
	title := draw.TextStyle{Font: face(textSize+4, true), Color: ink, Handler: plot.DefaultTextHandler, YAlign: draw.YCenter}
	all.FillText(title, vg.Point{X: 12, Y: pictureHeight - 20},
		fmt.Sprintf("%d upgrades in place under load: %d of %d requests failed", len(triggers(first)), first.Failed, first.Requests))
	small := title
	small.Font, small.Color = face(textSize-1, false), grey
	all.FillText(small, vg.Point{X: 12, Y: pictureHeight - 40}, caption(r))

	panels, _ := areas(r)
	rows := make([][]*plot.Plot, len(panels))
	for i, p := range panels {
		rows[i] = []*plot.Plot{p}
	}
	below := draw.Crop(all, 0, -legendWidth, 0, -headHeight)
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: 14, PadLeft: 10, PadRight: 6, PadBottom: 8}
	for i, row := range plot.Align(rows, tiles, below) {
		panels[i].Draw(row[0])
	}
	l := legend(r)
	l.Draw(draw.Crop(all, pictureWidth-legendWidth+8, -4, 0, -headHeight-20))

	f, err := os.Create(file)
	if err != nil {
		return err
	}
	// Where the font is missing the next best one has the same widths.
	var text bytes.Buffer
	if _, err = svg.WriteTo(&text); err == nil {
		_, err = f.Write(bytes.ReplaceAll(text.Bytes(), []byte("font-family:Liberation Sans;"),
			[]byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif;")))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
