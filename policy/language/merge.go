package language

import (
	"slices"

	"hapressure/policy/schema"
)

// merge returns v with the overrides in over: tiers and targets are merged by their names
// and key by key, all else is replaced as a whole.
func (d decoder) merge(v, over *schema.Value) *schema.Value {
	f := over.Form
	if v == nil || f == nil || !f.Merges {
		return over
	}
	out := *v
	if over.Fields == nil {
		out.Items = slices.Clone(v.Items)
		for _, o := range over.Items {
			if i := d.Find(out.Items, o); i >= 0 {
				out.Items[i] = d.merge(out.Items[i], o)
			} else {
				out.Items = append(out.Items, o)
			}
		}
		return &out
	}
	out.Fields = map[string]*schema.Value{}
	for _, name := range f.Names(0) {
		if out.Fields[name] = v.Fields[name]; over.Fields[name] != nil {
			out.Fields[name] = d.merge(v.Fields[name], over.Fields[name])
		}
	}
	if over.Get("enter").Word() == "always" {
		out.Fields["leave"] = over.Fields["leave"] // such a tier is never left
	}
	return &out
}
