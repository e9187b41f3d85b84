package render

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"hapressure/policy"
)

// Size shows bytes in the unit that people read best.
func Size(b uint64) string {
	switch {
	case b >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(b)/(1<<30))
	case b >= 10<<20:
		return fmt.Sprintf("%.0f MiB", float64(b)/(1<<20))
	}
	return fmt.Sprintf("%.0f KiB", float64(b)/(1<<10))
}

func or0[T any](v *T) (zero T) {
	if v == nil {
		return zero
	}
	return *v
}

func Percent(r policy.Reading) string {
	if r.Absent != "" {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", r.Value)
}

func Since(now, then time.Time) string { return Span(max(0, now.Sub(then)).Seconds()) }

// Printable quotes what a terminal would take for a command: names and error texts come from outside.
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

// Wrap makes lines of a text that may itself have several, broken between words at width where that is not 0. All but the first begin with
// indent spaces.
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

func Known[T any](v *T, show func(T) string) string {
	if v == nil {
		return "-"
	}
	return show(*v)
}

// Span shows seconds in the two largest units: 3d4h, 5m10s, 5m.
func Span(seconds float64) string {
	n := int(min(seconds, 1e9)) // a limit that is never reached is far enough away in 30 years
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
