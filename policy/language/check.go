package language

import (
	"cmp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxDepth bounds the nesting of conditions.
const maxDepth = 8

// read reads a value of a form, a scalar or a list of them. It reports every mistake and
// never returns nil.
func (d *decoder) read(n *yaml.Node, k *key, what string) *value {
	if strings.HasPrefix(k.Of, "[]") {
		return d.list(n, k)
	}
	f := formOf(k.Of)
	if f == nil {
		return d.scalar(n, k.Of, what)
	}
	if n.Kind == yaml.ScalarNode && k.Words != nil {
		text, ok := d.single(n, what)
		if ok = ok && slices.Contains(k.Words, text); !ok && text != "" {
			words := strings.Join(k.Words, ", ")
			d.errorf(d.place(n), "%s %q is not known: write %s or %s", what, text, words, f.What)
		}
		return &value{at: d.place(n), of: k.Of, text: text, bad: !ok}
	}
	return d.mapping(n, f, what)
}

func (d *decoder) list(n *yaml.Node, k *key) *value {
	v := &value{at: d.place(n), of: k.Of, bad: true}
	switch {
	case !d.plain(n, k.Name):
		return v
	case n.Kind != yaml.SequenceNode:
		d.errorf(v.at, "%s is not a list: begin each item with -", k.Name)
		return v
	case len(n.Content) == 0 && !k.Empty:
		d.errorf(v.at, "%s is an empty list: add an item or remove the key", k.Name)
	}
	v.bad = false
	of := strings.TrimPrefix(k.Of, "[]")
	what := of
	if f := formOf(of); f != nil {
		what = f.What
	}
	for _, node := range n.Content {
		item := d.read(node, &key{Of: of}, what)
		if i := find(v.items, item.id()); i >= 0 {
			first := v.items[i].at.line
			d.errorf(item.at, "%s %s occurs twice: the first is in line %d", of, item.id(), first)
		}
		v.items = append(v.items, item)
	}
	return v
}

func (d *decoder) mapping(n *yaml.Node, f *form, what string) *value {
	v := &value{at: d.place(n), of: f.Name, fields: map[string]*value{}}
	if f.Name == "condition" {
		d.depth++
		defer func() { d.depth-- }()
	}
	switch {
	case d.depth > maxDepth+1:
		d.errorf(v.at, "conditions are nested deeper than %d levels", maxDepth)
		v.bad = true
	case !d.plain(n, what):
		v.bad = true
	case n.Kind != yaml.MappingNode:
		d.errorf(v.at, "%s is not a mapping of %s: %s", what, join(f.names(0), " or "), f.Hint)
		v.bad = true
	case d.fields(n, v, f):
		v.bad = !d.check(v, f)
	default:
		v.bad = f.Keys[0].One > 0 // without its key a condition or an action has no meaning
	}
	return v
}

// fields reads the keys of a mapping. It returns false if the form does not have one of
// them.
func (d *decoder) fields(n *yaml.Node, v *value, f *form) bool {
	known := true
	lines := map[string]int{}
	for at := 0; at+1 < len(n.Content); at += 2 {
		word, value := n.Content[at], n.Content[at+1]
		name, ok := d.single(word, "a key of "+f.What)
		if !ok {
			known = false
			continue
		}
		at := d.place(word)
		if line, twice := lines[name]; twice {
			d.errorf(at, "%s has the key %q twice: the first is in line %d", f.What, name, line)
			continue
		}
		lines[name] = at.line
		i := slices.IndexFunc(f.Keys, func(k key) bool { return k.Name == name })
		if i < 0 {
			known = false
			d.errorf(at, "%s has an unknown key %q: %s", f.What, name, suggest(name, f.names(0)))
			continue
		}
		what := name
		if f.What == f.Name { // a signal or an action, whose keys alone are ambiguous
			what = f.Name + " " + name
		}
		v.fields[name] = d.read(value, &f.Keys[i], what)
	}
	return known
}

// check reports keys that are missing or too many in one file. It returns false if the
// mapping cannot be used.
func (d *decoder) check(v *value, f *form) bool {
	required := f.Keys
	if f.Merges {
		required = required[:1] // the mapping may only override keys of another one
	}
	good := d.require(v, f, required)
	if f.Name == "only" && len(v.fields) == 0 {
		d.errorf(v.at, "only has none of %s: remove it, or %s", join(f.names(0), " or "), f.Hint)
	}
	if !f.Merges {
		v.fillIn(f)
	}
	return good
}

// complete reports keys that are missing or too many after the merge, and fills in the
// defaults. It returns false if the mapping cannot be used.
func (d *decoder) complete(v *value, f *form) bool {
	good := d.require(v, f, f.Keys)
	v.fillIn(f)
	return good
}

// fillIn sets the defaults of the keys that are left out.
func (v *value) fillIn(f *form) {
	for _, k := range f.Keys {
		if v.fields[k.Name] == nil && k.Default != "" {
			v.fields[k.Name] = &value{of: k.Of, text: k.Default}
		}
	}
}

// require reports groups of keys of which not exactly one is given, and required keys
// that are missing.
func (d *decoder) require(v *value, f *form, required []key) bool {
	good := true
	for group := 1; len(f.names(group)) > 0; group++ {
		given := slices.DeleteFunc(f.names(group), func(name string) bool {
			return v.fields[name] == nil
		})
		switch len(given) {
		case 1:
			continue
		case 0:
			d.errorf(v.at, "%s needs one of %s: %s", f.What, join(f.names(group), " or "), f.Hint)
		default:
			both := join(given, " and ")
			d.errorf(v.at, "%s has %s, of which only one is allowed: %s", f.What, both, f.Hint)
		}
		good = false
	}
	for _, k := range required {
		if k.Need && v.fields[k.Name] == nil {
			good = false
			d.errorf(v.at, "%s needs %s: %s", f.What, k.Name, f.Hint)
		}
	}
	return good
}

// suggest returns the end of the message about an unknown name.
func suggest(name string, known []string) string {
	near := slices.MinFunc(known, func(a, b string) int {
		return cmp.Compare(distance(name, a), distance(name, b))
	})
	if distance(name, near) <= min(2, len(near)/2) {
		return "did you mean " + near + "?"
	}
	return "known are " + strings.Join(known, ", ")
}

// distance returns the number of letters to insert, delete or replace between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
