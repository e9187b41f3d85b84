package schema

import (
	"fmt"
	"strings"
)

// Error is one mistake in a file.
type Error struct {
	File    string `json:"file"`    // as it was named
	Line    int    `json:"line"`    // from 1; 0 = the file cannot be read
	Column  int    `json:"column"`  // from 1; for a syntax error, that of the first character
	Problem string `json:"problem"` // in words, with what would be correct
}

func (e Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Problem
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Problem)
}

// Errors holds all mistakes, in the order of the files and their lines.
type Errors []Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Place is where a value is written. The zero place is that of a default.
type Place struct {
	File         string
	Line, Column int
}

func (p Place) String() string {
	if p == (Place{}) {
		return "default"
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}
