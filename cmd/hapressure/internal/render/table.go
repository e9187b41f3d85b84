package render

import (
	"io"
	"strings"
	"text/tabwriter"
)

// Table prints rows with their columns aligned to the right, so that numbers line up.
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

// TextTable is Table with a text at the end of each row, which is aligned to the left.
func TextTable(out io.Writer, rows [][]string, texts []string) error {
	var b strings.Builder
	if err := Table(&b, "", rows); err != nil {
		return err
	}
	i := 0
	for line := range strings.Lines(b.String()) {
		line = strings.TrimRight(strings.TrimSuffix(line, "\n")+"  "+Printable(texts[i]), " ")
		if _, err := io.WriteString(out, line+"\n"); err != nil {
			return err
		}
		i++
	}
	return nil
}
