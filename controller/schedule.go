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

	// After stillAfter without an event, a change or an action, a glance at usage and pressure each tickStill stands for a look, but for one each
	// lookStill. What else is sensed has an event that wakes us, or is slow.
	stillAfter = 10 * time.Second
	tickStill  = 2 * time.Second
	lookStill  = 10 * time.Second

	somePressure = 1 // percent, of some avg10: too little for the trigger that wakes us, but policies can ask for less
)

// pace knows how closely a target has to be watched.
type pace struct {
	tier   int
	held   bool           // the tier is held for what was sensed, not by a policy that always is in it
	looked time.Duration  // when it was last looked at
	event  time.Duration  // when anything last happened
	usage  policy.Reading // as it was then
	room   uint64         // to the nearest limit then, in bytes; that need not be the one that usage is of
}

// look takes down a look. something: it has led to something.
func (p *pace) look(v view, tier int, held, something bool) {
	p.looked, p.tier, p.held = v.Now, tier, held
	if something || p.moved(v) {
		p.event, p.usage, p.room = v.Now, v.Usage, v.nearest.Headroom()
	}
}

// moved reports whether there is pressure, or usage is another than it was, by a tenth of what was left to a limit: far from it little matters.
func (p *pace) moved(v view) bool {
	usage, room := v.Usage, v.nearest.Headroom()
	return v.Some10.Value >= somePressure || usage.Absent != p.usage.Absent ||
		math.Abs(usage.Value-p.usage.Value) >= (100-p.usage.Value)/10 || max(room, p.room)-min(room, p.room) > p.room/10
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

// glanceIsEnough reports whether a glance stands for the look that is due now. It glances only if nothing
// has happened for long enough, and an event would wake the guard.
func (g *guard) glanceIsEnough(now time.Duration, glance func() view) bool {
	return g.pace.still(now) && !g.blind.Load() && !g.pace.moved(glance())
}

// decide asks the policy what to do after a look, and sets the pace by the answer. something: it has
// changed what a restart must not lose.
func (g *guard) decide(p *policy.Policy, v view) (d policy.Decision, something bool) {
	known := len(g.state.Workers)
	d = policy.Step(p, &g.state, v.Sample)
	if d.Confirm {
		g.wakeUp() // the next sample, tickLeast from now, decides
	}
	something = len(d.Changes) > 0 || len(d.Actions) > 0 || len(d.Withheld) > 0 || len(g.state.Workers) != known
	held := d.Tier > 0 && p.Tiers[d.Tier-1].Enter.Op != policy.Always
	g.pace.look(v, d.Tier, held, something || g.state.Pending(p) || g.endsSoon(p, v))
	return d, something
}
