package top

import (
	"strings"
	"testing"

	"github.com/gdamore/tcell/v2"

	"hapressure/cmd/hapressure/internal/statustest"
)

// fuzzKeys are the keys that bytes press: letters press themselves.
var fuzzKeys = []string{"Up", "Down", "Left", "Right", "Enter", "Esc", "Tab", "Backtab", "PgUp",
	"PgDn", "Home", "End", "Backspace", "Space", "F1", "Insert"}

// FuzzKeys presses keys on screens of any size. Nothing may crash, and the chosen rows
// must exist.
func FuzzKeys(f *testing.F) {
	f.Add("\x04\x01\x01\x04pn/84\x04\x05\x05sSr?q", uint8(80), uint8(24), uint8(0))
	f.Add("\x03\x03eeEzzZ ++-][.,>\x0b\x0a\x04", uint8(200), uint8(60), uint8(1))
	f.Add("\x04m\x04\x04/\x0c\x0czz\x04d", uint8(40), uint8(8), uint8(2))
	f.Add("?jjk", uint8(39), uint8(7), uint8(3))
	f.Add("\x04", uint8(1), uint8(1), uint8(4))
	f.Add("\x04/\x00", uint8(3), uint8(0), uint8(5))
	f.Fuzz(func(t *testing.T, keys string, width, height, kind uint8) {
		if len(keys) > 50 {
			return
		}
		m := live()
		switch kind % 3 {
		case 1:
			m = replayed(t)
		case 2:
			m = New()
			m.learn(answer{status: statustest.Status(statustest.Blind(), statustest.Crowded(),
				statustest.Calm())}, statustest.Noon)
		}
		m.ASCII = kind&4 != 0
		s := tcell.NewSimulationScreen("UTF-8")
		if err := s.Init(); err != nil {
			t.Fatal(err)
		}
		defer s.Fini()
		s.SetSize(int(width), int(height))
		for _, r := range keys {
			e := tcell.NewEventKey(tcell.KeyRune, r, 0)
			if int(r) < len(fuzzKeys) {
				e = event(fuzzKeys[r])
			}
			m.key(e)
			m.draw(s, statustest.Noon)
			if rows := m.rows(); m.at < 0 || m.at >= max(1, len(rows)) ||
				len(rows) > 0 && rows[m.at].PID != m.pid {
				t.Fatalf("row %d of %d is chosen", m.at, len(rows))
			}
			if rows := m.listed(); m.row < 0 || m.row >= max(1, len(rows)) {
				t.Fatalf("target %d of %d is chosen", m.row, len(rows))
			}
		}
		s.Show()
		if text := shows(s); strings.ContainsFunc(text, func(r rune) bool {
			return r < ' ' && r != '\n' || m.ASCII && r > '~'
		}) {
			t.Errorf("the screen contains control characters: %q", text)
		}
	})
}
