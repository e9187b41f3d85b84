package render

import (
	"io"
	"strings"
	"text/tabwriter"
)

// Table prints rows with their columns aligned to the right, where numbers are compared best.
func Table(out io.Writer, indent string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = Printable(cell)
		}
		io.WriteString(w, indent+strings.Join(row, "\t")+"\t\n")
	}
	return w.Flush()
}
