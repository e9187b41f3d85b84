package top

import (
	"fmt"

	"github.com/gdamore/tcell/v2"
)

const (
	// margin is that of the names of thresholds right of plots, on a wide screen.
	margin = 24
	// wide is the width from which on there is a margin.
	wide = 120
)

// plotWidth returns the columns of a plot on a screen.
func plotWidth(screen int) int {
	if screen >= wide {
		screen -= margin
	}
	return max(0, screen-gutter)
}

// mark is a horizontal line in a plot.
type mark struct {
	at    float64
	name  string
	style tcell.Style
}

// plot draws values as bars, with an axis at the left and marks.
type plot struct {
	values []float64
	top    float64 // at the upper edge
	unit   func(float64) string
	marks  []mark
	style  func(x int) tcell.Style // of a column
}

// draw fills the canvas.
func (p plot) draw(c *canvas, name string) {
	ramp := blockRamp
	if c.ascii {
		ramp = asciiRamp
	}
	for y, line := range bars(p.values, p.top, c.height, ramp) {
		for x, r := range line {
			c.set(gutter+x, y, r, p.style(x))
		}
	}
	p.axis(c, name)
	if c.height < 3 {
		return
	}
	for y, m := range p.rows(c.height) {
		p.mark(c, y, m)
	}
}

// line returns the line of a share of the height.
func line(height int, share float64) int { return max(0, height-1-int(share*float64(height))) }

// axis writes values from the upper edge to the bottom.
func (p plot) axis(c *canvas, name string) {
	write := func(y int, text string) { c.put(0, y, dim, fmt.Sprintf("%*s", gutter-1, text)) }
	if c.height >= 6 {
		for _, share := range []float64{0.25, 0.5, 0.75} {
			write(line(c.height, share), p.unit(p.top*share))
		}
	}
	if c.height >= 3 {
		write(c.height-1, "0")
	}
	write(0, p.unit(p.top))
	c.put(0, min(c.height-1, 1), dim, name)
	if c.height == 1 {
		write(0, name+" "+p.unit(p.top))
	}
}

// mark draws one mark. In bars it is a line of the other colour, or another character.
func (p plot) mark(c *canvas, y int, m mark) {
	filled, within := blockRamp[len(blockRamp)-1], c.rule
	if c.ascii {
		filled, within = asciiRamp[len(asciiRamp)-1], '='
	}
	for x := range p.values {
		switch r, style := c.get(gutter+x, y); r {
		case ' ':
			c.set(gutter+x, y, c.dashes[x%2], m.style)
		case filled:
			c.set(gutter+x, y, within, style.Reverse(true))
		}
	}
	x := gutter + 1
	if end := gutter + len(p.values); end < c.width { // there is a margin
		x = end + 1
	}
	text := m.name + " " + p.unit(m.at)
	if len(text) > c.width-x {
		text = m.name
	}
	c.put(x, y, m.style, text)
}

// rows returns the marks by their lines. Those on the same line are one, at the lowest
// value and in the style of the harshest tier.
func (p plot) rows(height int) map[int]mark {
	rows := map[int]mark{}
	for _, m := range p.marks {
		if m.at <= 0 || m.at > p.top {
			continue
		}
		y := line(height, m.at/p.top)
		if on, ok := rows[y]; ok {
			m.name, m.at = on.name+", "+m.name, min(on.at, m.at)
		}
		rows[y] = m
	}
	return rows
}
