package top

import (
	"cmp"
	"fmt"
	"time"

	"github.com/gdamore/tcell/v2"

	"hapressure/cmd/hapressure/internal/render"
)

// The smallest screen that shows more than that it is too small.
const (
	minWidth  = 40
	minHeight = 8
)

// draw draws the model as of now, on a screen of any size.
func (m *Model) draw(s tcell.Screen, now time.Time) {
	s.Clear()
	c := newCanvas(s, m.ASCII)
	if c.width < minWidth || c.height < minHeight {
		c.line(plain, fmt.Sprintf("%dx%d is too small:", c.width, c.height))
		c.line(plain, fmt.Sprintf("%dx%d is needed.", minWidth, minHeight))
		c.line(plain, "q quits")
		return
	}
	if m.help {
		m.drawHelp(c)
		return
	}
	note, feet := m.noted(), 1
	if note != "" {
		feet++
	}
	if m.replays() {
		feet++
	}
	m.drawView(c.part(0, 0, c.width, c.height-feet))
	c.y = c.height - feet
	if m.replays() {
		m.strip(c)
	}
	if note != "" {
		c.line(bold, note)
	}
	c.line(chosen, fmt.Sprintf("%-*s", c.width, m.footer(now)))
}

// drawView draws what is between the upper edge and the feet of the screen.
func (m *Model) drawView(c *canvas) {
	t, ok := m.shown()
	switch {
	case m.heard.IsZero() && m.err != nil:
		c.label("", m.err.Error(), c.height)
		c.label("", "Retrying every second. 'hapressure doctor' checks this host and prints what "+
			"to do; q quits.", c.height)
	case m.loading != "":
		c.line(plain, "hapressure top: reading "+m.loading)
	case m.heard.IsZero():
		c.line(plain, "hapressure top: waiting for the status...")
	case !ok && m.replays():
		c.line(plain, "No target was recorded at this time.")
	case !ok:
		c.line(plain, "No target of the policy is running.")
	case m.view == inOverview:
		m.drawOverview(c, t)
	default:
		m.drawTarget(c, t)
	}
}

// noted returns the line above the footer.
func (m *Model) noted() string {
	note := m.note
	if m.typing {
		note = "/" + m.listing().filter + "_"
	}
	if m.err != nil && !m.heard.IsZero() {
		note = cmp.Or(note, fmt.Sprintf("%v; retrying", m.err))
	}
	if filter := m.listing().filter; filter != "" {
		note = cmp.Or(note, fmt.Sprintf("Only rows with %q are shown; Esc shows all.", filter))
	}
	return cmp.Or(note, m.unread)
}

// footer returns the most important keys, and before them what is wrong.
func (m *Model) footer(now time.Time) string {
	text := map[view]string{
		inOverview: "q quit  ? keys  ↑↓ choose  Enter open  s sort  / filter",
		inTarget:   "q quit  ? keys  Esc back  Enter details  s sort  / filter  m memory  p purge",
		inWorker:   "q quit  ? keys  ↑↓ another worker  Esc back  d dry run  p purge",
	}[m.view]
	if m.replays() {
		text = "q quit  ? keys  ←→ sample  , . minute  [ ] hour  e E event  Space play  z zoom"
	}
	switch age := now.Sub(m.heard); {
	case m.heard.IsZero():
		text = "q quit"
	case m.replays():
	case age > 5*time.Second:
		text = fmt.Sprintf("NO ANSWER FOR %s  %s", render.Span(age.Seconds()), text)
	case m.status.Daemon == nil:
		text = "NO DAEMON  " + text
	case m.status.Daemon.DryRun:
		text = "DRY RUN  " + text
	case m.status.Policy.Rejected != "":
		text = "POLICY REJECTED  " + text
	}
	return text
}
