package language

import (
	"hapressure/policy"
	"hapressure/policy/schema"
)

// Decode decodes a policy. If the first file has no targets or no tiers, those of the
// built-in policy take their place. The other files are drop-ins, applied in their order:
// their tiers and targets override those of the same name key by key, or are added.
// Decode reports all mistakes at once, as Errors.
func Decode(files ...File) (*policy.Policy, error) {
	d := newDecoder()
	v := d.effective(files)
	p := d.policy(v)
	if err := d.Err(); err != nil {
		return nil, err
	}
	p.Source = v.Write()
	for _, t := range p.Targets {
		if t.Own != nil {
			t.Own.Source = p.Source
		}
	}
	return p, nil
}

// effective merges the files into one policy. It never returns nil.
func (d decoder) effective(files []File) *schema.Value {
	builtIn := newDecoder().Document(BuiltIn)
	v := builtIn
	for i, f := range files {
		over := d.Document(f)
		if i == 0 {
			for _, key := range []string{"targets", "tiers"} {
				if over.Fields[key] == nil {
					over.Fields[key] = builtIn.Fields[key]
				}
			}
			v = over
			continue
		}
		v = d.merge(v, over)
	}
	return v
}
