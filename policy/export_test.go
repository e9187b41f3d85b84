package policy

// What the tests in package policy_test see of the inside. They are in a package of their
// own because policies are written in the language there, and package language imports
// this one.

type Truth = truth

const (
	Yes       = yes
	No        = no
	Undecided = unknown

	MaxGap = maxGap
)

// Eval evaluates a condition in one step, as Step does, and says why.
func (c *Condition) Eval(n *ConditionState, s *Sample) (Truth, string) {
	return c.step(n, s), c.why(n, s)
}
