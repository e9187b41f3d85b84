package policy

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// reasons are what the comparisons of a condition read, as text.
type reasons struct{ met, unmet []string }

// why returns what the comparisons of c read, beginning with those that make it true. It
// changes nothing and must be called after step.
func (c *Condition) why(n *ConditionState, s *Sample) string {
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

// reasons adds what the comparisons read. Those that contribute to c having the wanted
// truth, yes or no, are met.
func (c *Condition) reasons(n *ConditionState, s *Sample, want truth, r *reasons) {
	before := len(r.met)
	switch c.Op {
	case Always:
		r.met = append(r.met, "always")
	case Compare:
		of := &r.unmet
		if c.Comparison.truth(n, s) == want {
			of = &r.met
		}
		*of = append(*of, c.Comparison.trace(n, s))
	case Not:
		c.Parts[0].reasons(n.part(0), s, -want, r)
	default:
		for i := range c.Parts {
			c.Parts[i].reasons(n.part(i), s, want, r)
		}
	}
	if c.For > 0 && n.Held {
		lasted := FormatDuration((s.Now - n.Since).Round(100 * time.Millisecond))
		lasted = fmt.Sprintf("true for %s of %s", lasted, FormatDuration(c.For))
		if len(r.met) == before+1 {
			r.met[before] += " (" + lasted + ")"
		} else {
			r.met = append(r.met, lasted)
		}
	}
}

// trace returns what the comparison read and how that compares with its threshold.
func (c *Comparison) trace(n *ConditionState, s *Sample) string {
	v, absent := c.read(n, s)
	if absent != "" {
		return c.name() + " unknown (" + absent + ")"
	}
	result := c.truth(n, s)
	if result == unknown {
		return c.name() + " unknown (window not filled)"
	}
	sign := c.sign()
	if result == no {
		sign = map[string]string{">": "<=", "<": ">=", ">=": "<"}[sign]
	}
	read := c.name() + " " + c.format(v) + " " + sign + " " + c.format(c.Threshold)
	return read + c.span() + c.against(s)
}

// against names the limit that the value was measured against.
func (c *Comparison) against(s *Sample) string {
	switch l := c.limit(s); {
	case l.Name == "":
	case c.Signal == Usage:
		return " of " + l.Name
	case c.Signal == ReloadRoom:
		return " under " + l.Name
	case c.Signal == LimitIn && s.LimitIn.Absent == "":
		return " to " + l.Name
	}
	return ""
}

// because returns why the actions of the tier are due: a client waits for room, or the
// target is in the tier. Then it is the enter of the tier, if that is true now; otherwise
// when the tier was entered, and what would leave it.
func (pl *planner) because() string {
	p, st, i, s := pl.p, pl.st, pl.tier, pl.s
	t, n := &p.Tiers[i], &st.Tiers[i]
	if pl.forRoom {
		return fmt.Sprintf("make-room waits for room for %s, and there is room for %s",
			Count(s.RoomWanted, "reload"), FormatNumber(s.ReloadRoom.Value))
	}
	if t.Enter.now(&n.Enter, s) == yes {
		return "tier " + t.Name + ": " + t.Enter.why(&n.Enter, s)
	}
	since := FormatDuration((s.Now - st.Entered[i]).Round(time.Second))
	why := fmt.Sprintf("tier %s was entered %s ago", t.Name, since)
	if i+1 < st.Tier {
		why += " and is milder than tier " + st.TierName
	}
	if leave := st.Leaving(p, s); leave != "" {
		why += ", which is left when " + leave
	}
	return why
}

// Leaving returns the condition that leaves the present tier, and which parts of it are
// met in the sample of the last step. It is "" in no tier and in a tier that is never
// left.
func (st *State) Leaving(p *Policy, s *Sample) string {
	if st.Tier == 0 || st.Tier > len(p.Tiers) || p.Tiers[st.Tier-1].Leave.Op == "" {
		return ""
	}
	leave, n := &p.Tiers[st.Tier-1].Leave, &st.Tiers[st.Tier-1].Leave
	return leave.String() + ": " + leave.why(n, s)
}

// String returns the condition in words. Several parts are in parentheses.
func (c Condition) String() string {
	var parts []string
	for _, part := range c.Parts {
		parts = append(parts, part.String())
	}
	s := ""
	switch c.Op {
	case Always:
		return "at any time"
	case Compare:
		s = c.Comparison.String()
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

// String returns the comparison in words.
func (c Comparison) String() string {
	how := map[string]string{">": " above ", "<": " below ", ">=": " at least "}
	return c.name() + how[c.sign()] + c.format(c.Threshold) + c.span()
}

// name returns the name of the signal in journal entries.
func (c Comparison) name() string {
	if c.Of == "" {
		return c.Signal
	}
	return c.Signal + " " + c.Of
}

// span returns over which time the value was measured.
func (c Comparison) span() string {
	switch {
	case c.Window > 0:
		return " in " + FormatDuration(c.Window)
	case c.Average > 0:
		return fmt.Sprintf(" avg%.0f", c.Average.Seconds())
	}
	return ""
}

// format formats a value with the unit of the signal.
func (c Comparison) format(v float64) string {
	switch c.Signal {
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
