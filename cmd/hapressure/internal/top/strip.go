package top

import (
	"fmt"
	"time"
)

// strip writes where in the recording the screen is: the tiers from its start to its end,
// with the place in them.
func (m *Model) strip(c *canvas) {
	clock := time.TimeOnly
	if m.travel.to.Sub(m.travel.from) >= 24*time.Hour {
		clock = "01-02 15:04"
	}
	left := fmt.Sprintf("%s %s ", m.date(m.travel.at), m.travel.state())
	c.put(0, c.y, bold, left)
	from, to := m.travel.from.Format(clock)+" ", " "+m.travel.to.Format(clock)
	x := len([]rune(left)) + len(from)
	w := window{m.travel.to, max(1, m.travel.to.Sub(m.travel.from)), c.width - x - len(to)}
	if w.columns < 10 {
		c.y++
		return
	}
	c.put(x-len(from), c.y, dim, from)
	t, _ := m.shown()
	for i, v := range w.spread(m.recording.Moments(m.target), tier) {
		c.set(x+i, c.y, tierDigit(v), tierStyle(t, int(v)))
	}
	at := max(0, min(int(w.column(m.travel.at)), w.columns-1))
	r, style := c.get(x+at, c.y)
	c.set(x+at, c.y, r, style.Reverse(true))
	c.put(c.width-len(to), c.y, dim, to)
	c.y++
}

// date returns a time of the recording. The date of a simulation has no meaning.
func (m *Model) date(at time.Time) string {
	if at.UTC().Year() <= 1970 {
		return at.UTC().Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}
