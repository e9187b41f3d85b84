package policy

import (
	"math"
	"time"
)

// The signals that a Comparison can read.
const (
	Usage      = "usage"       // percent of the limit that is used most
	ReloadRoom = "reload-room" // reloads that still fit
	Pressure   = "pressure"    // percent of time stalled, from memory.pressure
	Events     = "events"      // counts of memory.events
	LimitIn    = "limit-in"    // seconds until the limit is reached
	Swap       = "swap"        // bytes
	Shmem      = "shmem"       // bytes
)

// Comparison compares one signal with a threshold: pressure and events by "at least", the
// others by above or below.
type Comparison struct {
	Signal    string
	Of        string // pressure: some or full; events: the kernel's key
	Below     bool
	Threshold float64       // in the unit of the signal
	Window    time.Duration // pressure and events: measured over exactly this time
	Average   time.Duration // pressure: instead of Window, the kernel's average of 10, 60 or 300 s
}

func (c *Comparison) truth(n *ConditionState, s *Sample) truth {
	v, absent := c.read(n, s)
	if absent != "" {
		return unknown
	}
	met := v > c.Threshold
	switch c.sign() {
	case "<":
		met = v < c.Threshold
	case ">=":
		met = v >= c.Threshold
	}
	switch {
	case met:
		return yes
	case c.Window > 0 && !n.spans(c.Window, s.Now):
		return unknown // the known part of the window is not enough, but the rest may be
	}
	return no
}

// sign returns how the value compares with the threshold when the comparison is met.
func (c *Comparison) sign() string {
	switch {
	case c.Below:
		return "<"
	case c.Signal == Pressure || c.Signal == Events:
		return ">="
	}
	return ">"
}

// read returns the value of the signal in the unit of Threshold, or why there is none.
func (c *Comparison) read(n *ConditionState, s *Sample) (v float64, absent string) {
	r := c.reading(s)
	switch {
	case c.Signal == LimitIn && r.Absent == NotRising:
		return math.Inf(1), ""
	case r.Absent != "":
		return 0, r.Absent
	case c.impossible(r.Value) != "":
		return 0, c.impossible(r.Value)
	case c.Window == 0:
		return r.Value, ""
	case n.Rejected != "":
		return 0, n.Rejected
	}
	over, growth := n.growth(r.Value, s.Now)
	if c.Signal == Events {
		return growth, ""
	}
	// A total is in µs. Before the window is filled the result is a lower bound.
	return min(growth/float64(max(over, c.Window).Microseconds())*100, 100), ""
}

// impossible returns why the signal cannot have a value, "" if it can. Usage above 100%
// is possible: memory.high can be exceeded, and a limit can be lowered below the present
// usage.
func (c *Comparison) impossible(v float64) string {
	switch {
	case math.IsNaN(v):
		return "not a number"
	case math.IsInf(v, 0):
		return "infinite"
	case v < 0:
		return "less than 0"
	case c.Average > 0 && v > 100:
		return "more than all of the time"
	}
	return ""
}

// reading selects the reading of the signal; with a window that is the running total.
func (c *Comparison) reading(s *Sample) Reading {
	switch c.Signal {
	case Usage:
		return s.Usage
	case ReloadRoom:
		return s.ReloadRoom
	case LimitIn:
		return s.LimitIn
	case Swap:
		return s.Swap
	case Shmem:
		return s.Shmem
	case Events:
		if r, ok := s.Events[c.Of]; ok {
			return r
		}
		return Reading{Absent: "not reported"}
	case Pressure:
		some, full := s.SomeTotal, s.FullTotal
		switch c.Average {
		case 10 * time.Second:
			some, full = s.Some10, s.Full10
		case time.Minute:
			some, full = s.Some60, s.Full60
		case 5 * time.Minute:
			some, full = s.Some300, s.Full300
		}
		if c.Of == "some" {
			return some
		}
		return full
	}
	return Reading{Absent: "no such signal"}
}
