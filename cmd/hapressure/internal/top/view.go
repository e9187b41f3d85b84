package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
)

// gutter is the width of the labels left of the charts, in columns.
const gutter = 10

var (
	plain = tcell.StyleDefault
	bold  = plain.Bold(true)
	// tierStyles are by tier, from none; tiers beyond have the last. Digits show the tier
	// as well.
	tierStyles = []tcell.Style{plain.Foreground(tcell.ColorGreen),
		plain.Foreground(tcell.ColorYellow),
		plain.Foreground(tcell.ColorFuchsia), plain.Foreground(tcell.ColorRed)}
)

func tierStyle(tier int) tcell.Style { return tierStyles[max(0, min(tier, len(tierStyles)-1))] }

// page is a screen that is written from top to bottom.
type page struct {
	tcell.Screen
	width, y int
}

// line writes one line. If it is too long it ends in dots.
func (p *page) line(style tcell.Style, text string) {
	if r := []rune(render.Printable(text)); len(r) > p.width {
		text = string(r[:max(0, p.width-3)]) + "..."
	} else {
		text = string(r)
	}
	p.PutStrStyled(0, p.y, text, style)
	p.y++
}

// text writes a text in several lines.
func (p *page) text(text string) {
	for line := range strings.Lines(render.Wrap(text, p.width, 0)) {
		p.line(plain, strings.TrimRight(line, "\n"))
	}
}

// draw draws the model as of now, on a screen of any size.
func (m *Model) draw(s tcell.Screen, now time.Time) {
	s.Clear()
	width, height := s.Size()
	p := &page{s, width, 0}
	switch {
	case m.help:
		for _, line := range strings.Split(Keys, "\n") {
			p.line(plain, line)
		}
		p.line(plain, "")
		p.line(plain, "    any key closes this")
	case m.heard.IsZero() && m.err != nil:
		p.text(m.err.Error())
		p.text("Retrying every second. 'hapressure doctor' checks this host and prints what to do; q quits.")
	case m.heard.IsZero():
		p.line(plain, "hapressure top: waiting for the status...")
	case len(m.status.Targets) == 0:
		p.line(plain, "No target of the policy is running.")
	default:
		m.drawTarget(p, height-2)
	}
	p.y = height - 2
	note := m.note
	if m.err != nil && !m.heard.IsZero() {
		note = cmp.Or(note, fmt.Sprintf("%v; retrying", m.err))
	}
	note = cmp.Or(note, m.unread)
	p.line(bold, note)
	p.line(plain.Reverse(true), fmt.Sprintf("%-*s", width, m.footer(now)))
}

func (m *Model) footer(now time.Time) string {
	text := "q quit  ? keys  Tab target  up/down row  gcna sort  m memory  d dry run  p purge"
	switch age := now.Sub(m.heard); {
	case m.heard.IsZero():
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

// drawTarget draws the target down to the line above bottom.
func (m *Model) drawTarget(p *page, bottom int) {
	t := m.status.Targets[m.shown()]
	title := fmt.Sprintf("%s  %s", t.Name, render.Tier(t, m.status))
	if n := len(m.status.Targets); n > 1 {
		title = fmt.Sprintf("[%d/%d] %s", m.shown()+1, n, title)
	}
	p.line(tierStyle(t.Tier).Bold(true), title)
	line := func(label, text string) {
		if text != "" {
			p.line(plain, fmt.Sprintf("%*s%s", -gutter, label, text))
		}
	}
	line("because", t.TierWhy)
	line("memory", render.Memory(t))
	line("limit", t.Limit.Name)
	line("workers", render.WorkersSummary(t.Masters, t.Stopping))
	if whys := render.Unknown(t); len(whys) > 0 {
		line(fmt.Sprintf("unknown %d", len(whys)), whys[0])
	}
	workers := m.workers()
	left := max(0, bottom-p.y-1) // the charts and the actions share what the workers leave
	actions := min(len(t.Actions), left/7)
	left -= actions
	if rows := min(len(workers), max(4, left/3)); left-rows >= 8 {
		m.charts(p, t, left-rows)
	}
	m.drawWorkers(p, workers, bottom-actions-p.y)
	p.y = max(p.y, bottom-actions)
	for _, a := range slices.Backward(t.Actions[len(t.Actions)-actions:]) {
		p.line(plain, fmt.Sprintf("%-11s %s", render.Since(m.status.At, a.At)+" ago",
			render.Action(a)))
	}
}

// charts draws the history in height lines: memory, pressure, the tier and the time.
func (m *Model) charts(p *page, t status.Target, height int) {
	n := p.width - gutter
	get := func(read func(status.Moment) float64) []float64 {
		return columns(t.History, m.status.At,
			n, read)
	}
	tiers := get(func(o status.Moment) float64 { return float64(o.Tier) })
	some := get(func(o status.Moment) float64 { return number(o.Some) })
	full := get(func(o status.Moment) float64 { return number(o.Full) })
	small := max(1, height/10)
	high := min(height-3-2*small, 16)
	// Each moment has its own nearest limit.
	used := get(func(o status.Moment) float64 { return float64(o.Used) / float64(o.Limit) })
	m.chart(p, "100%", used, 1, high, tiers)
	line := strings.Builder{}
	for _, tier := range tiers {
		switch {
		case tier != tier:
			line.WriteByte(' ')
		case tier == 0:
			line.WriteByte('.')
		default:
			fmt.Fprintf(&line, "%d", min(int(tier), 9))
		}
	}
	p.line(plain, fmt.Sprintf("%*s%s", -gutter, "tier", line.String()))
	// in percent, 10 at least: little pressure must look little
	scale := max(peak(some, 10), peak(full, 10))
	p.line(plain, fmt.Sprintf("pressure  some %s, full %s over 10 s; %s, %s over 60 s; charted to %.0f%%",
		render.Percent(t.Some10), render.Percent(t.Full10), render.Percent(t.Some60),
		render.Percent(t.Full60), scale))
	m.chart(p, "some", some, scale, small, tiers)
	m.chart(p, "full", full, scale, small, tiers)
	p.line(plain, fmt.Sprintf("%*s%-*s%s", -gutter, "", n/2, "10m ago",
		fmt.Sprintf("%-*s%s", n-n/2-3, "5m", "now")))
}

// chart draws bars beside a label, in the colours of the tiers.
func (m *Model) chart(p *page, label string, values []float64, top float64, height int,
	tiers []float64) {
	ramp := blockRamp
	if m.ASCII {
		ramp = asciiRamp
	}
	p.PutStr(0, p.y, label)
	for _, line := range bars(values, top, height, ramp) {
		for x, r := range line {
			style := plain
			if tiers[x] == tiers[x] {
				style = tierStyle(int(tiers[x]))
			}
			p.SetContent(gutter+x, p.y, r, nil, style)
		}
		p.y++
	}
}

// drawWorkers draws the table in height lines, scrolled to the chosen worker.
func (m *Model) drawWorkers(p *page, workers []status.Worker, height int) {
	var b strings.Builder
	rows := render.WorkerTable(workers)
	if m.kinds {
		rows = render.MemoryTable(workers)
	}
	render.Table(&b, "  ", rows)
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	p.line(bold, lines[0])
	lines = lines[1:]
	from := max(0, min(m.at-(height-1)/2, len(lines)-(height-1)))
	for i, line := range lines[from:min(len(lines), from+max(0, height-1))] {
		style := plain
		if from+i == m.at {
			style, line = style.Reverse(true), ">"+line[1:]
		}
		p.line(style, line)
	}
}
