package policy

import "time"

// truth is three-valued. The order makes any the maximum, all the minimum, and not the
// negative.
type truth int8

const (
	no      truth = -1
	unknown truth = 0
	yes     truth = 1
)

// ConditionState is what is remembered of one condition from step to step.
type ConditionState struct {
	Held  bool          `json:"Held"`  // it has been true since Since
	Since time.Duration `json:"Since"` // only if the condition has a For
	Ring  []Point       `json:"Ring"`  // only if it has a window
	// Rejected is why the total of this step is not believed; "" = it is. Only if it has
	// a window.
	Rejected string           `json:"Refused,omitempty"`
	Parts    []ConditionState `json:"Of"`
}

// Point is one reading of a running total.
type Point struct {
	At    time.Duration `json:"At"`
	Total float64       `json:"Total"`
}

// ringParts is the resolution of a window: it is longer than requested by at most this
// part of its length, or by one tick if ticks are rarer.
const ringParts = 32

// push records a total for a window.
func (n *ConditionState) push(now, window time.Duration, total float64) {
	if last := len(n.Ring) - 1; last < 0 || now-n.Ring[last].At >= window/ringParts {
		n.Ring = append(n.Ring, Point{now, total})
	}
	// The first point is the newest one that is at least a window old.
	drop := 0
	for drop+1 < len(n.Ring) && n.Ring[drop+1].At <= now-window {
		drop++
	}
	n.Ring = append(n.Ring[:0], n.Ring[drop:]...)
}

// growth returns over which time the total grew, and by how much.
func (n *ConditionState) growth(total float64, now time.Duration) (time.Duration, float64) {
	if len(n.Ring) == 0 {
		return 0, 0
	}
	return now - n.Ring[0].At, total - n.Ring[0].Total
}

// spans reports whether the recorded points cover the whole window.
func (n *ConditionState) spans(window, now time.Duration) bool {
	return len(n.Ring) > 0 && now-n.Ring[0].At >= window
}
