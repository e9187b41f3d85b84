package language

import (
	"strings"

	"hapressure/policy"
	"hapressure/policy/schema"
)

// conditionOf builds a condition, the zero Condition of nil and of false.
func conditionOf(v *schema.Value) policy.Condition {
	switch v.Word() {
	case "always", "true":
		return policy.Condition{Op: policy.Always}
	case "false":
		return policy.Condition{}
	}
	if v == nil {
		return policy.Condition{}
	}
	c := policy.Condition{Op: policy.Op(v.One()), For: v.Get("for").Duration()}
	switch part := v.Get(v.One()); {
	case part == nil:
	case c.Op == policy.Not:
		c.Parts = []policy.Condition{conditionOf(part)}
	case strings.HasPrefix(part.Of, "[]"):
		for _, item := range part.List() {
			c.Parts = append(c.Parts, conditionOf(item))
		}
	default:
		c.Op, c.Comparison = policy.Compare, comparisonOf(part)
	}
	return c
}

// comparisonOf builds a comparison of the value of a signal's key.
func comparisonOf(v *schema.Value) policy.Comparison {
	key := v.One()
	c := policy.Comparison{
		Signal: v.Of, Below: key == "below", Threshold: v.Get(key).Amount(),
		Window: v.Get("window").Duration(), Average: v.Get("average").Duration(),
	}
	switch v.Of {
	case policy.Pressure, policy.Events:
		c.Of = key
	case policy.LimitIn:
		c.Threshold = v.Get(key).Duration().Seconds()
	}
	return c
}
