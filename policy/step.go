package policy

import (
	"errors"
	"slices"
	"time"
)

// maxGap is how far apart two steps may be. After a longer gap (a suspended machine, a debugger) nobody knows what held
// in between.
const maxGap = time.Minute

// State is all that Step remembers of one target. The zero value is ready. It is not safe for concurrent use.
type State struct {
	Tier     int             `json:"Tier"`     // 0 = none, 1 = the policy's first
	TierName string          `json:"TierName"` // "" = none
	Started  bool            `json:"Started"`
	Now      time.Duration   `json:"Now"`     // of the last step
	Changed  time.Duration   `json:"Changed"` // when the tier last changed
	Why      string          `json:"Why"`     // what decided that
	Entered  []time.Duration `json:"Entered"` // by tier, from 0: since when it has been held; of tiers that are not, nothing
	Nodes    []Nodes         `json:"Nodes"`   // by tier, from 0
	Workers  []Memory        `json:"Workers"` // of the workers known to have been stopping

	Acted      bool          `json:"Acted"`      // something took effect, at Effect
	Effect     time.Duration `json:"Effect"`     // when an action last freed memory or ended a worker
	Terminated bool          `json:"Terminated"` // a termination ended or failed, at TerminatedAt
	// TerminatedAt is when a terminated worker was last seen to be gone, or could not be terminated.
	TerminatedAt time.Duration   `json:"TerminatedAt"`
	Terminations []time.Duration `json:"Terminations"`      // when those of the last minute were given
	Withheld     []Withheld      `json:"Withheld,omitzero"` // of the tiers held

	policy      *Policy          // the one that Entered and Nodes belong to
	moments     []Moment         // by tier, from 0: what is true in this step and was in the last
	index       map[WorkerID]int // in Workers, of the workers sensed; below 0 where it has none
	generations []int            // that are stopping, from the oldest
}

// Nodes is what is remembered of a tier's conditions.
type Nodes struct {
	Enter  Node   `json:"Enter"`
	Leave  Node   `json:"Leave"`
	Urgent Node   `json:"Urgent"`
	Last   Moment `json:"Last"` // what was true at the last step
}

// Moment is what is true of a tier in one step. What costs connections rests on what is true in two steps in a row: a single reading can
// be wrong.
type Moment struct {
	Enter  bool `json:"Enter"` // enter has been true for its For
	Short  bool `json:"Short"` // not calm: calm is leave, though perhaps not for long enough, while enter is not true even for a moment
	Urgent bool `json:"Urgent"`
}

// and is what is true of both.
func (m Moment) and(o Moment) Moment {
	return Moment{m.Enter && o.Enter, m.Short && o.Short, m.Urgent && o.Urgent}
}

// Change is one change of tier.
type Change struct {
	From     int    `json:"From"` // 0 = none
	To       int    `json:"To"`   // 0 = none
	FromName string `json:"FromName"`
	ToName   string `json:"ToName"`
	Why      string `json:"Why"` // the value of each signal that the deciding condition read
}

// Decision is what one step came to.
type Decision struct {
	Tier     int      `json:"Tier"` // 0 = none, 1 = the policy's first
	TierName string   `json:"TierName"`
	Changes  []Change `json:"Changes"`
	Actions  []Due    `json:"Actions"` // in the order in which they are to be done
	// Withheld are the actions that are withheld from this step on.
	Withheld []Withheld `json:"Withheld,omitzero"`
	// Confirm asks for the next sample soon: it decides whether connections are cut.
	Confirm bool `json:"Confirm,omitempty"`
}

// Step takes what was sensed and decides. It rises at once to the highest tier whose enter holds, one that cuts connections after a second
// sample in which it holds, and falls one tier at a time. A different policy than at the last step is taken over by the name of its tiers.
func Step(p *Policy, st *State, s Sample) Decision {
	d := Decision{}
	st.adopt(p, s.Now, &d)
	st.clock(s.Now)
	st.move(p, &s, &d)
	if s.WorkersAbsent == "" {
		st.meet(&s)
		plan(p, st, &s, &d)
	}
	st.resume(p, &d)
	d.Tier, d.TierName = st.Tier, st.TierName
	return d
}

// adopt makes st fit p. Where the new policy has no tier of the present one's name the ladder is begun anew from below:
// an edit of the policy alone must never make things harsher.
func (st *State) adopt(p *Policy, now time.Duration, d *Decision) {
	if st.policy == p {
		return
	}
	st.policy, st.moments = p, make([]Moment, len(p.Tiers))
	st.Nodes = make([]Nodes, len(p.Tiers))
	st.Entered = slices.Repeat([]time.Duration{now}, len(p.Tiers))
	if st.Tier == 0 {
		return
	}
	tier := 1 + slices.IndexFunc(p.Tiers, func(t Tier) bool { return t.Name == st.TierName })
	if tier != st.Tier {
		d.Changes = append(d.Changes, st.change(p, tier, "the policy changed"))
	}
}

// Resume makes a State that was written down under p go on where it was, rather than be adopted by p as by another policy.
func (st *State) Resume(p *Policy) error {
	if !st.Started {
		return nil // the first step adopts p
	}
	name := ""
	if st.Tier > 0 && st.Tier <= len(p.Tiers) {
		name = p.Tiers[st.Tier-1].Name
	}
	if st.Tier < 0 || st.TierName != name || len(st.Nodes) != len(p.Tiers) || len(st.Entered) != len(p.Tiers) {
		return errors.New("taking over a state: it is not one of this policy")
	}
	st.policy, st.moments = p, make([]Moment, len(p.Tiers))
	return nil
}

// Interrupted takes note that whatever was in flight was broken off at a time: it has failed.
func (st *State) Interrupted(at time.Duration) {
	for _, m := range st.Workers {
		for kind, a := range m.Attempts {
			if a.InFlight {
				st.Done(Outcome{Kind: kind, Worker: m.ID, At: at, Result: Failed})
			}
		}
	}
}

// HardStopAfter returns the effective hard-stop-after that the tiers held give workers; false where none does.
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

// Pending reports whether time alone may soon take the ladder to another tier: an enter, or a part of it, is true but not yet for long enough.
func (st *State) Pending(p *Policy) bool {
	for i := range p.Tiers {
		if n := st.Nodes[i]; n.Enter.pending(&p.Tiers[i].Enter, st.Now) || n.Urgent.pending(&p.Tiers[i].Urgent, st.Now) {
			return true
		}
	}
	return false
}

// Under reports whether the last step was, or the state goes on, under p: another policy is adopted by the next step.
func (st *State) Under(p *Policy) bool { return st.policy == p }

// clock notes the time. Where it ran backwards or jumped, all that is timed begins anew from now; the tier stays.
func (st *State) clock(now time.Duration) {
	jumped := st.Started && (now < st.Now || now-st.Now > maxGap)
	st.Started, st.Now = true, now
	if !jumped {
		return
	}
	st.Changed = now
	clear(st.Nodes)
	for i := range st.Workers {
		m := &st.Workers[i]
		m.Seen = now
		for _, a := range m.Attempts {
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

// move evaluates every tier and changes to another where that is decided.
func (st *State) move(p *Policy, s *Sample, d *Decision) {
	rise, fall := 0, false
	for i := range p.Tiers {
		t, n := &p.Tiers[i], &st.Nodes[i]
		enter := t.Enter.observe(&n.Enter, s)
		leave := t.Leave.observe(&n.Leave, s)
		if enter == yes {
			leave = no // or it would be entered again at once
		}
		is := Moment{
			Enter:  n.Enter.hold(enter, t.Enter.For, s.Now) == yes,
			Short:  leave != yes || t.Enter.now(&n.Enter, s) == yes,
			Urgent: t.Urgent.step(&n.Urgent, s) == yes,
		}
		still := is.and(n.Last)
		if is.Enter && (still.Enter || !t.confirms()) {
			rise = i + 1
		}
		if held := i < st.Tier; t.cuts() && (held && (is.Short != still.Short || is.Urgent != still.Urgent) || !held && is.Enter != still.Enter && t.confirms()) {
			d.Confirm = true
		}
		st.moments[i], n.Last = still, is
		if leave = n.Leave.hold(leave, t.Leave.For, s.Now); i+1 == st.Tier {
			fall = leave == yes
		}
	}
	switch {
	case rise > st.Tier:
		reason := p.Tiers[rise-1].Enter.why(&st.Nodes[rise-1].Enter, s)
		for i := st.Tier; i < rise; i++ {
			st.Entered[i] = s.Now
		}
		d.Changes = append(d.Changes, st.change(p, rise, reason))
	case fall:
		reason := p.Tiers[st.Tier-1].Leave.why(&st.Nodes[st.Tier-1].Leave, s)
		d.Changes = append(d.Changes, st.change(p, st.Tier-1, reason))
	}
}

// change moves to another tier.
func (st *State) change(p *Policy, to int, why string) Change {
	c := Change{From: st.Tier, FromName: st.TierName, To: to, Why: why}
	if to > 0 {
		c.ToName = p.Tiers[to-1].Name
		// A tier's leave counts from when it became the present one: each has its own time on the way down.
		st.Nodes[to-1].Leave.release()
	}
	st.Tier, st.TierName, st.Changed, st.Why = to, c.ToName, st.Now, why
	return c
}
