package systemd

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A Formatter formats an entry as text that ends with a newline.
type Formatter func(at time.Time, e Entry) string

// FormatFields formats an entry as one line with its fields:
//
//	2026-01-02T15:04:05Z tier purge entered TIER=purge WHY="usage 83% > 70%"
func FormatFields(at time.Time, e Entry) string {
	var b strings.Builder
	b.WriteString(at.Format(time.RFC3339) + " " + strings.ReplaceAll(e.Message, "\n", " "))
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		value := e.Fields[name]
		if value == "" || strings.ContainsFunc(value, needsQuotes) {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, " %s=%s", name, value)
	}
	return b.String() + "\n"
}

func needsQuotes(r rune) bool {
	return r <= ' ' || r == '"' || r == '=' || r == '\\' || !strconv.IsPrint(r)
}

// FormatMessage formats an entry for a person at a terminal: the time, whether it is a
// warning or an error, and the message. Characters that a terminal would execute are
// replaced.
//
//	2026-01-02 15:04:05 warning: cannot read pressure of haproxy.service
func FormatMessage(at time.Time, e Entry) string {
	text := strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, e.Message)
	switch LevelOf(e.Priority) {
	case "error":
		text = "error: " + text
	case "warning":
		text = "warning: " + text
	}
	return at.Format(time.DateTime) + " " + strings.ReplaceAll(text, "\n", "\n  ") + "\n"
}

// LevelOf names the priority of an [Entry].
func LevelOf(priority int) string {
	switch {
	case priority == 0 || priority == 6:
		return "info"
	case priority == 7:
		return "debug"
	case priority == 5:
		return "notice"
	case priority == 4:
		return "warning"
	}
	return "error"
}
