package language

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxSize bounds a policy file, in bytes. The built-in policy has about 6,000.
const maxSize = 64 << 10

// File is one policy file.
type File struct {
	Name string `json:"Name"`
	Text []byte `json:"Text"`
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
