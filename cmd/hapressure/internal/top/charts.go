package top

import (
	"fmt"
	"time"

	"github.com/gdamore/tcell/v2"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
)

// minCharts is the least height of charts.
const minCharts = 8

// charts draws the history of a target on the whole canvas: memory, tiers, pressure and
// the time. What precedes the first title.
func (m *Model) charts(c *canvas, t status.Target, what string) {
	w := window{m.status.At, spans[m.span], plotWidth(c.width)}
	tiers := w.spread(t.History, tier)
	byTier := func(x int) tcell.Style { return tierStyle(t, int(tiers[x])) }
	someValues, fullValues := w.spread(t.History, some), w.spread(t.History, full)
	const others = 4 // lines: two titles, the tiers, the time
	pressure := max(1, (c.rest()-others)/5)
	if peak(someValues, -1) < 0 && peak(fullValues, -1) < 0 { // unknown
		pressure = 1
	}
	memory := max(1, c.rest()-others-2*pressure)

	c.title(what + "memory " + render.Memory(t))
	plot{
		// Each moment has its own nearest limit.
		values: w.spread(t.History, share), top: 1,
		unit: func(share float64) string {
			return render.Size(uint64(share * float64(t.Limit.Bytes)))
		},
		marks: marks(t, memoryThresholds(t)), style: byTier,
	}.draw(c.cut(memory), "")
	c.put(0, c.y, dim, "tier")
	for x, v := range tiers {
		c.set(gutter+x, c.y, tierDigit(v), byTier(x))
	}
	c.y++
	c.title(fmt.Sprintf("pressure some %s, full %s over 10 s; %s, %s over 60 s",
		render.Percent(t.Some10), render.Percent(t.Full10), render.Percent(t.Some60),
		render.Percent(t.Full60)))
	m.pressure(c.cut(pressure), t, someValues, "some", byTier)
	m.pressure(c.cut(pressure), t, fullValues, "full", byTier)
	m.timeAxis(c, w)
}

// pressure draws one pressure in percent, to 10% at least: little pressure must look
// little.
func (m *Model) pressure(
	c *canvas, t status.Target, values []float64, of string, style func(int) tcell.Style,
) {
	lines := pressureThresholds(t, of)
	highest := peak(values, 10)
	for _, line := range lines {
		highest = max(highest, line.at)
	}
	plot{
		values: values, top: round(highest), marks: marks(t, lines), style: style,
		unit: func(v float64) string { return fmt.Sprintf("%.3g%%", v) },
	}.draw(c, of)
}

// round returns a round percentage that is not below one: its quarters are written on the
// axis.
func round(percent float64) float64 {
	for _, p := range []float64{10, 20, 40, 60, 80} {
		if percent <= p {
			return p
		}
	}
	return 100
}

// marks returns the lines of thresholds.
func marks(t status.Target, all []threshold) []mark {
	var lines []mark
	for _, h := range all {
		lines = append(lines, mark{h.at, t.Tiers[h.tier-1], tierStyle(t, h.tier)})
	}
	return lines
}

// timeAxis writes the time below charts: of a recording the clock's time, otherwise how
// long ago it was.
func (m *Model) timeAxis(c *canvas, w window) {
	for i := range 5 {
		back := w.span * time.Duration(4-i) / 4
		text := render.Span(back.Seconds()) + " ago"
		switch {
		case m.replays() && w.span > 24*time.Hour:
			text = w.until.Add(-back).Format("01-02 15:04")
		case m.replays():
			text = w.until.Add(-back).Format(time.TimeOnly)
		case back == 0:
			text = "now"
		}
		x := w.columns * i / 4
		x -= []int{0, len(text) / 2, len(text) / 2, len(text) / 2, len(text)}[i]
		if i%2 == 1 && w.columns < 60 || m.replays() && w.until.Add(-back).Before(m.travel.from) {
			continue
		}
		c.put(gutter+x, c.y, dim, text)
	}
	c.y++
}
