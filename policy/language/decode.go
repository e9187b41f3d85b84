package language

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"hapressure/policy"
)

// maxSize bounds a policy file, in bytes. The built-in policy has about 6,000.
const maxSize = 64 << 10

// File is one policy file.
type File struct {
	Name string `json:"Name"`
	Text []byte `json:"Text"`
}

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

// Decode decodes a policy. If the first file has no targets or no tiers, those of the
// built-in policy take their place. The other files are drop-ins, applied in their order:
// their tiers and targets override those of the same name key by key, or are added.
// Decode reports all mistakes at once, as Errors.
func Decode(files ...File) (*policy.Policy, error) {
	d := &decoder{}
	v := d.effective(files)
	p := d.policy(v)
	if len(d.errs) == 0 {
		p.Source = v.write()
		for _, t := range p.Targets {
			if t.Own != nil {
				t.Own.Source = p.Source
			}
		}
		return p, nil
	}
	slices.SortFunc(d.errs, func(a, b Error) int {
		files := cmp.Compare(slices.Index(d.files, a.File), slices.Index(d.files, b.File))
		return cmp.Or(files, cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			strings.Compare(a.Problem, b.Problem))
	})
	return nil, slices.Compact(d.errs) // a tier's mistake may be repeated by a target's overrides
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

// effective merges the files into one policy. It never returns nil.
func (d *decoder) effective(files []File) *value {
	builtIn := (&decoder{}).document(BuiltIn)
	v := builtIn
	for i, f := range files {
		d.files = append(d.files, f.Name)
		over := d.document(f)
		if i == 0 {
			for _, key := range []string{"targets", "tiers"} {
				if over.fields[key] == nil {
					over.fields[key] = builtIn.fields[key]
				}
			}
			v = over
			continue
		}
		v = merge(v, over)
	}
	return v
}

// document reads one file. It never returns nil.
func (d *decoder) document(f File) *value {
	d.file = f.Name
	start := place{d.file, 1, 1}
	none := &value{at: start, of: "policy", fields: map[string]*value{}}
	if len(f.Text) > maxSize {
		d.errorf(start, "the file is larger than %d bytes", maxSize)
		return none
	}
	dec := yaml.NewDecoder(bytes.NewReader(f.Text))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		d.errorf(start, `the file is empty: write at least "version: 1"`)
		return none
	case err != nil:
		d.syntax(f.Text, err)
		return none
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		d.errorf(d.place(&second), "a second document begins here: a policy is one document")
	case !errors.Is(err, io.EOF):
		d.syntax(f.Text, err)
	}
	if v := d.mapping(doc.Content[0], formOf("policy"), "the policy"); !v.bad {
		return v
	}
	return none
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntax reports an error of the YAML parser, which has the line only in its text.
func (d *decoder) syntax(text []byte, err error) {
	at := place{d.file, 1, 1}
	problem := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		at.line, _ = strconv.Atoi(m[1]) // digits: on overflow out of range below
		problem = strings.TrimPrefix(err.Error(), m[0])
		lines := strings.Split(string(text), "\n")
		if at.line >= 1 && at.line <= len(lines) {
			line := lines[at.line-1]
			at.column = 1 + len(line) - len(strings.TrimLeft(line, " \t"))
		}
	}
	d.errorf(at, "not YAML: %s", problem)
}
