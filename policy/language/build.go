package language

import (
	"path"
	"slices"

	"hapressure/policy"
	"hapressure/policy/schema"
)

// policy builds a Policy of the merged files, and reports contradictions between its
// parts.
func (d decoder) policy(v *schema.Value) *policy.Policy {
	tiers := v.Get("tiers")
	p := &policy.Policy{Tiers: d.ladder(tiers)}
	p.MakeRoom = d.makeRoom(v.Get("make-room"), p.Tiers)
	for _, v := range v.Get("targets").List() {
		d.Complete(v)
		t := policy.Target{
			Unit: v.Get("unit").Word(), Cgroup: v.Get("cgroup").Word(),
			Disabled: v.Get("disabled").Word() == "true",
		}
		own, room := v.Get("tiers"), v.Get("make-room")
		if own != nil || room != nil {
			t.Own = &policy.Policy{
				Targets: []policy.Target{t}, Tiers: p.Tiers, MakeRoom: p.MakeRoom,
			}
		}
		if own != nil {
			t.Own.Tiers = d.ladder(d.merge(tiers, own))
		}
		if room != nil {
			t.Own.MakeRoom = d.makeRoom(room, t.Own.Tiers)
		}
		p.Targets = append(p.Targets, t)
	}
	return p
}

// makeRoom builds what make-room may do beside the tiers.
func (d decoder) makeRoom(v *schema.Value, tiers []policy.Tier) policy.MakeRoom {
	m := policy.MakeRoom{Drain: v.Get("drain").Word() == "true"}
	if m.Drain && !slices.ContainsFunc(tiers, drains) {
		d.Errorf(v.Get("drain").At, "drain: true drains by the tiers' hard-stop-after, "+
			"and no tier has that action: add it to a tier, or write drain: false")
	}
	return m
}

func drains(t policy.Tier) bool {
	return slices.ContainsFunc(t.Actions, func(a policy.Action) bool {
		return a.Kind == policy.HardStopAfter
	})
}

// ladder builds the tiers that are not disabled.
func (d decoder) ladder(tiers *schema.Value) []policy.Tier {
	var ladder []policy.Tier
	var milder []*schema.Value
	for _, v := range tiers.List() {
		if !d.Complete(v) || v.Get("disabled").Word() == "true" {
			continue
		}
		t := policy.Tier{
			Name: v.Get("name").Word(), Settle: v.Get("settle").Duration(),
			Enter: conditionOf(v.Get("enter")), Leave: conditionOf(v.Get("leave")),
			Urgent: conditionOf(v.Get("urgent")), Hook: d.hook(v.Get("hook")),
		}
		for _, a := range v.Get("actions").List() {
			t.Actions = append(t.Actions, d.action(a))
		}
		leave := v.Fields["leave"]
		switch always := t.Enter.Op == policy.Always; {
		case always && leave != nil:
			d.Errorf(leave.At, "a tier with enter: always is never left: remove leave")
		case !always && v.Get("enter") != nil && leave == nil:
			d.Errorf(v.At, "tier %s needs leave, or enter: always", t.Name)
		}
		d.moves(v, milder)
		milder = append(milder, v)
		ladder = append(ladder, t)
	}
	return ladder
}

func (d decoder) hook(v *schema.Value) policy.Hook {
	h := policy.Hook{Timeout: v.Get("timeout").Duration()}
	for i, word := range v.Get("command").List() {
		if i == 0 && !path.IsAbs(word.Text) {
			d.Errorf(word.At, "command %q is not an absolute path: "+
				"write for example /usr/local/bin/%s", word.Text, path.Base(word.Text))
		}
		h.Command = append(h.Command, word.Text)
	}
	return h
}

func (d decoder) action(v *schema.Value) policy.Action {
	a := policy.Action{Kind: v.One()}
	s := v.Get(a.Kind)
	if s == nil {
		return a
	}
	only := s.Get("only")
	a.Only = policy.Only{
		StoppingAbove: only.Get("stopping-for").Get("above").Duration(),
		CacheAbove:    uint64(only.Get("cache").Get("above").Amount()),
		OlderThan:     only.Get("generation").Get("older-than").Count(),
	}
	switch a.Kind {
	case policy.HardStopAfter:
		a.HardStop = d.hardStop(s)
	case policy.TerminateOldest:
		a.Terminate = policy.Terminate{
			Grace: s.Get("grace").Duration(), Settle: s.Get("settle").Duration(),
			Keep: s.Get("keep").Count(), Limit: s.Get("limit").Count(),
			Worth: s.Get("worth").Amount(),
		}
	case policy.PageOut:
		a.Paging = policy.Paging{
			PerSecond: uint64(s.Get("per-second").Amount()),
			Busy:      s.Get("busy").Amount(), Stall: s.Get("stall").Amount(),
		}
	}
	return a
}

func (d decoder) hardStop(v *schema.Value) policy.HardStop {
	h := policy.HardStop{
		Limit: v.Get("limit").Duration(), HalveEvery: v.Get("halve-every").Duration(),
		Floor: v.Get("floor").Duration(), Spread: v.Get("spread").Duration(),
		PerSecond: v.Get("per-second").Count(), Worth: v.Get("worth").Amount(),
		ByCost: v.Get("order").Word() == "bytes-per-connection",
	}
	if v.Get("limit") != nil && h.Floor > h.Limit {
		d.Errorf(v.Get("floor").At, "floor %s is above limit %s: write at most that",
			v.Get("floor").Word(), v.Get("limit").Word())
	}
	// Without a floor the limit soon is almost 0, which is never intended.
	if floor := v.Fields["floor"]; h.HalveEvery > 0 && (floor == nil || floor.At == schema.Place{}) {
		d.Errorf(v.Get("halve-every").At,
			"halve-every needs floor, the shortest limit: write for example floor: 15s")
	}
	return h
}
