package policy

import "slices"

// confirmedLacks is how many consecutive samples must lack room before connections are
// cut for it, as a second sample confirms a tier.
const confirmedLacks = 2

// countLackingRoom counts the consecutive steps in which there was less room than a
// client waits for. If the room is not known it does not count as short.
func (st *State) countLackingRoom(s *Sample) {
	st.LackingRoom++
	if s.ReloadRoom.Absent != "" || s.ReloadRoom.Value >= s.RoomWanted {
		st.LackingRoom = 0
	}
}

// makeRoom gives what a client that waits for room asks for: the actions of all tiers,
// also of those that were not entered, that cut no connection. A tier follows when those
// of the milder tiers are done. If memory is then still short and the policy permits it,
// workers are drained one after another by the tiers' hard-stop-after.
func makeRoom(p *Policy, st *State, s *Sample, d *Decision) {
	if st.LackingRoom == 0 {
		return
	}
	pl := planner{p: p, st: st, s: s, d: d, forRoom: true}
	for pl.tier = range p.Tiers {
		if pl.relieveAll() {
			return
		}
	}
	if !p.MakeRoom.Drain {
		return
	}
	if st.LackingRoom < confirmedLacks {
		d.Confirm = true
		return
	}
	for pl.tier = range p.Tiers {
		actions := p.Tiers[pl.tier].Actions
		i := slices.IndexFunc(actions, func(a Action) bool { return a.Kind == HardStopAfter })
		if i >= 0 {
			pl.hardStop(&actions[i])
		}
	}
}

// relieveAll gives the actions of the tier that cut no connection, and reports whether
// one of them is not done yet.
func (pl *planner) relieveAll() (waiting bool) {
	for i := range pl.p.Tiers[pl.tier].Actions {
		a := &pl.p.Tiers[pl.tier].Actions[i]
		if kinds[a.Kind].cuts {
			continue
		}
		pl.act(a)
		for w, h := range pl.stopping {
			waiting = waiting || pl.waits(a, w, h)
		}
	}
	return waiting
}
