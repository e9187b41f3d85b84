package policy

import (
	"time"

	"gopkg.in/yaml.v3"
)

// maxDepth is how deep conditions may nest.
const maxDepth = 8

var signals = []string{Usage, ReloadRoom, Pressure, Events, LimitIn, Swap, Shmem}

// condition decodes one condition: a mapping with one operator or signal and perhaps for.
func (d *decoder) condition(n *yaml.Node, all *conditions, positive bool, depth int) Condition {
	known := append([]string{string(Any), string(All), string(Not), "for"}, signals...)
	if depth > maxDepth {
		d.errorf(n, "conditions are nested deeper than %d", maxDepth)
		return Condition{}
	}
	f := d.mapping(n, "a condition", known...)
	if f == nil {
		return Condition{}
	}
	c := Condition{}
	if v := f["for"]; v != nil {
		c.For = d.duration(v, "for")
		delete(f, "for")
	}
	if len(f) != 1 {
		d.errorf(n, "a condition has one of any, all, not or a signal, this one has %d: join several with any or all", len(f))
		return c
	}
	for key, v := range f { // exactly one
		switch key {
		case string(Any), string(All):
			c.Op = Op(key)
			for _, item := range d.list(v, key) {
				c.Of = append(c.Of, d.condition(item, all, positive, depth+1))
			}
		case string(Not):
			c.Op = Not
			c.Of = []Condition{d.condition(v, all, !positive, depth+1)}
		default:
			before := len(d.errs)
			c.Op = Compare
			c.Test = d.test(key, v)
			if len(d.errs) == before { // a limit that was not understood overlaps with nothing
				*all = append(*all, placed{c.Test, positive, v})
			}
		}
	}
	return c
}

// test decodes what stands behind a signal.
func (d *decoder) test(signal string, n *yaml.Node) Test {
	switch signal {
	case Pressure:
		return d.pressure(n)
	case Events:
		return d.events(n)
	}
	t := Test{Signal: signal}
	f := d.mapping(n, signal, "above", "below")
	if f == nil {
		return t
	}
	if len(f) != 1 {
		d.errorf(n, "%s has either above or below, this one has %d of them", signal, len(f))
		return t
	}
	for key, v := range f { // exactly one
		t.Below = key == "below"
		what := signal + " " + key
		switch signal {
		case Usage:
			t.Limit = d.percent(v, what)
		case ReloadRoom:
			t.Limit = d.number(v, what, 0, 1000)
		case LimitIn:
			t.Limit = d.duration(v, what).Seconds()
		default:
			t.Limit = d.size(v, what)
		}
	}
	return t
}

// The bounds of a window: shorter than the kernel's own for pressure triggers says nothing, and a longer one is the
// kernel's averages' work.
const (
	minWindow = 500 * time.Millisecond
	maxWindow = 10 * time.Minute
)

func (d *decoder) pressure(n *yaml.Node) Test {
	t := Test{Signal: Pressure}
	f := d.mapping(n, Pressure, "some", "full", "window", "average")
	if f == nil {
		return t
	}
	if (f["some"] == nil) == (f["full"] == nil) {
		d.errorf(n, "pressure has either some or full: write for example {some: 5%%, window: 10s}")
		return t
	}
	for _, of := range []string{"some", "full"} {
		if v := f[of]; v != nil {
			t.Of = of
			if t.Limit = d.percent(v, "pressure "+of); t.Limit == 0 {
				d.errorf(v, "pressure %s of 0%% is always reached: write more", of)
			}
		}
	}
	switch window, average := f["window"], f["average"]; {
	case (window == nil) == (average == nil):
		d.errorf(n, "pressure has either window or average: write for example {some: 5%%, window: 10s}")
	case window != nil:
		t.Window = d.durationBetween(window, "window", minWindow, maxWindow)
	default:
		t.Average = d.duration(average, "average")
		if t.Average != 10*time.Second && t.Average != time.Minute && t.Average != 5*time.Minute {
			d.errorf(average, "average %s is not one the kernel keeps: write 10s, 60s or 300s", average.Value)
		}
	}
	return t
}

var eventNames = []string{"high", "max", "oom", "oom_kill"}

func (d *decoder) events(n *yaml.Node) Test {
	t := Test{Signal: Events}
	f := d.mapping(n, Events, append([]string{"window"}, eventNames...)...)
	if f == nil {
		return t
	}
	window := f["window"]
	delete(f, "window")
	if len(f) != 1 || window == nil {
		d.errorf(n, "events has one event and a window: write for example {high: 1, window: 10s}")
		return t
	}
	for key, v := range f { // exactly one
		t.Of = key
		t.Limit = float64(d.count(v, "events "+key, 1))
	}
	t.Window = d.durationBetween(window, "window", minWindow, maxWindow)
	return t
}
