package language

import (
	"cmp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxDepth is how deep conditions may nest.
const maxDepth = 8

func (d *decoder) place(n *yaml.Node) place { return place{d.file, n.Line, n.Column} }

// read reads a value of a form, a scalar or a list of them. It reports every mistake and is never nil.
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
			d.errorf(d.place(n), "%s %q is not known: write %s or %s", what, text, strings.Join(k.Words, ", "), f.What)
		}
		return &value{at: d.place(n), of: k.Of, text: text, bad: !ok}
	}
	return d.mapping(n, f, what)
}

// written reports whether n is a value written out in place. Aliases could make a small file huge, and tags change what
// a value means.
func (d *decoder) written(n *yaml.Node, what string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.errorf(d.place(n), "%s is an alias, which a policy may not have: write the value out", what)
	case n.Anchor != "":
		d.errorf(d.place(n), "%s has the anchor &%s, which a policy may not have: leave it out", what, n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		d.errorf(d.place(n), "%s has the tag %s, which a policy may not have: leave it out", what, n.Tag)
	default:
		return true
	}
	return false
}

// single returns a single word, with ok false after a mistake.
func (d *decoder) single(n *yaml.Node, what string) (text string, ok bool) {
	switch {
	case !d.written(n, what):
	case n.Kind != yaml.ScalarNode:
		d.errorf(d.place(n), "%s is not a single value", what)
	case n.Value == "" || n.Tag == "!!null":
		d.errorf(d.place(n), "%s has no value", what)
	default:
		return n.Value, true
	}
	return "", false
}

func (d *decoder) list(n *yaml.Node, k *key) *value {
	v := &value{at: d.place(n), of: k.Of, bad: true}
	switch {
	case !d.written(n, k.Name):
		return v
	case n.Kind != yaml.SequenceNode:
		d.errorf(v.at, "%s is not a list: begin each item with -", k.Name)
		return v
	case len(n.Content) == 0 && !k.Empty:
		d.errorf(v.at, "%s is an empty list: give at least one, or leave the key out", k.Name)
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
			d.errorf(item.at, "%s %s is given twice: the first is in line %d", of, item.id(), v.items[i].at.line)
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
		d.errorf(v.at, "conditions are nested deeper than %d", maxDepth)
		v.bad = true
	case !d.written(n, what):
		v.bad = true
	case n.Kind != yaml.MappingNode:
		d.errorf(v.at, "%s is not a mapping of %s: %s", what, join(f.names(0), " or "), f.Hint)
		v.bad = true
	case d.fields(n, v, f):
		v.bad = !d.complete(v, f, !f.Merges)
	default:
		v.bad = f.Keys[0].One > 0 // what a condition or an action is depends on the key; elsewhere the rest stands
	}
	return v
}

// fields reads the keys of a mapping. It returns false where one of them is none of the form's.
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
		if f.What == f.Name { // a signal or action: its keys alone say little
			what = f.Name + " " + name
		}
		v.fields[name] = d.read(value, &f.Keys[i], what)
	}
	return known
}

// complete reports keys that are missing or too many, and fills in the defaults. What may be merged is not whole before it was: then
// only the first key must be there. It returns false where the mapping cannot be used.
func (d *decoder) complete(v *value, f *form, whole bool) bool {
	good := true
	for group := 1; len(f.names(group)) > 0; group++ {
		given := slices.DeleteFunc(f.names(group), func(name string) bool { return v.fields[name] == nil })
		switch len(given) {
		case 1:
			continue
		case 0:
			d.errorf(v.at, "%s needs one of %s: %s", f.What, join(f.names(group), " or "), f.Hint)
		default:
			d.errorf(v.at, "%s has %s, of which it may have only one: %s", f.What, join(given, " and "), f.Hint)
		}
		good = false
	}
	for i, k := range f.Keys {
		switch {
		case v.fields[k.Name] != nil || !whole && i > 0:
		case k.Need:
			good = false
			d.errorf(v.at, "%s needs %s: %s", f.What, k.Name, f.Hint)
		case k.Default != "" && whole:
			v.fields[k.Name] = &value{of: k.Of, text: k.Default}
		}
	}
	if f.Name == "only" && len(v.fields) == 0 {
		d.errorf(v.at, "only has none of %s: leave it out, or %s", join(f.names(0), " or "), f.Hint)
	}
	return good
}

// suggest helps with a name that is not known.
func suggest(name string, known []string) string {
	near := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
	if distance(name, near) <= min(2, len(near)/2) {
		return "did you mean " + near + "?"
	}
	return "known are " + strings.Join(known, ", ")
}

// distance counts the letters to insert, delete or replace between two words.
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
