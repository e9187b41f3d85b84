package policy

import "time"

// Point is one reading of a running total.
type Point struct {
	At    time.Duration
	Total float64
}

// ringParts is how finely a window is kept: its exact length is at most this part longer than asked for, or one tick
// where ticks are rarer.
const ringParts = 32

// push remembers a total for a window. A total that became smaller belongs to another group of the same name, made
// anew: what was known is dropped.
func (n *Node) push(now, window time.Duration, total float64) {
	if last := len(n.Ring) - 1; last >= 0 && total < n.Ring[last].Total {
		n.Ring = n.Ring[:0]
	}
	if last := len(n.Ring) - 1; last < 0 || now-n.Ring[last].At >= window/ringParts {
		n.Ring = append(n.Ring, Point{now, total})
	}
	// The first point is the newest that is at least a window old.
	drop := 0
	for drop+1 < len(n.Ring) && n.Ring[drop+1].At <= now-window {
		drop++
	}
	n.Ring = append(n.Ring[:0], n.Ring[drop:]...)
}

// growth returns how much the total grew over the time that is remembered.
func (n *Node) growth(total float64, now time.Duration) (over time.Duration, growth float64) {
	if len(n.Ring) == 0 {
		return 0, 0
	}
	return now - n.Ring[0].At, total - n.Ring[0].Total
}

// spans tells whether what is remembered covers the whole window.
func (n *Node) spans(window, now time.Duration) bool {
	return len(n.Ring) > 0 && now-n.Ring[0].At >= window
}

// observe pushes the total that the test's window needs.
func (t *Test) observe(n *Node, s *Sample) {
	if r := t.reading(s); t.Window > 0 && r.Absent == "" && r.Value == r.Value { // not NaN
		n.push(s.Now, t.Window, r.Value)
	}
}
