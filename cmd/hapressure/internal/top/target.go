package top

import (
	"fmt"
	"slices"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
	"hapressure/policy"
)

// The summary of a target has all lines from a height of tall on, and the most important
// ones below that of flat.
const (
	tall = 36
	flat = 16
)

// drawTarget draws a target: what it is, its charts, its workers or one of them in
// detail, and the last actions.
func (m *Model) drawTarget(c *canvas, t status.Target) {
	m.summary(c, t)
	m.seldom(c, t)
	rows := m.rows()
	actions := min(len(t.Actions), c.rest()/7)
	left := c.rest() - actions
	below := min(len(rows)+1, max(5, left/3))
	switch {
	case m.view == inWorker:
		below = max(5, left*2/3)
	case c.width >= 2*detailWidth && left >= 3*detailHeight:
		below = max(below, detailHeight)
	}
	if left-below >= minCharts {
		m.charts(c.cut(left-below), t, "")
	} else {
		c.label("memory", render.Memory(t), 1)
		below = c.rest() - actions
	}
	m.drawWorkers(c.cut(below), t, rows)
	for _, a := range slices.Backward(t.Actions[len(t.Actions)-actions:]) {
		c.line(plain, fmt.Sprintf("%-11s %s", render.Since(m.status.At, a.At)+" ago",
			render.Action(a)))
	}
}

// drawWorkers draws the workers, the chosen one in detail, or both if that fits.
func (m *Model) drawWorkers(c *canvas, t status.Target, rows []status.Worker) {
	w, ok := m.chosen()
	switch split := c.width - detailWidth; {
	case m.view == inWorker && ok:
		m.detail(c, t, w)
	case ok && split >= detailWidth && c.height >= detailHeight:
		table(c.part(0, 0, split-2, c.height), rows, m.columns(), m.workers, m.at)
		m.detail(c.part(split, 0, detailWidth, c.height), t, w)
	default:
		table(c, rows, m.columns(), m.workers, m.at)
	}
}

// summary writes what the target is.
func (m *Model) summary(c *canvas, t status.Target) {
	c.line(tierStyle(t, t.Tier).Bold(true),
		fmt.Sprintf("%s%s  %s", m.counted(t), t.Name, m.tierText(t)))
	because := 1
	if c.height >= tall {
		because = 2
	}
	if c.height >= flat {
		c.label("because", t.TierWhy, because)
		c.label("limit", t.Limit.Name, 1)
	}
	c.label("workers", render.WorkersSummary(t.Masters, t.Stopping), 1)
	if c.height < flat {
		return
	}
	if whys := render.Unknown(t); len(whys) > 0 {
		c.label(fmt.Sprintf("unknown %d", len(whys)), whys[0], because)
	}
}

// seldom writes what is seldom there, and on a tall screen what is less important.
func (m *Model) seldom(c *canvas, t status.Target) {
	for _, w := range t.Withheld {
		c.label("withheld", fmt.Sprintf("for %s: %s", render.Since(m.status.At, w.Since), w.Why), 1)
	}
	for _, r := range t.RoomRequests {
		c.label("make-room", fmt.Sprintf("a client waits for room for %s reloads, for %s, at most "+
			"%s more; %s", policy.FormatNumber(r.Reloads), render.Since(m.status.At, r.Since),
			render.Since(r.Until, m.status.At), r.By), 1)
	}
	if c.height < tall {
		return
	}
	c.label("left when", t.TierLeave, 2)
	if l := t.UsageLimit; l.Name != t.Limit.Name && l.Bytes > 0 {
		c.label("usage", fmt.Sprintf("%s of %s, the limit that is used most",
			render.Percent(t.Usage), l.Name), 1)
	}
	if t.Swap.Value > 0 {
		c.label("swap", render.Size(uint64(t.Swap.Value)), 1)
	}
}

// tierText returns the tier of a target, and since when it is in it.
func (m *Model) tierText(t status.Target) string {
	if !m.replays() {
		return render.Tier(t, m.status)
	}
	if t.TierSince == nil {
		return "tier " + tierText(t)
	}
	return fmt.Sprintf("tier %s, for %s", tierText(t), render.Since(m.status.At, *t.TierSince))
}

// counted says which of several targets is shown.
func (m *Model) counted(t status.Target) string {
	if n := len(m.status.Targets); n > 1 {
		return fmt.Sprintf("[%d/%d] ", m.index(t.Name)+1, n)
	}
	return ""
}
