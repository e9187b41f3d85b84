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
	table := render.Table{Indent: "  ", Columns: []render.Column{{Title: "RELOADS"},
		{Title: "FAILED"},
		{Title: "OOM KILLS"}, {Title: "CUT"}, {Title: "PEAK MIB"}, {Title: "OF"},
		{Title: "TEST", Text: true}}}
	for i := range r.Tests {
		t := &r.Tests[i]
		result := "passed"
		if !t.Passed {
			result = "FAILED"
		}
		row := append(t.Figures.row(), t.Name+" "+result)
		table.Rows = append(table.Rows, render.Cells(row...))
	}
	if _, err := table.Print(out, render.Screen{}); err != nil {
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
