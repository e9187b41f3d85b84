package render

import (
	"io"

	"hapressure/controller/status"
)

// ModeText says what a mode permits, and why it is in force.
func ModeText(m status.Mode) string {
	text := "every action is performed"
	switch m.InForce {
	case "observe":
		text = "no action is performed"
	case "purge-only":
		text = "only actions that cut no connection are performed"
	}
	text += ": " + m.Why
	if m.InForce != m.Set {
		text += "; the mode is " + string(m.Set)
	}
	return text
}

// Modes writes a table of what is in force beside the policy.
func Modes(out io.Writer, s status.Steering) error {
	all := "all targets"
	if len(s.Targets) > 0 {
		all = "all others"
	}
	t := Table{Columns: []Column{{Title: "TARGET", Text: true}, {Title: "MODE", Text: true},
		{Title: "IN FORCE", Text: true}, {Title: "WHY", Text: true}}}
	for _, m := range append([]status.TargetMode{{Target: all, Mode: s.Mode}}, s.Targets...) {
		row := Cells(m.Target, string(m.Mode.Set), string(m.Mode.InForce), m.Mode.Why)
		t.Rows = append(t.Rows, row)
	}
	_, err := t.Print(out, Screen{})
	return err
}
