package top

import (
	"slices"
	"strings"
	"unicode"

	"github.com/gdamore/tcell/v2"
)

// keyName returns the name of a key: of a character, that character.
func keyName(e *tcell.EventKey) string {
	switch e.Key() {
	case tcell.KeyRune:
		if e.Rune() == ' ' {
			return "Space"
		}
		return string(e.Rune())
	case tcell.KeyBackspace, tcell.KeyBackspace2:
		return "Backspace"
	}
	return tcell.KeyNames[e.Key()]
}

// key handles a key. The caller runs the task in a goroutine.
func (m *Model) key(e *tcell.EventKey) task {
	name := keyName(e)
	if m.asking == nil && !m.busy {
		m.note = ""
	}
	switch {
	case name == "Ctrl-C":
		m.quit = true
		return nil
	case m.asking != nil:
		return m.confirm(name)
	case m.help:
		m.scrollHelp(name)
		return nil
	case m.typing:
		m.typed(name, e.Rune())
		return nil
	}
	for _, s := range sections {
		for _, l := range s.lines {
			for _, b := range l.bindings {
				if slices.Contains(strings.Fields(b.keys), name) && s.when(m) {
					return b.do(m)
				}
			}
		}
	}
	return nil
}

// scrollHelp handles a key while the help is shown.
func (m *Model) scrollHelp(name string) {
	steps, ok := map[string]int{"Up": -1, "k": -1, "Down": 1, "j": 1, "PgUp": -10, "PgDn": 10}[name]
	m.help = ok
	m.scroll = max(0, min(m.scroll+steps, len(help())-1))
}

// typed handles a key while a filter is typed.
func (m *Model) typed(name string, r rune) {
	l := m.listing()
	switch {
	case name == "Enter":
		m.typing = false
	case name == "Esc":
		m.typing, l.filter = false, ""
	case name == "Backspace" && l.filter != "":
		text := []rune(l.filter)
		l.filter = string(text[:len(text)-1])
	case len([]rune(name)) == 1 || name == "Space":
		if unicode.IsPrint(r) {
			l.filter += string(r)
		}
	}
	m.follow()
}
