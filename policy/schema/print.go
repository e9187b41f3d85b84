package schema

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Write returns a value as one YAML file. Defaults are written out, and each value has
// its place as a comment.
func (v *Value) Write() string {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(v.node()); err != nil {
		panic(fmt.Sprintf("writing YAML: %v", err)) // cannot happen: valid nodes, into memory
	}
	return out.String()
}

// node returns the value as a YAML node.
func (v *Value) node() *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: v.Text}
	switch {
	case v.Text != "":
		n.LineComment = v.At.String()
		if n.ShortTag() == "!!null" {
			n.Tag = "!!str" // it is the word, which otherwise would be no value
		}
	case v.Fields != nil:
		n.Kind = yaml.MappingNode
		for _, name := range v.Form.Names(0) {
			if part := v.Fields[name]; part != nil {
				key := &yaml.Node{Kind: yaml.ScalarNode, Value: name}
				n.Content = append(n.Content, key, part.node())
			}
		}
	default:
		n.Kind = yaml.SequenceNode
		for _, item := range v.Items {
			n.Content = append(n.Content, item.node())
		}
	}
	if n.Kind != yaml.ScalarNode && len(n.Content) == 0 { // {} and []
		n.Style, n.LineComment = yaml.FlowStyle, v.At.String()
	}
	return n
}
