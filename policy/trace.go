package policy

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// trace appends what each comparison of c read, as text. It follows eval in the same step and changes nothing.
func (c *Condition) trace(n *Node, s *Sample, parts []string) []string {
	from := len(parts)
	switch c.Op {
	case Always:
		parts = append(parts, "always")
	case Compare:
		parts = append(parts, c.Test.trace(n, s))
	}
	for i := range c.Of {
		parts = c.Of[i].trace(n.part(i), s, parts)
	}
	if c.For > 0 && n.Held {
		held := fmt.Sprintf("held %s of %s", text((s.Now - n.Since).Round(100*time.Millisecond)), text(c.For))
		if len(parts) == from+1 {
			parts[from] += " (" + held + ")"
		} else {
			parts = append(parts, held)
		}
	}
	return parts
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
	return t.name() + " " + t.format(v) + " " + sign + " " + t.format(t.Limit) + t.span()
}

// why joins the trace of one condition.
func (c *Condition) why(n *Node, s *Sample) string { return strings.Join(c.trace(n, s, nil), ", ") }

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
		return " in " + text(t.Window)
	case t.Average > 0:
		return fmt.Sprintf(" avg%.0f", t.Average.Seconds())
	}
	return ""
}

func (t Test) String() string {
	how := map[string]string{">": " above ", "<": " below ", ">=": " "}
	return t.name() + how[t.sign()] + t.format(t.Limit) + t.span()
}

// format writes a value with the signal's unit.
func (t Test) format(v float64) string {
	switch t.Signal {
	case Usage, Pressure:
		return plain(v) + "%"
	case Swap, Shmem:
		return plain(v/(1<<20)) + "MiB"
	case LimitIn:
		if math.IsInf(v, 1) {
			return NotRising
		}
		return plain(v) + "s"
	}
	return plain(v)
}

// text writes a duration as a policy file would: 10m, not 10m0s.
func text(v time.Duration) string {
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// plain writes a number with at most two digits after the point.
func plain(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}
