package policy

import (
	"fmt"
	"strings"
	"time"
)

// FormatDuration formats a duration as in a policy file: 10m, not 10m0s.
func FormatDuration(v time.Duration) string {
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// FormatNumber formats a number with at most two digits after the point.
func FormatNumber(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}

// Count returns a number with its noun, which is in the plural unless the number is 1.
func Count[N int | uint64 | float64](n N, noun string) string {
	text := FormatNumber(float64(n)) + " " + noun
	switch {
	case n == 1:
		return text
	case strings.HasSuffix(noun, "ry"): // entry
		return strings.TrimSuffix(text, "y") + "ies"
	case strings.HasSuffix(noun, "ss"): // process
		return text + "es"
	}
	return text + "s"
}
