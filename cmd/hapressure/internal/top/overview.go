package top

import (
	"cmp"
	"fmt"
	"slices"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
	"hapressure/policy"
)

// drawOverview draws all targets, the chosen one's charts, and the last actions.
func (m *Model) drawOverview(c *canvas, t status.Target) {
	rows := m.listed()
	count := policy.Count(len(m.status.Targets), "target")
	if len(rows) != len(m.status.Targets) {
		count = fmt.Sprintf("%d of %s", len(rows), count)
	}
	c.title(count)
	height := min(len(rows)+1, max(4, c.rest()/2))
	if c.rest()-height < minCharts {
		height = c.rest()
	}
	table(c.cut(height), rows, targetColumns(m.status.At), m.targets, m.row)
	if c.rest() < minCharts || len(rows) == 0 {
		return
	}
	actions := m.lastActions(c.rest() / 4)
	m.charts(c.cut(c.rest()-len(actions)), t, t.Name+": ")
	for _, text := range actions {
		c.line(plain, text)
	}
}

// lastActions returns the last actions on all targets, the newest first.
func (m *Model) lastActions(n int) []string {
	type action struct {
		status.Action
		target string
	}
	var all []action
	for _, t := range m.status.Targets {
		for _, a := range t.Actions {
			all = append(all, action{a, t.Name})
		}
	}
	slices.SortStableFunc(all, func(a, b action) int { return b.At.Compare(a.At) })
	var lines []string
	for _, a := range all[:min(n, len(all))] {
		lines = append(lines, fmt.Sprintf("%-11s %s: %s", render.Since(m.status.At, a.At)+" ago",
			cmp.Or(a.target, "?"), render.Action(a.Action)))
	}
	return lines
}
