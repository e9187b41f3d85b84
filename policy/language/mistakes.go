package language

import (
	"fmt"
	"strings"
)

// Error is one mistake in a policy file.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1
	Column  int    `json:"column"` // from 1; for a syntax error, that of the first character
	Problem string `json:"problem"`
}

func (e Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Problem)
}

// Errors holds all mistakes of a policy, in the order of the files and their lines.
type Errors []Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// decoder walks yaml.Nodes itself: the library's strict mode (KnownFields) has no effect
// below a custom type, and its errors have no columns.
type decoder struct {
	file  string
	files []string // in their order; the built-in policy is not among them
	depth int      // of conditions
	errs  Errors
}

// errorf records a mistake at a place.
func (d *decoder) errorf(at place, format string, args ...any) {
	problem := fmt.Sprintf(format, args...)
	d.errs = append(d.errs, Error{at.file, max(at.line, 1), max(at.column, 1), problem})
}

// place is where a value is written. The zero place is that of a default.
type place struct {
	file         string
	line, column int
}

func (p place) String() string {
	if p == (place{}) {
		return "default"
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}
