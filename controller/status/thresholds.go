package status

import "hapressure/policy"

// Thresholds lists the thresholds of a policy for one target, the mildest tier first.
func Thresholds(p *policy.Policy) []Threshold {
	all := []Threshold{}
	for i := range p.Tiers {
		for _, t := range p.Tiers[i].Thresholds() {
			all = append(all, Threshold{
				Tier: i + 1, Signal: t.Signal, Of: t.Of, Below: t.Below, Value: t.Threshold,
				Alone: t.Alone, Text: t.String(),
			})
		}
	}
	return all
}
