package render

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"

	"hapressure/controller/status"
)

// results are the levels of the results of purges.
var results = map[string]Level{status.Purged: Good, status.Refused: Warning,
	status.Failed: Problem}

// Purges prints the results of a manual purge.
func Purges(out io.Writer, s Screen, purges []status.Purge) error {
	if len(purges) == 0 {
		_, err := fmt.Fprintln(out, "No worker is proven to be stopping: there is nothing to "+
			"purge. 'hapressure workers' lists all workers.")
		return err
	}
	t := Table{Columns: []Column{{Title: "GEN"}, {Title: "PID"}, {Title: "RESULT", Text: true},
		{Title: "BEFORE"}, {Title: "AFTER"}, {Title: "HELD"},
		{Title: "LAYOUT", Text: true, Yields: 1}, {Title: "REASON", Text: true, Yields: 2}}}
	var freed, wouldFree uint64 // one of them stays 0: a dry run concerns all workers
	for _, p := range purges {
		row := Cells(strconv.Itoa(p.Generation), strconv.Itoa(p.PID), p.Result, Size(p.Before),
			Size(p.After), fmt.Sprintf("%.0f µs", p.Held), cmp.Or(p.Layout, "-"), p.Reason)
		row[2].Level = results[p.Result]
		t.Rows = append(t.Rows, row)
		if p.Result == status.WouldPurge {
			wouldFree += p.Before
		}
		freed += p.Before - min(p.Before, p.After)
	}
	yielded, err := t.Print(out, s)
	if err != nil {
		return err
	}
	for _, p := range purges {
		if p.Reason != "" && slices.Contains(yielded, "REASON") {
			fmt.Fprintln(out, Wrap(fmt.Sprintf("%d: %s", p.PID, p.Reason), s.Width, 2))
		}
	}
	text := Size(freed) + " freed"
	if wouldFree > 0 {
		text = "up to " + Size(wouldFree) + " would be freed"
	}
	_, err = fmt.Fprintln(out, text)
	return err
}
