package render

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"hapressure/policy"
)

// Event is an entry of the journal.
type Event struct {
	At            time.Time
	Kind, Message string
	Priority      int // of syslog(3); 0 is unknown
}

func (e Event) level() Level {
	switch {
	case e.Priority == 0 || e.Priority == 5:
		return Plain
	case e.Priority <= 3:
		return Problem
	case e.Priority == 4:
		return Warning
	}
	return Minor
}

// Print prints an event in a line. On a terminal it has the short time of journalctl(1).
// It reports whether the line was cut.
func (e Event) Print(out io.Writer, s Screen) (cut bool, err error) {
	at := time.RFC3339
	if s.Terminal {
		at = time.Stamp
	}
	// An event may quote text of other processes, which a terminal might execute.
	words := strings.FieldsFunc(e.Message, func(r rune) bool { return !unicode.IsGraphic(r) })
	text := e.At.Format(at) + " " + strings.Join(words, " ")
	_, err = fmt.Fprintln(out, s.Line(e.level(), text))
	return s.Cut(text), err
}

// MostEvents bounds the events of which a summary is made.
const MostEvents = 10_000

// EventsSummary counts events by their kind, the most frequent first.
func EventsSummary(s Screen, events []Event) string {
	if len(events) == 0 {
		return "No entries."
	}
	count, worst := map[string]int{}, Minor
	for _, e := range events {
		count[e.Kind]++
		worst = max(worst, e.level())
	}
	kinds := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b))
	})
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", count[kind], kind)
	}
	text := fmt.Sprintf("%s since %s: %s", policy.Count(len(events), "entry"),
		events[0].At.Format(time.Stamp), strings.Join(kinds, ", "))
	if len(events) == MostEvents {
		text = "The first " + text
	}
	return s.Line(worst, text)
}
