package policy

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// reasons are what the comparisons of a condition read, as text.
type reasons struct{ met, unmet []string }

// why says what the comparisons of c read, first those that make it true. It follows step in the same step and changes nothing.
func (c *Condition) why(n *Node, s *Sample) string {
	var r reasons
	c.reasons(n, s, yes, &r)
	met, unmet := strings.Join(r.met, ", "), strings.Join(r.unmet, ", ")
	switch {
	case met == "":
		return unmet
	case unmet == "":
		return met
	}
	return met + "; not met: " + unmet
}

// reasons adds what the comparisons read. One is met that speaks for c being of a truth, yes or no.
func (c *Condition) reasons(n *Node, s *Sample, want truth, r *reasons) {
	before := len(r.met)
	switch c.Op {
	case Always:
		r.met = append(r.met, "always")
	case Compare:
		of := &r.unmet
		if c.Test.truth(n, s) == want {
			of = &r.met
		}
		*of = append(*of, c.Test.trace(n, s))
	case Not:
		c.Of[0].reasons(n.part(0), s, -want, r)
	default:
		for i := range c.Of {
			c.Of[i].reasons(n.part(i), s, want, r)
		}
	}
	if c.For > 0 && n.Held {
		held := fmt.Sprintf("held %s of %s", FormatDuration((s.Now - n.Since).Round(100*time.Millisecond)), FormatDuration(c.For))
		if len(r.met) == before+1 {
			r.met[before] += " (" + held + ")"
		} else {
			r.met = append(r.met, held)
		}
	}
}

func (t *Test) trace(n *Node, s *Sample) string {
	v, absent := t.read(n, s)
	if absent != "" {
		return t.name() + " unknown (" + absent + ")"
	}
	result := t.truth(n, s)
	if result == unknown {
		return t.name() + " unknown (window not filled)"
	}
	sign := t.sign()
	if result == no {
		sign = map[string]string{">": "<=", "<": ">=", ">=": "<"}[sign]
	}
	return t.name() + " " + t.format(v) + " " + sign + " " + t.format(t.Limit) + t.span() + t.against(s)
}

// against names the limit that the value was measured against.
func (t *Test) against(s *Sample) string {
	switch l := t.limit(s); {
	case l.Name == "":
	case t.Signal == Usage:
		return " of " + l.Name
	case t.Signal == ReloadRoom:
		return " under " + l.Name
	case t.Signal == LimitIn && s.LimitIn.Absent == "":
		return " to " + l.Name
	}
	return ""
}

// because says why the tier of number i, from 0, is held: by its enter, if that is true now. Otherwise since when it has been held, and what
// would leave it.
func (st *State) because(p *Policy, i int, s *Sample) string {
	t := &p.Tiers[i]
	if t.Enter.now(&st.Nodes[i].Enter, s) == yes {
		return "tier " + t.Name + ": " + t.Enter.why(&st.Nodes[i].Enter, s)
	}
	held := fmt.Sprintf("tier %s has been held for %s", t.Name, FormatDuration((s.Now - st.Entered[i]).Round(time.Second)))
	if i+1 < st.Tier {
		held += " and is below tier " + st.TierName
	}
	if leave := st.Leaving(p, s); leave != "" {
		held += ", which is left when " + leave
	}
	return held
}

// Leaving says what would leave the present tier, and what of that is met in the sample of the last step; "" in no tier, or in one that is
// never left.
func (st *State) Leaving(p *Policy, s *Sample) string {
	if st.Tier == 0 || st.Tier > len(p.Tiers) || p.Tiers[st.Tier-1].Leave.Op == "" {
		return ""
	}
	leave, n := &p.Tiers[st.Tier-1].Leave, &st.Nodes[st.Tier-1].Leave
	return leave.String() + ": " + leave.why(n, s)
}

// name is the signal as it is called in a journal entry.
func (t Test) name() string {
	if t.Of == "" {
		return t.Signal
	}
	return t.Signal + " " + t.Of
}

// span says over which time the value was measured.
func (t Test) span() string {
	switch {
	case t.Window > 0:
		return " in " + FormatDuration(t.Window)
	case t.Average > 0:
		return fmt.Sprintf(" avg%.0f", t.Average.Seconds())
	}
	return ""
}

func (t Test) String() string {
	how := map[string]string{">": " above ", "<": " below ", ">=": " "}
	return t.name() + how[t.sign()] + t.format(t.Limit) + t.span()
}

// String writes the condition as a policy's explanation names it. Several parts are in parentheses.
func (c Condition) String() string {
	var parts []string
	for _, part := range c.Of {
		parts = append(parts, part.String())
	}
	s := ""
	switch c.Op {
	case Always:
		return "at any time"
	case Compare:
		s = c.Test.String()
	case Not:
		s = "not " + parts[0]
	case Any:
		s = strings.Join(parts, " or ")
	case All:
		s = strings.Join(parts, " and ")
	}
	if len(parts) > 1 {
		s = "(" + s + ")"
	}
	if c.For > 0 {
		s += " for " + FormatDuration(c.For)
	}
	return s
}

// format writes a value with the signal's unit.
func (t Test) format(v float64) string {
	switch t.Signal {
	case Usage, Pressure:
		return FormatNumber(v) + "%"
	case Swap, Shmem:
		return FormatNumber(v/(1<<20)) + "MiB"
	case LimitIn:
		if math.IsInf(v, 1) {
			return NotRising
		}
		return FormatNumber(v) + "s"
	}
	return FormatNumber(v)
}

// FormatDuration writes a duration as a policy file would: 10m, not 10m0s.
func FormatDuration(v time.Duration) string {
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// FormatNumber writes a number with at most two digits after the point.
func FormatNumber(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}
