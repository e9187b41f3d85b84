package policy

import (
	"fmt"
	"time"
)

// observe records the total for the window of the comparison. A total that cannot follow
// from the previous one makes the reading absent in this step, with n.Rejected as the
// reason, and empties the window.
func (c *Comparison) observe(n *ConditionState, s *Sample) {
	n.Rejected = ""
	r := c.reading(s)
	if c.Window == 0 || r.Absent != "" || c.impossible(r.Value) != "" {
		return
	}
	backwards := false
	if last := len(n.Ring) - 1; last >= 0 {
		backwards = r.Value < n.Ring[last].Total
		if n.Rejected = c.jump(n.Ring[last], r.Value, s); n.Rejected != "" {
			n.Ring = n.Ring[:0]
		}
	}
	// A smaller total is either of a new cgroup or wrong. The next reading decides, and
	// begins the window.
	if !backwards {
		n.push(s.Now, c.Window, r.Value)
	}
}

const (
	// skew is how much a stall may exceed the time in which it was measured. The kernel
	// adds up what each CPU has counted, a little before or after the others.
	skew = 100 * time.Millisecond
	// mostEvents bounds the events of a second. Each is a walk through the allocator: one
	// CPU counts some ten million.
	mostEvents = 1e9
)

// jump returns why a total cannot follow from the last point, "" if it can. Counts do not
// run backwards, and no task can have stalled for longer than the time between two
// readings.
func (c *Comparison) jump(last Point, total float64, s *Sample) string {
	growth, passed := total-last.Total, max(s.Now, s.PressureAt)-last.At
	switch {
	case growth < 0:
		return "its total ran backwards"
	case c.Signal == Events && growth > mostEvents*(passed+time.Second).Seconds(),
		c.Signal == Pressure && growth > float64((passed+skew).Microseconds()):
		passed := FormatDuration(passed.Round(time.Millisecond))
		return fmt.Sprintf("its total rose by %s in %s", c.formatTotal(growth), passed)
	}
	return ""
}

// formatTotal formats a difference of totals.
func (c *Comparison) formatTotal(v float64) string {
	if c.Signal == Pressure {
		return fmt.Sprintf("%.3gs", v/1e6)
	}
	return fmt.Sprintf("%.3g", v)
}
