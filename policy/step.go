package policy

import (
	"errors"
	"slices"
	"time"
)

// maxGap bounds the time between two steps. After a longer gap (a suspended machine, a
// debugger) it is unknown what was true in between.
const maxGap = time.Minute

// Step decides about one sample. It rises at once to the highest tier whose enter is
// true, but to one that cuts connections only if a second sample confirms it. It falls
// one tier at a time. If the policy differs from that of the previous step, the state is
// carried over by the names of the tiers.
func Step(p *Policy, st *State, s Sample) Decision {
	d := Decision{}
	st.adopt(p, s.Now, &d)
	st.advance(s.Now)
	st.giveAgain(s.Mode)
	st.move(p, &s, &d)
	st.countLackingRoom(&s)
	if s.WorkersAbsent == "" {
		st.track(&s)
		plan(p, st, &s, &d)
		makeRoom(p, st, &s, &d)
	}
	st.dropWithheld(p, &d)
	d.Tier, d.TierName = st.Tier, st.TierName
	return d
}

// adopt makes st fit p. If p has no tier with the name of the present one, the ladder
// restarts from below: an edit of the policy alone must never make things harsher.
func (st *State) adopt(p *Policy, now time.Duration, d *Decision) {
	if st.policy == p {
		return
	}
	st.policy, st.confirmed = p, make([]Moment, len(p.Tiers))
	st.Tiers = make([]TierState, len(p.Tiers))
	st.Entered = slices.Repeat([]time.Duration{now}, len(p.Tiers))
	if st.Tier == 0 {
		return
	}
	tier := 1 + slices.IndexFunc(p.Tiers, func(t Tier) bool { return t.Name == st.TierName })
	if tier != st.Tier {
		d.Changes = append(d.Changes, st.change(p, tier, "the policy changed"))
	}
}

// Resume makes a State that was persisted under p continue where it was. Without it the
// next step adopts p as a changed policy.
func (st *State) Resume(p *Policy) error {
	if !st.Started {
		return nil // the first step adopts p
	}
	name := ""
	if st.Tier > 0 && st.Tier <= len(p.Tiers) {
		name = p.Tiers[st.Tier-1].Name
	}
	n := len(p.Tiers)
	if st.Tier < 0 || st.TierName != name || len(st.Tiers) != n || len(st.Entered) != n {
		return errors.New("resuming a state: it does not belong to this policy")
	}
	st.policy, st.confirmed = p, make([]Moment, len(p.Tiers))
	return nil
}

// Interrupted records that all actions in flight failed at a time.
func (st *State) Interrupted(at time.Duration) {
	for _, h := range st.Workers {
		for kind, a := range h.Attempts {
			if a.InFlight {
				st.Done(Outcome{Kind: kind, Worker: h.ID, At: at, Result: Failed})
			}
		}
	}
}

// HardStopAfter returns the shortest effective hard-stop-after of the entered tiers,
// false if there is none.
func (st *State) HardStopAfter(p *Policy) (limit time.Duration, ok bool) {
	for i := range min(st.Tier, len(p.Tiers)) {
		for _, a := range p.Tiers[i].Actions {
			if a.Kind != HardStopAfter {
				continue
			}
			if l := a.HardStop.limit(st.Now - st.Entered[i]); !ok || l < limit {
				limit, ok = l, true
			}
		}
	}
	return limit, ok
}

// Pending reports whether time alone may soon change the tier: an enter, or a part of
// one, is true but not yet for its whole For.
func (st *State) Pending(p *Policy) bool {
	for i := range p.Tiers {
		t, n := &p.Tiers[i], &st.Tiers[i]
		if n.Enter.pending(&t.Enter, st.Now) || n.Urgent.pending(&t.Urgent, st.Now) {
			return true
		}
	}
	return false
}

// Under reports whether st belongs to p. The next step adopts any other policy.
func (st *State) Under(p *Policy) bool { return st.policy == p }

// advance sets the time. If it ran backwards or jumped, all timers restart at now; the
// tier stays.
func (st *State) advance(now time.Duration) {
	jumped := st.Started && (now < st.Now || now-st.Now > maxGap)
	st.Started, st.Now = true, now
	if !jumped {
		return
	}
	st.Changed, st.LackingRoom = now, 0
	clear(st.Tiers)
	for i := range st.Workers {
		h := &st.Workers[i]
		h.Seen = now
		for _, a := range h.Attempts {
			a.Given, a.Retry = now, now
		}
	}
	st.Entered = slices.Repeat([]time.Duration{now}, len(st.Entered))
	st.Terminations = slices.Repeat([]time.Duration{now}, len(st.Terminations))
	st.Effect, st.TerminatedAt = now, now
	for i := range st.Withheld {
		st.Withheld[i].Since = now
	}
}

// giveAgain forgets the skipped actions that the mode permits now. What was true before
// does not count for them: tiers wait for the actions of milder ones as if just entered,
// effective limits begin again, and a second sample must confirm that connections are
// cut.
func (st *State) giveAgain(m Mode) {
	if m == "" {
		return
	}
	found := false
	for _, h := range st.Workers {
		for kind, a := range h.Attempts {
			if a.Result == Skipped && !a.InFlight && m.Permits(kind) {
				delete(h.Attempts, kind)
				found = true
			}
		}
	}
	if !found {
		return
	}
	st.Entered = slices.Repeat([]time.Duration{st.Now}, len(st.Entered))
	for i := range st.Tiers {
		st.Tiers[i].Last = Moment{}
	}
}

// move evaluates all tiers and changes the tier if they decide so.
func (st *State) move(p *Policy, s *Sample, d *Decision) {
	rise, fall := 0, false
	for i := range p.Tiers {
		t, n := &p.Tiers[i], &st.Tiers[i]
		enter := t.Enter.observe(&n.Enter, s)
		leave := t.Leave.observe(&n.Leave, s)
		if enter == yes {
			leave = no // otherwise the tier would be entered again at once
		}
		is := Moment{
			Enter:  n.Enter.sustain(enter, t.Enter.For, s.Now) == yes,
			Short:  leave != yes || t.Enter.now(&n.Enter, s) == yes,
			Urgent: t.Urgent.step(&n.Urgent, s) == yes,
		}
		twice := is.and(n.Last)
		if is.Enter && (twice.Enter || !t.confirms()) {
			rise = i + 1
		}
		unconfirmed := t.confirms() && is.Enter != twice.Enter
		if i < st.Tier {
			unconfirmed = t.cuts() && (is.Short != twice.Short || is.Urgent != twice.Urgent)
		}
		d.Confirm = d.Confirm || unconfirmed
		st.confirmed[i], n.Last = twice, is
		if leave = n.Leave.sustain(leave, t.Leave.For, s.Now); i+1 == st.Tier {
			fall = leave == yes
		}
	}
	switch {
	case rise > st.Tier:
		why := p.Tiers[rise-1].Enter.why(&st.Tiers[rise-1].Enter, s)
		for i := st.Tier; i < rise; i++ {
			st.Entered[i] = s.Now
		}
		d.Changes = append(d.Changes, st.change(p, rise, why))
	case fall:
		why := p.Tiers[st.Tier-1].Leave.why(&st.Tiers[st.Tier-1].Leave, s)
		d.Changes = append(d.Changes, st.change(p, st.Tier-1, why))
	}
}

// change moves to another tier.
func (st *State) change(p *Policy, to int, why string) Change {
	c := Change{From: st.Tier, FromName: st.TierName, To: to, Why: why}
	if to > 0 {
		c.ToName = p.Tiers[to-1].Name
		// The For of a tier's leave counts from when the tier became the present one, so
		// that each tier has its own time on the way down.
		st.Tiers[to-1].Leave.restart()
	}
	st.Tier, st.TierName, st.Changed, st.Why = to, c.ToName, st.Now, why
	return c
}
