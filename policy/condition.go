package policy

import "time"

// Op is what a condition does with its parts.
type Op string

const (
	Any     Op = "any"
	All     Op = "all"
	Not     Op = "not"
	Always  Op = "always"  // only as the whole of an enter
	Compare Op = "compare" // a leaf: Test says of what
)

// Condition is a tree of comparisons. A reading that is absent makes it neither true nor false, unless the rest decides:
// any of true and unknown is true, all of false and unknown is false.
type Condition struct {
	Op   Op
	Of   []Condition
	Test Test
	For  time.Duration // it is true only once it has been true this long without a break; 0 = at once
}

// truth is three-valued. The order makes any the largest, all the smallest, and not the negative.
type truth int8

const (
	no      truth = -1
	unknown truth = 0
	yes     truth = 1
)

// Node is what is remembered of one condition from step to step.
type Node struct {
	Held  bool          `json:"Held"`  // it has been true since Since
	Since time.Duration `json:"Since"` // only where the condition has a For
	Ring  []Point       `json:"Ring"`  // only where it has a window
	// Refused is why the total of this step is not believed, only where it has a window; "" = it is.
	Refused string `json:"Refused,omitempty"`
	Of      []Node `json:"Of"` // of its parts
}

// parts returns the memory of the parts of c, of which n is the memory.
func (n *Node) parts(c *Condition) []Node {
	if len(n.Of) != len(c.Of) {
		n.Of = make([]Node, len(c.Of))
	}
	return n.Of
}

// part returns the memory of one part, the zero Node before the first step.
func (n *Node) part(i int) *Node {
	if i < len(n.Of) {
		return &n.Of[i]
	}
	return &Node{}
}

// step evaluates c in one step: whether it is true, and has been for its For. It is called once in each step.
func (c *Condition) step(n *Node, s *Sample) truth {
	return n.hold(c.observe(n, s), c.For, s.Now)
}

// observe is step without c's own For.
func (c *Condition) observe(n *Node, s *Sample) truth {
	parts := n.parts(c)
	switch c.Op {
	case Always:
		return yes
	case Compare:
		c.Test.observe(n, s)
		return c.Test.truth(n, s)
	case Not:
		return -c.Of[0].step(&parts[0], s)
	case Any:
		// No short cut: every part has memory of its own to keep up.
		t := no
		for i := range c.Of {
			t = max(t, c.Of[i].step(&parts[i], s))
		}
		return t
	case All:
		t := yes
		for i := range c.Of {
			t = min(t, c.Of[i].step(&parts[i], s))
		}
		return t
	}
	return unknown
}

// now evaluates c without any For: whether it is true at this moment, however briefly. It follows step and changes nothing.
func (c *Condition) now(n *Node, s *Sample) truth {
	switch c.Op {
	case Always:
		return yes
	case Compare:
		return c.Test.truth(n, s)
	case Not:
		return -c.Of[0].now(n.part(0), s)
	case Any:
		t := no
		for i := range c.Of {
			t = max(t, c.Of[i].now(n.part(i), s))
		}
		return t
	case All:
		t := yes
		for i := range c.Of {
			t = min(t, c.Of[i].now(n.part(i), s))
		}
		return t
	}
	return unknown
}

// hold delays yes until it has lasted. An unknown ends it like a no: time that was not seen does not count.
func (n *Node) hold(t truth, length, now time.Duration) truth {
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

// pending reports whether c, or a part of it, waits for the rest of its For.
func (n *Node) pending(c *Condition, now time.Duration) bool {
	if n.Held && now-n.Since < c.For {
		return true
	}
	for i := range n.Of {
		if n.Of[i].pending(&c.Of[i], now) {
			return true
		}
	}
	return false
}

// release makes what is held begin anew, in the parts as well.
func (n *Node) release() {
	n.Held = false
	for i := range n.Of {
		n.Of[i].release()
	}
}
