package top

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// task is what a key begins beside the loop. It returns the next note.
type task func(context.Context) string

// binding is what some keys do.
type binding struct {
	keys string // as keyName calls them, separated by spaces
	do   func(*Model) task
}

// helpLine is a line of the help.
type helpLine struct {
	what     string
	bindings []binding
}

// section is a group of keys that work under the same condition.
type section struct {
	title string
	when  func(*Model) bool
	lines []helpLine
}

// sections has all keys. If a key stands in several, the first that applies counts.
var sections = []section{
	{"Time travel (--replay)", (*Model).replays, []helpLine{
		{"one sample forward, back", []binding{
			{"Right t", do(func(m *Model) { m.jump(m.samples(), 1) })},
			{"Left T", do(func(m *Model) { m.jump(m.samples(), -1) })},
		}},
		{"a minute forward, back", []binding{
			{". >", do(func(m *Model) { m.travelBy(time.Minute) })},
			{", <", do(func(m *Model) { m.travelBy(-time.Minute) })},
		}},
		{"an hour forward, back", []binding{
			{"]", do(func(m *Model) { m.travelBy(time.Hour) })},
			{"[", do(func(m *Model) { m.travelBy(-time.Hour) })},
		}},
		{"to the next, previous change of tier or action", []binding{
			{"e", do(func(m *Model) { m.jump(m.events(), 1) })},
			{"E", do(func(m *Model) { m.jump(m.events(), -1) })},
		}},
		{"to the start, the end", []binding{
			{"Home", do(func(m *Model) { m.travelTo(m.travel.from) })},
			{"End", do(func(m *Model) { m.travelTo(m.travel.to) })},
		}},
		{"play, pause", []binding{{"Space", do((*Model).play)}}},
		{"play faster, slower", []binding{
			{"+ =", do(func(m *Model) { m.speed(1) })},
			{"-", do(func(m *Model) { m.speed(-1) })},
		}},
		{"charts of more time, of less", []binding{
			{"z", do(func(m *Model) { m.zoom(1) })},
			{"Z", do(func(m *Model) { m.zoom(-1) })},
		}},
	}},
	{"In a target", func(m *Model) bool { return m.view != inOverview }, []helpLine{
		{"the next target, the previous one", []binding{
			{"Tab Right", do(func(m *Model) { m.turn(1) })},
			{"Backtab Left", do(func(m *Model) { m.turn(-1) })},
		}},
		{"sort by generation, cache, connections, age", []binding{
			{"g", do(func(m *Model) { m.sortWorkers(byGeneration) })},
			{"c", do(func(m *Model) { m.sortWorkers(byCache) })},
			{"n", do(func(m *Model) { m.sortWorkers(byConnections) })},
			{"a", do(func(m *Model) { m.sortWorkers(byAge) })},
		}},
		{"columns of memory by kind, or of states", []binding{
			{"m", do((*Model).switchColumns)},
		}},
		{"dry run: what a purge of the chosen worker would free", []binding{
			{"d", func(m *Model) task { return m.beginPurge(true) }},
		}},
		{"purge its TLS session cache, after confirmation", []binding{
			{"p", func(m *Model) task { return m.beginPurge(false) }},
		}},
	}},
	{"Everywhere", func(*Model) bool { return true }, []helpLine{
		{"choose a row", []binding{
			{"Up k", do(func(m *Model) { m.choose(-1) })},
			{"Down j", do(func(m *Model) { m.choose(1) })},
		}},
		{"ten rows up, down", []binding{
			{"PgUp", do(func(m *Model) { m.choose(-10) })},
			{"PgDn", do(func(m *Model) { m.choose(10) })},
		}},
		{"the first row, the last one (without --replay)", []binding{
			{"Home", do(func(m *Model) { m.choose(-allRows) })},
			{"End", do(func(m *Model) { m.choose(allRows) })},
		}},
		{"open the chosen target, then the chosen worker", []binding{
			{"Enter", do((*Model).open)},
		}},
		{"back; first it ends a filter", []binding{{"Esc", do((*Model).back)}}},
		{"filter the rows: a text, then Enter or Esc", []binding{
			{"/", do((*Model).beginFilter)},
		}},
		{"sort by the next column, the previous one", []binding{
			{"s", do(func(m *Model) { m.sort(1) })},
			{"S", do(func(m *Model) { m.sort(-1) })},
		}},
		{"reverse the order", []binding{{"r", do((*Model).reverse)}}},
		{"show the keys", []binding{{"?", do(func(m *Model) { m.help, m.scroll = true, 0 })}}},
		{"quit", []binding{{"q Ctrl-C", do(func(m *Model) { m.quit = true })}}},
	}},
}

// allRows is more than a table has.
const allRows = 1 << 20

// do makes a binding of what begins no task.
func do(f func(*Model)) func(*Model) task {
	return func(m *Model) task {
		f(m)
		return nil
	}
}

// Keys describes the keys, indented as a block of code in Markdown.
func Keys() string {
	var b strings.Builder
	for _, text := range help() {
		b.WriteString(strings.TrimRight("    "+text, " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// help returns the lines about the keys. The keys for everything come first.
func help() []string {
	var text []string
	for _, i := range []int{2, 1, 0} {
		text = append(text, sections[i].title)
		for _, l := range sections[i].lines {
			var keys []string
			for _, b := range l.bindings {
				keys = append(keys, strings.Fields(b.keys)...)
			}
			text = append(text, fmt.Sprintf("  %-22s %s", strings.Join(keys, " "), l.what))
		}
	}
	return text
}
