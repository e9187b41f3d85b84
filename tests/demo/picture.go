package main

import (
	"cmp"
	"fmt"
	"html"
	"strings"
)

// Sizes of the picture, in pixels.
const (
	pictureWidth = 760
	labelWidth   = 250
	barWidth     = 360
	barHeight    = 16
	rowHeight    = 56
	firstRow     = 64
)

// picture draws the figures of two storms as an SVG: a pair of bars for each figure.
func picture(title string, without, with report) string {
	var b strings.Builder
	height := firstRow + len(figures)*rowHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="14">
<title>%s: without and with hapressure</title>
<rect width="100%%" height="100%%" fill="#fff"/>
`, pictureWidth, height, html.EscapeString(title))
	legend := func(x int, color, text string) {
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"20\" width=\"14\" height=\"14\" fill=\"%s\"/><text x=\"%d\" y=\"32\">%s</text>\n",
			x, color, x+22, text)
	}
	legend(labelWidth, "#c0392b", "without hapressure")
	legend(labelWidth+200, "#2e86c1", "with hapressure")
	for i, f := range figures {
		y := firstRow + i*rowHeight
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labelWidth-14,
			y+barHeight+4, html.EscapeString(f.name))
		most := cmp.Or(max(f.size(without), f.size(with)), 1)
		for j, r := range []report{without, with} {
			width := f.size(r) * barWidth / most
			top := y + j*(barHeight+2)
			fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
				labelWidth, top, max(width, 1), barHeight, []string{"#c0392b", "#2e86c1"}[j],
				labelWidth+width+8, top+barHeight-3, html.EscapeString(f.text(r)))
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
