package policy

import (
	"regexp"

	"gopkg.in/yaml.v3"
)

var tierName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func (d *decoder) tiers(n *yaml.Node) []Tier {
	var tiers []Tier
	lines := map[string]int{}
	for _, item := range d.list(n, "tiers") {
		f := d.mapping(item, "a tier", "name", "enter", "leave", "urgent", "settle", "actions")
		if f == nil {
			continue
		}
		for _, key := range []string{"name", "enter", "actions"} {
			if f[key] == nil {
				d.errorf(item, "a tier needs %s, this one has none", key)
			}
		}
		t := Tier{Settle: defaultSettle}
		if v := f["name"]; v != nil {
			t.Name = d.tierName(v, lines)
		}
		d.moves(f, item, &t)
		if v := f["urgent"]; v != nil {
			t.Urgent = d.urgent(v)
		}
		if v := f["settle"]; v != nil {
			t.Settle = d.duration(v, "settle")
		}
		if v := f["actions"]; v != nil {
			t.Actions = d.actions(v)
		}
		tiers = append(tiers, t)
	}
	return tiers
}

// urgent decodes true, false or a condition.
func (d *decoder) urgent(n *yaml.Node) Condition {
	if n.Kind == yaml.MappingNode {
		return d.condition(n, &conditions{}, true, 0)
	}
	if d.boolean(n, "urgent") {
		return Condition{Op: Always}
	}
	return Condition{}
}

func (d *decoder) tierName(n *yaml.Node, lines map[string]int) string {
	name, ok := d.scalar(n, "name")
	if !ok {
		return ""
	}
	if !tierName.MatchString(name) {
		d.errorf(n, "name %q is not a tier's name: write small letters, digits and -, at most 32", name)
	}
	if line, twice := lines[name]; twice {
		d.errorf(n, "tier %s is named twice: the first is in line %d", name, line)
	}
	lines[name] = n.Line
	return name
}

// moves decodes how a tier is entered and left.
func (d *decoder) moves(f map[string]*yaml.Node, item *yaml.Node, t *Tier) {
	var enter, leave conditions
	if v := f["enter"]; v != nil {
		if v.Kind == yaml.ScalarNode && v.Value == "always" {
			t.Enter = Condition{Op: Always}
		} else {
			t.Enter = d.condition(v, &enter, true, 0)
		}
	}
	v := f["leave"]
	switch {
	case v != nil && t.Enter.Op == Always:
		d.errorf(v, "a tier with enter: always is never left: leave out leave")
	case v != nil:
		t.Leave = d.condition(v, &leave, true, 0)
		d.overlaps(enter, leave)
	case f["enter"] != nil && t.Enter.Op != Always:
		d.errorf(item, "a tier needs leave, this one has none")
	}
}
