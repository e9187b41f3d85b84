package trials

import (
	"fmt"
	"io"
	"strings"

	"hapressure/cmd/hapressure/internal/render"
)

// Print writes the figures of each test, and what is not as expected.
func Print(out io.Writer, r *Report) error {
	if len(r.Tests) == 0 {
		return nil // its mistakes are an error
	}
	of := "the built-in policy"
	if len(r.Policy) > 0 {
		of = strings.Join(r.Policy, ", ")
	}
	fmt.Fprintf(out, "%s of %s\n", r.File, of)
	rows := [][]string{{"RELOADS", "FAILED", "OOM KILLS", "CUT", "PEAK MIB", "OF"}}
	texts := []string{"TEST"}
	for i := range r.Tests {
		t := &r.Tests[i]
		rows = append(rows, t.Figures.row())
		result := "passed"
		if !t.Passed {
			result = "FAILED"
		}
		texts = append(texts, t.Name+" "+result)
	}
	if err := render.TextTable(out, rows, texts); err != nil {
		return err
	}
	for _, t := range r.Tests {
		for _, f := range t.Failures {
			fmt.Fprintln(out, f)
		}
	}
	_, err := fmt.Fprintln(out)
	return err
}

// row returns the figures as a row of a table. Those of recordings are not known.
func (f *Figures) row() []string {
	if f == nil {
		return []string{"-", "-", "-", "-", "-", "-"}
	}
	mib := func(bytes float64) string { return fmt.Sprintf("%.0f", bytes/(1<<20)) }
	return []string{fmt.Sprint(f.Reloads), fmt.Sprint(f.ReloadsFailed), fmt.Sprint(f.OOMKills),
		fmt.Sprint(f.ConnectionsCut), mib(f.PeakBytes), mib(f.LimitBytes)}
}
