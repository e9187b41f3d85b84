package policy

import "time"

// Op is how a condition combines its parts.
type Op string

// The ways to combine parts.
const (
	Any     Op = "any"
	All     Op = "all"
	Not     Op = "not"
	Always  Op = "always"  // only as a whole Enter or Urgent
	Compare Op = "compare" // a leaf: see Condition.Comparison
)

// Condition is a tree of comparisons. An absent reading makes a comparison neither true
// nor false. The whole is unknown as well, unless its other parts decide: any of true and
// unknown is true, all of false and unknown is false.
type Condition struct {
	Op         Op
	Parts      []Condition
	Comparison Comparison
	For        time.Duration // it must have been true for this long without a break; 0 = at once
}

// parts returns the states of the parts of c, whose state n is. It allocates them at the
// first step.
func (n *ConditionState) parts(c *Condition) []ConditionState {
	if len(n.Parts) != len(c.Parts) {
		n.Parts = make([]ConditionState, len(c.Parts))
	}
	return n.Parts
}

// part returns the state of one part, the zero state before the first step.
func (n *ConditionState) part(i int) *ConditionState {
	if i < len(n.Parts) {
		return &n.Parts[i]
	}
	return &ConditionState{}
}

// step evaluates c for a new sample: whether it has been true for its For. It must be
// called exactly once in each step.
func (c *Condition) step(n *ConditionState, s *Sample) truth {
	return n.sustain(c.observe(n, s), c.For, s.Now)
}

// observe does what step does, except for the For of c itself.
func (c *Condition) observe(n *ConditionState, s *Sample) truth {
	if c.Op == Compare {
		c.Comparison.observe(n, s)
		return c.Comparison.truth(n, s)
	}
	parts := n.parts(c)
	return c.combine(func(i int) truth { return c.Parts[i].step(&parts[i], s) })
}

// now evaluates c without any For: whether it is true at this moment, however briefly. It
// changes nothing and must be called after step.
func (c *Condition) now(n *ConditionState, s *Sample) truth {
	if c.Op == Compare {
		return c.Comparison.truth(n, s)
	}
	return c.combine(func(i int) truth { return c.Parts[i].now(n.part(i), s) })
}

// combine returns the truth of c by that of its parts. It evaluates all of them, even
// after one has decided, because each has a state to update.
func (c *Condition) combine(part func(i int) truth) truth {
	switch c.Op {
	case Always:
		return yes
	case Not:
		return -part(0)
	case Any:
		t := no
		for i := range c.Parts {
			t = max(t, part(i))
		}
		return t
	case All:
		t := yes
		for i := range c.Parts {
			t = min(t, part(i))
		}
		return t
	}
	return unknown
}

// sustain delays yes until it has lasted for a length. An unknown interrupts it as a no
// does: unseen time does not count.
func (n *ConditionState) sustain(t truth, length, now time.Duration) truth {
	if length == 0 {
		return t
	}
	if t != yes {
		n.Held = false
		return t
	}
	if !n.Held {
		n.Held, n.Since = true, now
	}
	if now-n.Since < length {
		return no
	}
	return yes
}

// pending reports whether c or one of its parts is true but not yet for its whole For.
func (n *ConditionState) pending(c *Condition, now time.Duration) bool {
	if n.Held && now-n.Since < c.For {
		return true
	}
	for i := range n.Parts {
		if n.Parts[i].pending(&c.Parts[i], now) {
			return true
		}
	}
	return false
}

// restart makes every For, also those of the parts, count from the next step.
func (n *ConditionState) restart() {
	n.Held = false
	for i := range n.Parts {
		n.Parts[i].restart()
	}
}
