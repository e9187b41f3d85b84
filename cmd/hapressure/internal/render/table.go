package render

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Table is a heading and rows of cells.
type Table struct {
	Indent  string
	Columns []Column
	Rows    [][]Cell
}

// Column is a column of a Table.
type Column struct {
	Title string
	Text  bool // aligned to the left; numbers are aligned to the right
	// Yields orders the columns that give way if the rows are wider than the screen, the
	// highest first: text is cut, then the column is left out. 0 never gives way.
	Yields int
}

// Cell is one value of a Table.
type Cell struct {
	Text  string
	Level Level
}

// Cells are plain ones.
func Cells(texts ...string) (row []Cell) {
	for _, text := range texts {
		row = append(row, Cell{Text: text})
	}
	return row
}

// without returns a table without some of its columns.
func (t Table) without(titles ...string) Table {
	left := Table{Indent: t.Indent, Rows: make([][]Cell, len(t.Rows))}
	for i, c := range t.Columns {
		if slices.Contains(titles, c.Title) {
			continue
		}
		left.Columns = append(left.Columns, c)
		for j, row := range t.Rows {
			left.Rows[j] = append(left.Rows[j], row[i])
		}
	}
	return left
}

// leastText is the width below which a column of text is left out.
const leastText = 16

const gap = 2 // between columns

// Print prints the table no wider than the screen. It returns the titles of the columns
// that were cut or left out.
func (t Table) Print(out io.Writer, s Screen) (yielded []string, err error) {
	rows := [][]Cell{nil}
	for _, c := range t.Columns {
		rows[0] = append(rows[0], Cell{Text: c.Title})
	}
	for _, row := range t.Rows {
		shown := make([]Cell, len(row))
		for i, c := range row {
			shown[i] = Cell{Printable(c.Text), c.Level}
		}
		rows = append(rows, shown)
	}
	widths, yielded := t.fit(rows, s.Width)
	for _, row := range rows {
		if _, err := io.WriteString(out, t.line(row, widths, s)+"\n"); err != nil {
			return nil, err
		}
	}
	return yielded, nil
}

// fit returns the widths of the columns, 0 for one that is left out. Columns that never
// yield may exceed the screen.
func (t Table) fit(rows [][]Cell, screen int) (widths []int, yielded []string) {
	total := len(t.Indent) - gap
	for i := range t.Columns {
		width := 0
		for _, row := range rows {
			width = max(width, columns(row[i].Text))
		}
		widths, total = append(widths, width), total+gap+width
	}
	for screen > 0 && total > screen {
		next := -1
		for i, c := range t.Columns {
			if c.Yields > 0 && widths[i] > 0 && (next < 0 || c.Yields > t.Columns[next].Yields) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		yielded = append(yielded, t.Columns[next].Title)
		if left := widths[next] - (total - screen); t.Columns[next].Text && left >= leastText {
			widths[next] = left
			break
		}
		total -= widths[next] + gap
		widths[next] = 0
	}
	return widths, yielded
}

func (t Table) line(row []Cell, widths []int, s Screen) string {
	var b strings.Builder
	b.WriteString(t.Indent)
	blank := 0 // that are due before the next text
	for i, c := range row {
		if widths[i] == 0 {
			continue
		}
		text := Screen{Width: widths[i]}.cut(c.Text)
		pad := widths[i] - columns(text)
		before, after := pad, gap
		if t.Columns[i].Text {
			before, after = 0, pad+gap
		}
		if text != "" {
			fmt.Fprintf(&b, "%*s%s", blank+before, "", s.Paint(c.Level, text))
			blank = after
		} else {
			blank += before + after
		}
	}
	return b.String()
}
