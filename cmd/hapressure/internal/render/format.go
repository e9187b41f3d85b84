// Package render writes the data that the daemon answers as text for a terminal.
package render

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"hapressure/policy"
)

// Size formats bytes in the largest unit that keeps three digits.
func Size(b uint64) string {
	switch {
	case b >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(b)/(1<<30))
	case b >= 10<<20:
		return fmt.Sprintf("%.0f MiB", float64(b)/(1<<20))
	}
	return fmt.Sprintf("%.0f KiB", float64(b)/(1<<10))
}

// Percent formats a reading in percent, "-" if it is absent.
func Percent(r policy.Reading) string {
	if r.Absent != "" {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", r.Value)
}

// Known formats a value, "-" if there is none.
func Known[T any](v *T, format func(T) string) string {
	if v == nil {
		return "-"
	}
	return format(*v)
}

// or0 returns a value, 0 if there is none.
func or0[T any](v *T) (zero T) {
	if v == nil {
		return zero
	}
	return *v
}

// Since formats the time from then to now.
func Since(now, then time.Time) string { return Span(max(0, now.Sub(then)).Seconds()) }

// Span formats seconds in the two largest units: 3d4h, 5m10s, 5m.
func Span(seconds float64) string {
	n := int(min(seconds, 1e9)) // 30 years: a limit that is never reached
	for _, unit := range []struct {
		of, next      int
		name, smaller string
	}{{86400, 3600, "d", "h"}, {3600, 60, "h", "m"}, {60, 1, "m", "s"}} {
		if n < unit.of {
			continue
		}
		text := strconv.Itoa(n/unit.of) + unit.name
		if rest := n % unit.of / unit.next; rest > 0 {
			text += strconv.Itoa(rest) + unit.smaller
		}
		return text
	}
	return strconv.Itoa(n) + "s"
}

// Printable quotes characters that a terminal would execute: names and errors come from
// other processes.
func Printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// Wrap breaks a text between words into lines of a width; 0 keeps its own lines. All
// lines but the first begin with indent spaces.
func Wrap(text string, width, indent int) string {
	var b strings.Builder
	at := indent
	for i, line := range strings.Split(text, "\n") {
		for j, word := range strings.Split(line, " ") {
			word = Printable(word)
			n := len([]rune(word))
			switch {
			case i == 0 && j == 0:
			case j == 0 || width > 0 && at+1+n > width:
				b.WriteString("\n" + strings.Repeat(" ", indent))
				at = indent
			default:
				b.WriteByte(' ')
				at++
			}
			b.WriteString(word)
			at += n
		}
	}
	return b.String()
}
