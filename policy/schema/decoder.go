package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Decoder reads files of one definition, and collects their mistakes.
//
// It walks yaml.Nodes itself: the library's strict mode (KnownFields) has no effect
// below a custom type, and its errors have no columns.
type Decoder struct {
	def   *Definition
	rules Rules
	file  string         // the one that is read
	files []string       // in their order
	depth map[string]int // of the mappings around the present place, by their forms
	errs  Errors
}

// Rules are what a definition cannot express. A nil function is no rule.
type Rules struct {
	// BadName returns what is wrong with a value of a scalar beyond its pattern, "" if
	// nothing is.
	BadName func(scalar, text string) string
	// ID returns what must be unique among the items of a list, "" if nothing must be.
	ID func(*Value) string
}

// Decoder returns a decoder of files in this language.
func (def *Definition) Decoder(r Rules) *Decoder {
	return &Decoder{def: def, rules: r, depth: map[string]int{}}
}

// Errorf records a mistake at a place.
func (d *Decoder) Errorf(at Place, format string, args ...any) {
	problem := fmt.Sprintf(format, args...)
	d.errs = append(d.errs, Error{at.File, max(at.Line, 1), max(at.Column, 1), problem})
}

// Err returns all mistakes as Errors, nil if there are none.
func (d *Decoder) Err() error {
	if len(d.errs) == 0 {
		return nil
	}
	slices.SortFunc(d.errs, func(a, b Error) int {
		files := cmp.Compare(slices.Index(d.files, a.File), slices.Index(d.files, b.File))
		return cmp.Or(files, cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			strings.Compare(a.Problem, b.Problem))
	})
	return slices.Compact(d.errs) // a mistake may be found again after a merge
}

// Later reports whether one place is in a later file than another one.
func (d *Decoder) Later(p, than Place) bool {
	return slices.Index(d.files, p.File) > slices.Index(d.files, than.File)
}
