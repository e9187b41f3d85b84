package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hapressure/cmd/hapressure/internal/render"
)

// column is a column of a table with rows of T.
type column[T any] struct {
	name string
	rank int // of columns that do not fit the highest rank gives way first; 0 never does
	left bool
	cell func(T) string
	// order sorts the rows, the greatest or worst first; nil: they are not sorted by it
	order func(a, b T) int
}

// text returns the cell of a row without characters that a terminal would execute.
func (c column[T]) text(row T) string { return render.Printable(c.cell(row)) }

// listing is what a user has chosen of a table.
type listing struct {
	by       string // the column that sorts
	reversed bool
	filter   string
}

// arrange returns the rows that the filter leaves, in their order. A row stays if one of
// its cells contains the filter.
func arrange[T any](rows []T, columns []column[T], l listing) []T {
	rows = slices.DeleteFunc(slices.Clone(rows), func(row T) bool {
		return !slices.ContainsFunc(columns, func(c column[T]) bool {
			return strings.Contains(strings.ToLower(c.text(row)), strings.ToLower(l.filter))
		})
	})
	i := slices.IndexFunc(columns, func(c column[T]) bool { return c.name == l.by })
	if i >= 0 {
		slices.SortStableFunc(rows, columns[i].order)
	}
	if l.reversed {
		slices.Reverse(rows)
	}
	return rows
}

// sorter returns the column by which rows are sorted that is steps after the present one.
func sorter[T any](columns []column[T], by string, steps int) string {
	var names []string
	for _, c := range columns {
		if c.order != nil {
			names = append(names, c.name)
		}
	}
	n := len(names)
	return names[((slices.Index(names, by)+steps)%n+n)%n]
}

// layout is how a table fits into a width.
type layout[T any] struct {
	columns []column[T]
	widths  []int
}

// fit leaves out columns until the others fit. Each has two spaces before it.
func fit[T any](columns []column[T], rows []T, width int) layout[T] {
	l := layout[T]{columns: slices.Clone(columns)}
	sum := 0
	for _, c := range columns {
		w := len(c.name) + 1 // the marker of the sorting column
		for _, row := range rows {
			w = max(w, len([]rune(c.text(row))))
		}
		l.widths = append(l.widths, w)
		sum += 2 + w
	}
	for sum > width {
		last := 0
		for i, c := range l.columns {
			if c.rank >= l.columns[last].rank {
				last = i
			}
		}
		if l.columns[last].rank == 0 {
			break
		}
		sum -= 2 + l.widths[last]
		l.columns = slices.Delete(l.columns, last, last+1)
		l.widths = slices.Delete(l.widths, last, last+1)
	}
	return l
}

// line joins one text for each column.
func (l layout[T]) line(text func(column[T]) string) string {
	var b strings.Builder
	for i, c := range l.columns {
		width := l.widths[i]
		if c.left {
			width = -width
		}
		fmt.Fprintf(&b, "  %*s", width, text(c))
	}
	return b.String()
}

// table draws rows with a heading, scrolled to the chosen row.
func table[T any](c *canvas, rows []T, columns []column[T], l listing, at int) {
	fitting := fit(columns, rows, c.width)
	marker := "▼"
	if l.reversed {
		marker = "▲"
	}
	c.line(bold, fitting.line(func(col column[T]) string {
		if col.name != l.by {
			return col.name
		}
		if col.left {
			return col.name + marker
		}
		return marker + col.name
	}))
	lines := c.rest()
	from := max(0, min(at-lines/2, len(rows)-lines))
	for i := from; i < min(len(rows), from+lines); i++ {
		text, style := fitting.line(func(col column[T]) string { return col.text(rows[i]) }), plain
		if i == at {
			style, text = chosen, ">"+strings.TrimPrefix(text, " ")
			text = fmt.Sprintf("%-*s", c.width, text)
		}
		c.line(style, text)
	}
}

// descending sorts the greatest first, and unknown values last.
func descending[T cmp.Ordered](a, b *T) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Compare(*b, *a)
}
