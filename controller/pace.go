package controller

import (
	"math"
	"time"

	"hapressure/policy"
)

const (
	tickCalm  = time.Second            // between two looks when nothing happens
	tickBusy  = 500 * time.Millisecond // while in a tier
	tickLeast = 100 * time.Millisecond // a burst of wake-ups is one tick

	// After stillAfter without an event, a change or an action, a glance at usage each tickStill stands for a look, but for one each lookStill.
	// What else is sensed has an event that wakes us, or is slow.
	stillAfter = 10 * time.Second
	tickStill  = 2 * time.Second
	lookStill  = 10 * time.Second
)

// pace knows how closely a target has to be watched.
type pace struct {
	tier   int
	held   bool           // the tier is held for what was sensed, not by a policy that always is in it
	looked time.Duration  // when it was last looked at
	event  time.Duration  // when anything last happened
	usage  policy.Reading // as it was then
}

// look takes down a look. something: it has led to something.
func (p *pace) look(now time.Duration, usage policy.Reading, tier int, held, something bool) {
	p.looked, p.tier, p.held = now, tier, held
	if something || p.moved(usage) {
		p.event, p.usage = now, usage
	}
}

// moved reports whether usage is another than it was, by a tenth of what was left to the limit: far from it little matters.
func (p *pace) moved(usage policy.Reading) bool {
	return usage.Absent != p.usage.Absent || math.Abs(usage.Value-p.usage.Value) >= (100-p.usage.Value)/10
}

// still reports whether a glance is enough.
func (p *pace) still(now time.Duration) bool {
	return !p.held && now-p.event >= stillAfter && now-p.looked < lookStill
}

// next is when to look, or to glance, again.
func (p *pace) next(now time.Duration) time.Duration {
	switch {
	case !p.held && now-p.event >= stillAfter:
		return tickStill
	case p.tier > 0:
		return tickBusy
	}
	return tickCalm
}
