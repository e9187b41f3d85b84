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
	Held  bool          // it has been true since Since
	Since time.Duration // only where the condition has a For
	Ring  []Point       // only where it has a window
}

// evaluator walks conditions in the order in which State.Nodes holds their memory: a node, then its parts.
type evaluator struct {
	st   *State
	s    *Sample
	next int
	// instant leaves every For out: what is true at this moment, however briefly. Nothing is remembered of it.
	instant bool
}

// take returns the memory of the next condition.
func (e *evaluator) take() *Node {
	n := &e.st.Nodes[e.next]
	e.next++
	return n
}

// eval tells whether c is true, and has been for its For.
func (e *evaluator) eval(c *Condition) truth {
	n := e.take()
	if e.instant {
		return e.raw(c, n)
	}
	return n.hold(e.raw(c, n), c.For, e.s.Now)
}

// raw is eval without c's own For.
func (e *evaluator) raw(c *Condition, n *Node) truth {
	switch c.Op {
	case Always:
		return yes
	case Compare:
		return c.Test.truth(n, e.s)
	case Not:
		return -e.eval(&c.Of[0])
	case Any:
		// No short cut: every part has memory of its own to keep up.
		t := no
		for i := range c.Of {
			t = max(t, e.eval(&c.Of[i]))
		}
		return t
	case All:
		t := yes
		for i := range c.Of {
			t = min(t, e.eval(&c.Of[i]))
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

// count returns how many nodes c has.
func (c *Condition) count() int {
	total := 1
	for i := range c.Of {
		total += c.Of[i].count()
	}
	return total
}
