package language

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"
)

// write writes a policy as one file with every default written out, and with the place of each value as a comment.
func (v *value) write() string {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(v.node()); err != nil {
		panic(fmt.Sprintf("writing a policy: %v", err)) // into memory, of nodes of our own
	}
	return out.String()
}

func (v *value) node() *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: v.text}
	switch {
	case v.text != "":
		n.LineComment = v.at.String()
		if v.of == "argument" {
			n.Tag = "!!str" // else null and ~ would be read as nothing
		}
	case v.fields != nil:
		n.Kind = yaml.MappingNode
		for _, name := range formOf(v.of).names(0) {
			if part := v.fields[name]; part != nil {
				n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, part.node())
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

func (p place) String() string {
	if p == (place{}) {
		return "default"
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}
