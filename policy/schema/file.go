package schema

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// MaxSize bounds a file, in bytes. The built-in policy has about 8,000.
const MaxSize = 64 << 10

// File is one file.
type File struct {
	Name string `json:"Name"`
	Text []byte `json:"Text"`
}

// Document reads one file. It never returns nil.
func (d *Decoder) Document(f File) *Value {
	d.file, d.files = f.Name, append(d.files, f.Name)
	root := &d.def.Forms[0]
	start := Place{d.file, 1, 1}
	none := &Value{At: start, Of: root.Name, Form: root, Fields: map[string]*Value{}}
	if len(f.Text) > MaxSize {
		d.Errorf(start, "the file is larger than %d bytes", MaxSize)
		return none
	}
	dec := yaml.NewDecoder(bytes.NewReader(f.Text))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		d.Errorf(start, "the file is empty: %s", root.Hint)
		return none
	case err != nil:
		d.syntax(f.Text, err)
		return none
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		d.Errorf(d.place(&second), "a second document begins here: %s is one document", root.What)
	case !errors.Is(err, io.EOF):
		d.syntax(f.Text, err)
	}
	if v := d.mapping(doc.Content[0], root, root.What); !v.bad {
		return v
	}
	return none
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntax reports an error of the YAML parser, which has the line only in its text.
func (d *Decoder) syntax(text []byte, err error) {
	at := Place{d.file, 1, 1}
	problem := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		at.Line, _ = strconv.Atoi(m[1]) // digits: on overflow out of range below
		problem = strings.TrimPrefix(err.Error(), m[0])
		lines := strings.Split(string(text), "\n")
		if at.Line >= 1 && at.Line <= len(lines) {
			line := lines[at.Line-1]
			at.Column = 1 + len(line) - len(strings.TrimLeft(line, " \t"))
		}
	}
	d.Errorf(at, "not YAML: %s", problem)
}
