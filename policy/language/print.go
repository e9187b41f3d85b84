package language

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"
)

// write returns a policy as one YAML file. Defaults are written out, and each value has
// its place as a comment.
func (v *value) write() string {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(v.node()); err != nil {
		panic(fmt.Sprintf("writing a policy: %v", err)) // cannot happen: valid nodes, into memory
	}
	return out.String()
}

// node returns the value as a YAML node.
func (v *value) node() *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: v.text}
	switch {
	case v.text != "":
		n.LineComment = v.at.String()
		if v.of == "argument" {
			n.Tag = "!!str" // otherwise null and ~ would have no value
		}
	case v.fields != nil:
		n.Kind = yaml.MappingNode
		for _, name := range formOf(v.of).names(0) {
			if part := v.fields[name]; part != nil {
				key := &yaml.Node{Kind: yaml.ScalarNode, Value: name}
				n.Content = append(n.Content, key, part.node())
			}
		}
	default:
		n.Kind = yaml.SequenceNode
		for _, item := range v.items {
			n.Content = append(n.Content, item.node())
		}
	}
	if n.Kind != yaml.ScalarNode && len(n.Content) == 0 { // {} and []
		n.Style, n.LineComment = yaml.FlowStyle, v.at.String()
	}
	return n
}
