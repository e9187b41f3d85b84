package top

import (
	"strings"
	"unicode/utf8"

	"github.com/gdamore/tcell/v2"

	"hapressure/cmd/hapressure/internal/render"
)

// gutter is the width of the labels at the left edge, in columns.
const gutter = 10

// canvas is a part of the screen that is written from top to bottom.
type canvas struct {
	screen              tcell.Screen
	left, top           int
	width, height       int
	y                   int // the line that is written next
	ascii               bool
	mono                bool // no colours: the screen would show those as reverse video
	ellipsis, rule, bar rune
	dashes              [2]rune // of a threshold, in even and odd columns
}

func newCanvas(s tcell.Screen, ascii bool) *canvas {
	width, height := s.Size()
	c := canvas{screen: s, width: width, height: height, ascii: ascii, mono: s.Colors() == 0,
		ellipsis: '…', rule: '─', bar: '█', dashes: [2]rune{'┄', '┄'}}
	if ascii {
		c.ellipsis, c.rule, c.bar, c.dashes = '~', '-', '#', [2]rune{'-', ' '}
	}
	return &c
}

// part returns the part of the canvas from a place on. It may lie outside.
func (c *canvas) part(x, y, width, height int) *canvas {
	p := *c
	p.left, p.top, p.y = c.left+x, c.top+y, 0
	p.width, p.height = max(0, min(width, c.width-x)), max(0, min(height, c.height-y))
	return &p
}

// cut takes the next lines as a part of their own.
func (c *canvas) cut(height int) *canvas {
	p := c.part(0, c.y, c.width, height)
	c.y += p.height
	return p
}

// rest returns how many lines are left.
func (c *canvas) rest() int { return max(0, c.height-c.y) }

// set sets one cell.
func (c *canvas) set(x, y int, r rune, style tcell.Style) {
	if x >= 0 && x < c.width && y >= 0 && y < c.height {
		c.screen.SetContent(c.left+x, c.top+y, r, nil, c.shown(style))
	}
}

// shown returns a style as this screen can show it.
func (c *canvas) shown(style tcell.Style) tcell.Style {
	if c.mono {
		return style.Foreground(tcell.ColorDefault)
	}
	return style
}

// get returns one cell that set has set.
func (c *canvas) get(x, y int) (rune, tcell.Style) {
	text, style, _ := c.screen.Get(c.left+x, c.top+y)
	r, _ := utf8.DecodeRuneInString(text)
	return r, style
}

// put writes a text at a place. If it is too long it ends in an ellipsis.
func (c *canvas) put(x, y int, style tcell.Style, text string) {
	if y < 0 || y >= c.height || x >= c.width {
		return
	}
	text = c.printable(text)
	if r := []rune(text); len(r) > c.width-x {
		text = string(r[:c.width-x-1]) + string(c.ellipsis)
	}
	c.screen.PutStrStyled(c.left+x, c.top+y, text, c.shown(style))
}

// line writes one line.
func (c *canvas) line(style tcell.Style, text string) {
	c.put(0, c.y, style, text)
	c.y++
}

// label writes a label and a text in at most that many lines. It leaves out an empty
// text.
func (c *canvas) label(label, text string, lines int) {
	if text == "" {
		return
	}
	wrapped := strings.Split(render.Wrap(text, c.width-gutter, 0), "\n")
	if len(wrapped) > lines { // the last one ends in an ellipsis
		wrapped = append(wrapped[:lines-1], strings.Join(wrapped[lines-1:], " "))
	}
	for i, line := range wrapped {
		if i == 0 {
			c.put(0, c.y, dim, label)
		}
		c.put(gutter, c.y, plain, line)
		c.y++
	}
}

// title writes a text in a rule.
func (c *canvas) title(text string) {
	text = " " + text + " "
	c.put(0, c.y, dim, strings.Repeat(string(c.rule), max(0, c.width)))
	c.put(2, c.y, bold, text)
	c.y++
}

// asciiFor has the replacements of characters that this program writes.
var asciiFor = strings.NewReplacer("µ", "u", "×", "x", "…", "~", "▼", "v", "▲", "^", "▶", ">",
	"↑↓", "Up/Down", "←→", "Left/Right")

// printable returns a text as this screen can show it. Names and errors come from other
// processes.
func (c *canvas) printable(text string) string {
	text = render.Printable(text)
	if !c.ascii {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, asciiFor.Replace(text))
}
