package plot

// Bars is a diagram of one figure: a horizontal bar for each subject.
type Bars struct {
	Title string
	Unit  string
	Log   bool // a logarithmic axis, for values of several magnitudes; its bars begin nowhere in particular
	Bars  []Bar
	Goal  float64 // drawn as a line; 0 if there is none
}

// Bar is one of them.
type Bar struct {
	Label     string
	Value     float64
	Low, High float64 // the whisker, if it has a length
	Note      string  // in the place of a bar, if there is no value
	Ours      bool    // one of those that this is about
}

const (
	barHeight, barGap = 15.0, 7.0
	axisHeight        = 20.0
	valueRoom         = 62.0 // behind the longest bar, for its value
)

func (b Bars) height() float64 {
	return headHeight + float64(len(b.Bars))*(barHeight+barGap) + axisHeight
}

func (b Bars) draw(c *canvas, x, y, width float64) {
	title := b.Title
	if b.Unit != "" {
		title += ", " + b.Unit
	}
	c.heading(x, y, title)
	labels := 0.0
	values := []float64{b.Goal}
	for _, bar := range b.Bars {
		labels = max(labels, textWidth*float64(len([]rune(bar.Label)))+8)
		if bar.Note == "" {
			values = append(values, bar.Value, bar.High, bar.Low)
		}
	}
	a := newAxis(b.Log, values...)
	a.from, a.to = x+labels, x+width-valueRoom
	top, bottom := y+headHeight, y+b.height()-axisHeight
	for _, v := range a.ticks() {
		c.line("grid", a.at(v), top, a.at(v), bottom)
		c.text("dim", "middle", a.at(v), bottom+textSize+3, tick(v))
	}
	start := a.from
	if !b.Log {
		start = a.at(0)
	}
	for i, bar := range b.Bars {
		at := top + float64(i)*(barHeight+barGap) + barGap/2
		base := at + barHeight - 3
		c.text("ink", "end", a.from-6, base, bar.Label)
		if bar.Note != "" {
			c.text("dim", "start", a.from+4, base, bar.Note)
			continue
		}
		class := "s1"
		if bar.Ours {
			class = "s0"
		}
		end := a.at(bar.Value)
		c.rect(class, min(start, end), at, max(start, end)-min(start, end), barHeight)
		room := max(end, start)
		if bar.High > bar.Low {
			low, high, middle := a.at(bar.Low), a.at(bar.High), at+barHeight/2
			c.line("rule", low, middle, high, middle)
			c.line("rule", low, middle-4, low, middle+4)
			c.line("rule", high, middle-4, high, middle+4)
			room = max(room, high)
		}
		c.text("ink", "start", room+5, base, Value(bar.Value))
	}
	if b.Goal > 0 {
		c.line("goal", a.at(b.Goal), top-2, a.at(b.Goal), bottom+2)
		c.text("goaltext", "end", x+width, y+textSize, "goal "+Value(b.Goal))
	}
}
