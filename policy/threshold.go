package policy

// Threshold is one comparison of the condition that enters a tier.
type Threshold struct {
	Comparison
	// Alone is whether the comparison enters the tier without any other one.
	Alone bool
}

// Thresholds returns the comparisons of the condition that enters the tier, without those
// below a not: they are met when memory is plentiful.
func (t *Tier) Thresholds() []Threshold { return t.Enter.thresholds() }

func (c *Condition) thresholds() []Threshold {
	var all []Threshold
	switch c.Op {
	case Not:
		return nil
	case Compare:
		return []Threshold{{Comparison: c.Comparison, Alone: true}}
	}
	for i := range c.Parts {
		all = append(all, c.Parts[i].thresholds()...)
	}
	if c.Op == All && len(c.Parts) > 1 {
		for i := range all {
			all[i].Alone = false
		}
	}
	return all
}
