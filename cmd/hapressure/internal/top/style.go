package top

import (
	"github.com/gdamore/tcell/v2"

	"hapressure/controller/status"
)

var (
	plain  = tcell.StyleDefault
	bold   = plain.Bold(true)
	dim    = plain.Dim(true)
	chosen = plain.Reverse(true)
	calm   = plain.Foreground(tcell.ColorGreen)
	mild   = plain.Foreground(tcell.ColorYellow)
	harsh  = plain.Foreground(tcell.ColorFuchsia)
	worst  = plain.Foreground(tcell.ColorRed)
)

// tierStyle returns the colour of a tier of a target. Tiers that are always entered are
// as calm as none. Digits and names show the tier as well.
func tierStyle(t status.Target, tier int) tcell.Style {
	first := 1 // of the tiers with thresholds
	if len(t.Thresholds) > 0 {
		first = t.Thresholds[0].Tier
	}
	switch {
	case tier < first:
		return calm
	case tier >= len(t.Tiers):
		return worst
	case tier == first:
		return mild
	}
	return harsh
}

// tierDigit returns a tier as one character.
func tierDigit(tier float64) rune {
	switch {
	case tier != tier:
		return ' '
	case tier == 0:
		return '.'
	}
	return rune('0' + min(int(tier), 9))
}
