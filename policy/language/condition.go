package language

import (
	"strings"

	"hapressure/policy"
)

// conditionOf builds a condition, the zero Condition of nil and of false.
func conditionOf(v *value) policy.Condition {
	switch v.word() {
	case "always", "true":
		return policy.Condition{Op: policy.Always}
	case "false":
		return policy.Condition{}
	}
	if v == nil {
		return policy.Condition{}
	}
	c := policy.Condition{Op: policy.Op(v.one()), For: v.get("for").duration()}
	switch part := v.get(v.one()); {
	case part == nil:
	case c.Op == policy.Not:
		c.Parts = []policy.Condition{conditionOf(part)}
	case strings.HasPrefix(part.of, "[]"):
		for _, item := range part.list() {
			c.Parts = append(c.Parts, conditionOf(item))
		}
	default:
		c.Op, c.Comparison = policy.Compare, comparisonOf(part)
	}
	return c
}

// comparisonOf builds a comparison of the value of a signal's key.
func comparisonOf(v *value) policy.Comparison {
	key := v.one()
	c := policy.Comparison{
		Signal: v.of, Below: key == "below", Threshold: v.get(key).amount(),
		Window: v.get("window").duration(), Average: v.get("average").duration(),
	}
	switch v.of {
	case policy.Pressure, policy.Events:
		c.Of = key
	case policy.LimitIn:
		c.Threshold = v.get(key).duration().Seconds()
	}
	return c
}
