package policy

import "slices"

// CountsConnections reports whether the policy may order by connections in the next step,
// so that they must be counted: the tier before is entered, or a client waits for room.
func (st *State) CountsConnections(p *Policy) bool {
	for i, t := range p.Tiers {
		near := st.Tier >= i || st.LackingRoom > 0
		byCost := func(a Action) bool { return a.HardStop.ByCost }
		if near && slices.ContainsFunc(t.Actions, byCost) {
			return true
		}
	}
	return false
}

// unworthy returns the tier's action of a kind as withheld if what stopping workers hold
// does not justify it, or nil. Without a known gain no connection is cut.
func (pl *planner) unworthy(kind string, percent float64) *Withheld {
	if !pl.weighs(percent) {
		return nil
	}
	w := &Withheld{Tier: pl.p.Tiers[pl.tier].Name, Kind: kind, Since: pl.s.Now, Worth: percent}
	for worker := range pl.stopping {
		if bytes := worker.footprint(); bytes > 0 {
			w.Gain += bytes
		} else {
			w.Unknown++
		}
	}
	limits := pl.short()
	if slices.ContainsFunc(limits, func(l Limit) bool { return l.justifies(w.Gain, percent) }) {
		return nil
	}
	w.Of = limits[0]
	return w
}

// weighs reports whether the gain is compared with what is short. A tier that is always
// entered does not compare it: it bounds the age of workers, not memory.
func (pl *planner) weighs(percent float64) bool {
	return percent > 0 && (pl.forRoom || pl.p.Tiers[pl.tier].Enter.Op != Always)
}

// short returns the limits because of which the target is in the tier: those of the
// comparisons that enter it now, or those that keep leave from being true, or the limit
// that is used most.
func (pl *planner) short() []Limit {
	if pl.forRoom {
		return []Limit{pl.s.RoomOf}
	}
	t, n := &pl.p.Tiers[pl.tier], &pl.st.Tiers[pl.tier]
	limits := t.Enter.limits(&n.Enter, pl.s, yes, nil)
	if len(limits) == 0 {
		limits = t.Leave.limits(&n.Leave, pl.s, no, nil)
	}
	if len(limits) == 0 {
		limits = []Limit{pl.s.UsageOf}
	}
	return limits
}

// limits appends the limits of the comparisons that contribute to c having the wanted
// truth, yes or no.
func (c *Condition) limits(n *ConditionState, s *Sample, want truth, found []Limit) []Limit {
	switch c.Op {
	case Compare:
		if c.Comparison.truth(n, s) == want {
			found = append(found, c.Comparison.limit(s))
		}
	case Not:
		return c.Parts[0].limits(n.part(0), s, -want, found)
	default:
		for i := range c.Parts {
			found = c.Parts[i].limits(n.part(i), s, want, found)
		}
	}
	return found
}

// limit returns what the signal was measured against. Pressure does not name its cause:
// the limit that is used most counts as such.
func (c *Comparison) limit(s *Sample) Limit {
	switch c.Signal {
	case Usage, Pressure:
		return s.UsageOf
	case ReloadRoom, LimitIn:
		return s.RoomOf
	}
	return Limit{Name: "the cgroup's own memory", Own: true}
}

// withhold records that an action of an entered tier is not done.
func (pl *planner) withhold(w Withheld) {
	if pl.forRoom {
		return
	}
	i := slices.IndexFunc(pl.st.Withheld, func(o Withheld) bool {
		return o.Tier == w.Tier && o.Kind == w.Kind
	})
	if i < 0 {
		pl.st.Withheld = append(pl.st.Withheld, w)
		pl.d.Withheld = append(pl.d.Withheld, w)
		return
	}
	w.Since = pl.st.Withheld[i].Since
	pl.st.Withheld[i] = w
}

// dropWithheld removes the withheld actions that are due now, and those of tiers that
// were left.
func (st *State) dropWithheld(p *Policy, d *Decision) {
	st.Withheld = slices.DeleteFunc(st.Withheld, func(w Withheld) bool {
		entered := slices.ContainsFunc(p.Tiers[:st.Tier], func(t Tier) bool {
			return t.Name == w.Tier
		})
		return !entered || slices.ContainsFunc(d.Actions, func(due Due) bool {
			return due.Tier == w.Tier && due.Kind == w.Kind
		})
	})
}
