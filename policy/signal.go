package policy

import (
	"math"
	"time"
)

// The signals a Test can be of.
const (
	Usage      = "usage"       // percent of the limit that is used most
	ReloadRoom = "reload-room" // reloads that still fit
	Pressure   = "pressure"    // percent of time stalled, from memory.pressure
	Events     = "events"      // counts of memory.events
	LimitIn    = "limit-in"    // seconds until the limit is reached
	Swap       = "swap"        // bytes
	Shmem      = "shmem"       // bytes
)

// Test compares one signal with a limit. Pressure and events are compared by "at least", all else by above or below.
type Test struct {
	Signal  string
	Of      string // pressure: some or full; events: the kernel's key
	Below   bool
	Limit   float64       // in the signal's unit
	Window  time.Duration // pressure and events: measured over this time, exactly
	Average time.Duration // pressure: instead of a window the kernel's running average of 10s, 60s or 300s
}

func (t *Test) truth(n *Node, s *Sample) truth {
	v, absent := t.read(n, s)
	if absent != "" {
		return unknown
	}
	met := v > t.Limit
	switch t.sign() {
	case "<":
		met = v < t.Limit
	case ">=":
		met = v >= t.Limit
	}
	switch {
	case met:
		return yes
	case t.Window > 0 && !n.spans(t.Window, s.Now):
		return unknown // what is known of the window is not enough; the rest of it may be
	}
	return no
}

// sign is how the value stands to the limit where the test is met.
func (t *Test) sign() string {
	switch {
	case t.Below:
		return "<"
	case t.Signal == Pressure || t.Signal == Events:
		return ">="
	}
	return ">"
}

// read returns the signal's value in the unit of Limit, or why there is none.
func (t *Test) read(n *Node, s *Sample) (v float64, absent string) {
	r := t.reading(s)
	switch {
	case t.Signal == LimitIn && r.Absent == NotRising:
		return math.Inf(1), ""
	case r.Absent != "":
		return 0, r.Absent
	case t.impossible(r.Value) != "":
		return 0, t.impossible(r.Value)
	case t.Window == 0:
		return r.Value, ""
	case n.Refused != "":
		return 0, n.Refused
	}
	over, growth := n.growth(r.Value, s.Now)
	if t.Signal == Events {
		return growth, ""
	}
	// A total is in microseconds. Before the window is filled this is the least it can be.
	return min(growth/float64(max(over, t.Window).Microseconds())*100, 100), ""
}

// impossible returns why a value cannot be the signal's, "" if it can. Usage may be above 100%: memory.high can be exceeded, and a limit be
// lowered below what is used, which is a shortage like any other.
func (t *Test) impossible(v float64) string {
	switch {
	case math.IsNaN(v):
		return "not a number"
	case math.IsInf(v, 0):
		return "infinite"
	case v < 0:
		return "less than 0"
	case t.Average > 0 && v > 100:
		return "more than all of the time"
	}
	return ""
}

// reading picks the test's reading; of a windowed one, the running total.
func (t *Test) reading(s *Sample) Reading {
	switch t.Signal {
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
		if r, ok := s.Events[t.Of]; ok {
			return r
		}
		return Reading{Absent: "not reported"}
	case Pressure:
		some, full := s.SomeTotal, s.FullTotal
		switch t.Average {
		case 10 * time.Second:
			some, full = s.Some10, s.Full10
		case time.Minute:
			some, full = s.Some60, s.Full60
		case 5 * time.Minute:
			some, full = s.Some300, s.Full300
		}
		if t.Of == "some" {
			return some
		}
		return full
	}
	return Reading{Absent: "no such signal"}
}
