package policy

import (
	"fmt"
	"time"
)

// Point is one reading of a running total.
type Point struct {
	At    time.Duration `json:"At"`
	Total float64       `json:"Total"`
}

// ringParts is how finely a window is kept: its exact length is at most this part longer than asked for, or one tick
// where ticks are rarer.
const ringParts = 32

// push records a total for a window.
func (n *Node) push(now, window time.Duration, total float64) {
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

// observe records the total that the test's window needs. A total that cannot follow from the last one makes the reading absent for this
// step, with n.Refused as the reason, and the window is dropped.
func (t *Test) observe(n *Node, s *Sample) {
	n.Refused = ""
	r := t.reading(s)
	if t.Window == 0 || r.Absent != "" || t.impossible(r.Value) != "" {
		return
	}
	backwards := false
	if last := len(n.Ring) - 1; last >= 0 {
		backwards = r.Value < n.Ring[last].Total
		if n.Refused = t.jump(n.Ring[last], r.Value, s); n.Refused != "" {
			n.Ring = n.Ring[:0]
		}
	}
	// The total of a group made anew, or a wrong one that is smaller: the next reading shows which, and the window begins with that.
	if !backwards {
		n.push(s.Now, t.Window, r.Value)
	}
}

const (
	// The kernel adds up what each CPU has counted, a little before or after the others.
	skew = 100 * time.Millisecond
	// Each event is a walk through the allocator: one CPU counts some ten million in a second.
	mostEvents = 1e9
)

// jump returns why a total cannot follow from the last one, "" if it can: counts do not run backwards, and no task can have stood still for
// longer than the time between two readings.
func (t *Test) jump(last Point, total float64, s *Sample) string {
	growth, passed := total-last.Total, max(s.Now, s.PressureAt)-last.At
	switch {
	case growth < 0:
		return "its total ran backwards"
	case t.Signal == Events && growth > mostEvents*(passed+time.Second).Seconds(),
		t.Signal == Pressure && growth > float64((passed+skew).Microseconds()):
		return fmt.Sprintf("its total rose by %s in %s", t.formatTotal(growth), FormatDuration(passed.Round(time.Millisecond)))
	}
	return ""
}

// formatTotal writes a difference of totals.
func (t *Test) formatTotal(v float64) string {
	if t.Signal == Pressure {
		return fmt.Sprintf("%.3gs", v/1e6)
	}
	return fmt.Sprintf("%.3g", v)
}
