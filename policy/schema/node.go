package schema

import (
	"fmt"

	"gopkg.in/yaml.v3"
)

func (d *Decoder) place(n *yaml.Node) Place { return Place{d.file, n.Line, n.Column} }

// plain reports whether n is a value without an alias, an anchor or a tag, and otherwise
// a mistake. Aliases can make a small file huge, and tags change the meaning of a value.
func (d *Decoder) plain(n *yaml.Node, what string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.Errorf(d.place(n), "%s is an alias, which is not allowed: write out the value", what)
	case n.Anchor != "":
		d.Errorf(d.place(n), "%s has the anchor &%s, which is not allowed: remove it",
			what, n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		d.Errorf(d.place(n), "%s has the tag %s, which is not allowed: remove it", what, n.Tag)
	default:
		return true
	}
	return false
}

// single returns a single value. ok is false after a mistake.
func (d *Decoder) single(n *yaml.Node, what string) (text string, ok bool) {
	switch {
	case !d.plain(n, what):
	case n.Kind != yaml.ScalarNode:
		d.Errorf(d.place(n), "%s is not a single value", what)
	case n.Value == "" || n.Tag == "!!null":
		d.Errorf(d.place(n), "%s has no value", what)
	default:
		return n.Value, true
	}
	return "", false
}

// scalar reads a single value.
func (d *Decoder) scalar(n *yaml.Node, name, what string) *Value {
	text, ok := d.single(n, what)
	v := &Value{At: d.place(n), Of: name, Text: text, bad: !ok}
	if ok {
		if problem := d.problem(name, text); problem != "" {
			d.Errorf(v.At, "%s %s", what, problem)
			v.bad = true
		}
	}
	return v
}

// problem returns what is wrong with a value of a scalar, "" if nothing is.
func (d *Decoder) problem(name, text string) string {
	if d.rules.BadName != nil {
		if bad := d.rules.BadName(name, text); bad != "" {
			return fmt.Sprintf("%q %s", text, bad)
		}
	}
	return d.def.Scalars[name].problem(text)
}
