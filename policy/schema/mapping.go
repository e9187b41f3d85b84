package schema

import (
	"cmp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// read reads a value of a form, a scalar or a list of them. It reports every mistake and
// never returns nil.
func (d *Decoder) read(n *yaml.Node, k *Key, what string) *Value {
	if strings.HasPrefix(k.Of, "[]") {
		return d.list(n, k)
	}
	f := d.def.Form(k.Of)
	if f == nil {
		return d.scalar(n, k.Of, what)
	}
	if n.Kind == yaml.ScalarNode && k.Words != nil {
		text, ok := d.single(n, what)
		if ok = ok && slices.Contains(k.Words, text); !ok && text != "" {
			words := strings.Join(k.Words, ", ")
			d.Errorf(d.place(n), "%s %q is not known: write %s or %s", what, text, words, f.What)
		}
		return &Value{At: d.place(n), Of: k.Of, Form: f, Text: text, bad: !ok}
	}
	return d.mapping(n, f, what)
}

func (d *Decoder) list(n *yaml.Node, k *Key) *Value {
	of := strings.TrimPrefix(k.Of, "[]")
	v := &Value{At: d.place(n), Of: k.Of, Form: d.def.Form(of), bad: true}
	switch {
	case !d.plain(n, k.Name):
		return v
	case n.Kind != yaml.SequenceNode:
		d.Errorf(v.At, "%s is not a list: begin each item with -", k.Name)
		return v
	case len(n.Content) == 0 && !k.Empty:
		d.Errorf(v.At, "%s is an empty list: add an item or remove the key", k.Name)
	}
	v.bad = false
	what := of
	if v.Form != nil {
		what = v.Form.What
	}
	for _, node := range n.Content {
		item := d.read(node, &Key{Of: of}, what)
		if i := d.Find(v.Items, item); i >= 0 {
			d.Errorf(item.At, "%s %s occurs twice: the first is in line %d",
				of, d.rules.ID(item), v.Items[i].At.Line)
		}
		v.Items = append(v.Items, item)
	}
	return v
}

func (d *Decoder) mapping(n *yaml.Node, f *Form, what string) *Value {
	v := &Value{At: d.place(n), Of: f.Name, Form: f, Fields: map[string]*Value{}}
	d.depth[f.Name]++
	defer func() { d.depth[f.Name]-- }()
	switch {
	case f.Depth > 0 && d.depth[f.Name] > f.Depth+1:
		d.Errorf(v.At, "%ss are nested deeper than %d levels", f.Name, f.Depth)
		v.bad = true
	case !d.plain(n, what):
		v.bad = true
	case n.Kind != yaml.MappingNode:
		d.Errorf(v.At, "%s is not a mapping of %s: %s", what, Join(f.Names(0), " or "), f.Hint)
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
func (d *Decoder) fields(n *yaml.Node, v *Value, f *Form) bool {
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
			d.Errorf(at, "%s has the key %q twice: the first is in line %d", f.What, name, line)
			continue
		}
		lines[name] = at.Line
		i := slices.IndexFunc(f.Keys, func(k Key) bool { return k.Name == name })
		if i < 0 {
			known = false
			d.Errorf(at, "%s has an unknown key %q: %s", f.What, name, Suggest(name, f.Names(0)))
			continue
		}
		what := name
		if f.What == f.Name { // a signal or an action, whose keys alone are ambiguous
			what = f.Name + " " + name
		}
		v.Fields[name] = d.read(value, &f.Keys[i], what)
	}
	return known
}

// check reports keys that are missing or too many in one file. It returns false if the
// mapping cannot be used.
func (d *Decoder) check(v *Value, f *Form) bool {
	required := f.Keys
	if f.Merges {
		required = required[:1] // the mapping may only override keys of another one
	}
	good := d.require(v, f, required)
	if f.Some && len(v.Fields) == 0 {
		d.Errorf(v.At, "%s has none of %s: remove it, or %s",
			f.What, Join(f.Names(0), " or "), f.Hint)
	}
	if !f.Merges {
		v.fillIn(f)
	}
	return good
}

// Complete reports keys that are missing or too many in a mapping after a merge, and
// fills in the defaults. It returns false if the mapping cannot be used.
func (d *Decoder) Complete(v *Value) bool {
	good := d.require(v, v.Form, v.Form.Keys)
	v.fillIn(v.Form)
	return good
}

// Find returns the index of the item with the same ID, -1 if there is none.
func (d *Decoder) Find(items []*Value, v *Value) int {
	if d.rules.ID == nil || d.rules.ID(v) == "" {
		return -1
	}
	return slices.IndexFunc(items, func(item *Value) bool {
		return d.rules.ID(item) == d.rules.ID(v)
	})
}

// fillIn sets the defaults of the keys that are left out.
func (v *Value) fillIn(f *Form) {
	for _, k := range f.Keys {
		if v.Fields[k.Name] == nil && k.Default != "" {
			v.Fields[k.Name] = &Value{Of: k.Of, Text: k.Default}
		}
	}
}

// require reports groups of keys of which not exactly one is given, and required keys
// that are missing.
func (d *Decoder) require(v *Value, f *Form, required []Key) bool {
	good := true
	for group := 1; len(f.Names(group)) > 0; group++ {
		given := slices.DeleteFunc(f.Names(group), func(name string) bool {
			return v.Fields[name] == nil
		})
		switch len(given) {
		case 1:
			continue
		case 0:
			d.Errorf(v.At, "%s needs one of %s: %s", f.What, Join(f.Names(group), " or "), f.Hint)
		default:
			both := Join(given, " and ")
			d.Errorf(v.At, "%s has %s, of which only one is allowed: %s", f.What, both, f.Hint)
		}
		good = false
	}
	for _, k := range required {
		if k.Need && v.Fields[k.Name] == nil {
			good = false
			d.Errorf(v.At, "%s needs %s: %s", f.What, k.Name, f.Hint)
		}
	}
	return good
}

// Suggest returns the end of the message about an unknown name.
func Suggest(name string, known []string) string {
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
