package policy

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxSize bounds a policy file, in bytes. The built-in one has about 6,000.
const maxSize = 64 << 10

// Error is one mistake in a policy file.
type Error struct {
	File         string
	Line, Column int // from 1; of a YAML syntax error the column is where its line's text starts
	Problem      string
}

func (e Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Problem)
}

// Errors are all mistakes of a policy file, in the file's order.
type Errors []Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Decode reads the policy file called name from r. It is strict: whatever it does not know is an error. All mistakes
// are reported at once, as Errors; an error of r itself is wrapped. A file without targets or tiers gets the default's.
func Decode(name string, r io.Reader) (*Policy, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading policy %q: %w", name, err)
	}
	d := &decoder{file: name}
	p := d.document(text)
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b Error) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, d.errs
	}
	return p, nil
}

// decoder walks yaml.Nodes by hand: the library's strictness (KnownFields) is lost below the first custom type, and
// its errors have no columns.
type decoder struct {
	file string
	errs Errors
}

func (d *decoder) errorf(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, Error{d.file, max(n.Line, 1), max(n.Column, 1), fmt.Sprintf(format, args...)})
}

func (d *decoder) document(text []byte) *Policy {
	start := &yaml.Node{Line: 1, Column: 1}
	if len(text) > maxSize {
		d.errorf(start, "the file is larger than %d bytes", maxSize)
		return nil
	}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		d.errorf(start, `the file is empty: write at least "version: 1"`)
		return nil
	case err != nil:
		d.syntax(text, err)
		return nil
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		d.errorf(&second, "a second document begins here: a policy is one document")
	case !errors.Is(err, io.EOF):
		d.syntax(text, err)
	}
	return d.policy(doc.Content[0])
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntax reports an error of the YAML parser, which tells the line only within its text.
func (d *decoder) syntax(text []byte, err error) {
	at := &yaml.Node{Line: 1, Column: 1}
	problem := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		at.Line, _ = strconv.Atoi(m[1]) // digits: on overflow the largest int, out of the file's range below
		problem = strings.TrimPrefix(err.Error(), m[0])
		if lines := strings.Split(string(text), "\n"); at.Line >= 1 && at.Line <= len(lines) {
			line := lines[at.Line-1]
			at.Column = 1 + len(line) - len(strings.TrimLeft(line, " \t"))
		}
	}
	d.errorf(at, "not YAML: %s", problem)
}

func (d *decoder) policy(n *yaml.Node) *Policy {
	f := d.mapping(n, "the policy", "version", "targets", "tiers")
	if f == nil {
		return nil
	}
	switch v, ok := f["version"]; {
	case !ok:
		d.errorf(n, `version is missing: write "version: 1"`)
	default:
		if text, ok := d.scalar(v, "version"); ok && text != "1" {
			d.errorf(v, "version %s is not known: write 1", text)
		}
	}
	p := &Policy{}
	if v, ok := f["targets"]; ok {
		p.Targets = d.targets(v)
	} else {
		p.Targets = Default().Targets
	}
	if v, ok := f["tiers"]; ok {
		p.Tiers = d.tiers(v)
	} else {
		p.Tiers = Default().Tiers
	}
	return p
}

func (d *decoder) targets(n *yaml.Node) []Target {
	var targets []Target
	for _, item := range d.list(n, "targets") {
		f := d.mapping(item, "a target", "unit", "cgroup")
		if f == nil {
			continue
		}
		if len(f) != 1 {
			d.errorf(item, "a target has either unit or cgroup, this one has %d of them", len(f))
			continue
		}
		t := Target{}
		if v, ok := f["unit"]; ok {
			t.Unit = d.unit(v)
		} else {
			t.Cgroup = d.cgroup(f["cgroup"])
		}
		if slices.Contains(targets, t) && t != (Target{}) {
			d.errorf(item, "target %s is named twice", cmp.Or(t.Unit, t.Cgroup))
		}
		targets = append(targets, t)
	}
	return targets
}

func (d *decoder) unit(n *yaml.Node) string {
	unit, ok := d.scalar(n, "unit")
	if !ok {
		return ""
	}
	if _, err := path.Match(unit, ""); err != nil {
		d.errorf(n, "unit %q is not a valid glob: %v", unit, err)
	}
	if strings.Contains(unit, "/") {
		d.errorf(n, "unit %q is a path: write cgroup: %s", unit, unit)
	} else if ext := path.Ext(unit); ext != ".service" && ext != ".slice" && ext != ".scope" {
		d.errorf(n, "unit %q has no known type: write for example haproxy.service", unit)
	}
	return unit
}

func (d *decoder) cgroup(n *yaml.Node) string {
	group, ok := d.scalar(n, "cgroup")
	if !ok {
		return ""
	}
	if slices.Contains(strings.Split(group, "/"), "..") || path.Clean("/"+group) == "/" {
		d.errorf(n, "cgroup %q does not name a group below the mount: write for example haproxy.slice", group)
	}
	return group
}
