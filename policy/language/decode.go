package language

import (
	"cmp"
	"slices"
	"strings"

	"hapressure/policy"
)

// Decode decodes a policy. If the first file has no targets or no tiers, those of the
// built-in policy take their place. The other files are drop-ins, applied in their order:
// their tiers and targets override those of the same name key by key, or are added.
// Decode reports all mistakes at once, as Errors.
func Decode(files ...File) (*policy.Policy, error) {
	d := &decoder{}
	v := d.effective(files)
	p := d.policy(v)
	if len(d.errs) == 0 {
		p.Source = v.write()
		for _, t := range p.Targets {
			if t.Own != nil {
				t.Own.Source = p.Source
			}
		}
		return p, nil
	}
	slices.SortFunc(d.errs, func(a, b Error) int {
		files := cmp.Compare(slices.Index(d.files, a.File), slices.Index(d.files, b.File))
		return cmp.Or(files, cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			strings.Compare(a.Problem, b.Problem))
	})
	return nil, slices.Compact(d.errs) // a tier's mistake may be repeated by a target's overrides
}

// effective merges the files into one policy. It never returns nil.
func (d *decoder) effective(files []File) *value {
	builtIn := (&decoder{}).document(BuiltIn)
	v := builtIn
	for i, f := range files {
		d.files = append(d.files, f.Name)
		over := d.document(f)
		if i == 0 {
			for _, key := range []string{"targets", "tiers"} {
				if over.fields[key] == nil {
					over.fields[key] = builtIn.fields[key]
				}
			}
			v = over
			continue
		}
		v = merge(v, over)
	}
	return v
}
