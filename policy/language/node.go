package language

import "gopkg.in/yaml.v3"

func (d *decoder) place(n *yaml.Node) place { return place{d.file, n.Line, n.Column} }

// plain reports whether n is a value without an alias, an anchor or a tag, and otherwise
// a mistake. Aliases can make a small file huge, and tags change the meaning of a value.
func (d *decoder) plain(n *yaml.Node, what string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.errorf(d.place(n), "%s is an alias, which is not allowed: write out the value", what)
	case n.Anchor != "":
		d.errorf(d.place(n), "%s has the anchor &%s, which is not allowed: remove it",
			what, n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		d.errorf(d.place(n), "%s has the tag %s, which is not allowed: remove it", what, n.Tag)
	default:
		return true
	}
	return false
}

// single returns a single value. ok is false after a mistake.
func (d *decoder) single(n *yaml.Node, what string) (text string, ok bool) {
	switch {
	case !d.plain(n, what):
	case n.Kind != yaml.ScalarNode:
		d.errorf(d.place(n), "%s is not a single value", what)
	case n.Value == "" || n.Tag == "!!null":
		d.errorf(d.place(n), "%s has no value", what)
	default:
		return n.Value, true
	}
	return "", false
}
