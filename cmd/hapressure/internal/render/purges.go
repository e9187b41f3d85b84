package render

import (
	"cmp"
	"fmt"
	"io"
	"strconv"

	"hapressure/controller/status"
)

// Purges prints the results of a manual purge.
func Purges(out io.Writer, purges []status.Purge) error {
	if len(purges) == 0 {
		_, err := fmt.Fprintln(out, "No worker is proven to be stopping: there is nothing to purge. 'hapressure workers' lists all workers.")
		return err
	}
	rows, texts := [][]string{{"GEN", "PID", "RESULT", "BEFORE", "AFTER", "HELD", "LAYOUT"}},
		[]string{"REASON"}
	var freed, wouldFree uint64 // one of them stays 0: a dry run concerns all workers
	for _, p := range purges {
		rows = append(rows, []string{strconv.Itoa(p.Generation), strconv.Itoa(p.PID), p.Result,
			Size(p.Before), Size(p.After),
			fmt.Sprintf("%.0f µs", p.Held), cmp.Or(p.Layout, "-")})
		texts = append(texts, p.Reason)
		if p.Result == status.WouldPurge {
			wouldFree += p.Before
		}
		freed += p.Before - min(p.Before, p.After)
	}
	if err := TextTable(out, rows, texts); err != nil {
		return err
	}
	text := Size(freed) + " freed"
	if wouldFree > 0 {
		text = "up to " + Size(wouldFree) + " would be freed"
	}
	_, err := fmt.Fprintln(out, text)
	return err
}
