package top

import "strings"

// drawHelp shows the keys, in two columns if the screen is wide.
func (m *Model) drawHelp(c *canvas) {
	c.line(bold, "hapressure top: keys. Down and up scroll, any other key closes this.")
	c.line(plain, "")
	width, columns := c.width, 1
	if c.width >= 2*helpWidth {
		width, columns = helpWidth, 2
	}
	lines := help()
	each := max(1, c.rest())
	lines = lines[min(m.scroll, max(0, len(lines)-each*columns)):]
	for i, text := range lines[:min(len(lines), each*columns)] {
		style := bold
		if strings.HasPrefix(text, " ") {
			style = plain
		}
		c.part(i/each*width, c.y+i%each, width-1, 1).line(style, text)
	}
}

// helpWidth is the width of a column of the help.
const helpWidth = 84
