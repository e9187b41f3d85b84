package render

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"

	"hapressure/controller/status"
)

func Purges(out io.Writer, rows []status.Purge) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(out, "No worker is proven to be stopping: there is nothing to purge. 'hapressure workers' shows all there are.")
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GEN\tPID\tRESULT\tBEFORE\tAFTER\tHELD\tLAYOUT\tREASON")
	var freed, wouldFree uint64 // of one of them there is none: all rows are of a dry run, or none is
	for _, r := range rows {
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%.0f µs\t%s\t%s\n", r.Generation, r.PID, r.Result, Size(r.Before), Size(r.After), r.Held, cmp.Or(r.Layout, "-"), Printable(r.Reason))
		if r.Result == status.WouldPurge {
			wouldFree += r.Before
		}
		freed += r.Before - min(r.Before, r.After)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	text := Size(freed) + " freed"
	if wouldFree > 0 {
		text = "up to " + Size(wouldFree) + " would be freed"
	}
	_, err := fmt.Fprintln(out, text)
	return err
}
