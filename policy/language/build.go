package language

import (
	"path"
	"slices"

	"hapressure/policy"
)

// policy builds a Policy of the merged files, and reports contradictions between its
// parts.
func (d *decoder) policy(v *value) *policy.Policy {
	tiers := v.get("tiers")
	p := &policy.Policy{Tiers: d.ladder(tiers)}
	p.MakeRoom = d.makeRoom(v.get("make-room"), p.Tiers)
	for _, v := range v.get("targets").list() {
		d.complete(v, formOf("target"))
		t := policy.Target{
			Unit: v.get("unit").word(), Cgroup: v.get("cgroup").word(),
			Disabled: v.get("disabled").word() == "true",
		}
		own, room := v.get("tiers"), v.get("make-room")
		if own != nil || room != nil {
			t.Own = &policy.Policy{
				Targets: []policy.Target{t}, Tiers: p.Tiers, MakeRoom: p.MakeRoom,
			}
		}
		if own != nil {
			t.Own.Tiers = d.ladder(merge(tiers, own))
		}
		if room != nil {
			t.Own.MakeRoom = d.makeRoom(room, t.Own.Tiers)
		}
		p.Targets = append(p.Targets, t)
	}
	return p
}

// makeRoom builds what make-room may do beside the tiers.
func (d *decoder) makeRoom(v *value, tiers []policy.Tier) policy.MakeRoom {
	m := policy.MakeRoom{Drain: v.get("drain").word() == "true"}
	if m.Drain && !slices.ContainsFunc(tiers, drains) {
		d.errorf(v.get("drain").at, "drain: true drains by the tiers' hard-stop-after, "+
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
func (d *decoder) ladder(tiers *value) []policy.Tier {
	var ladder []policy.Tier
	var milder []*value
	for _, v := range tiers.list() {
		if !d.complete(v, formOf("tier")) || v.get("disabled").word() == "true" {
			continue
		}
		t := policy.Tier{
			Name: v.get("name").word(), Settle: v.get("settle").duration(),
			Enter: conditionOf(v.get("enter")), Leave: conditionOf(v.get("leave")),
			Urgent: conditionOf(v.get("urgent")), Hook: d.hook(v.get("hook")),
		}
		for _, a := range v.get("actions").list() {
			t.Actions = append(t.Actions, d.action(a))
		}
		leave := v.fields["leave"]
		switch always := t.Enter.Op == policy.Always; {
		case always && leave != nil:
			d.errorf(leave.at, "a tier with enter: always is never left: remove leave")
		case !always && v.get("enter") != nil && leave == nil:
			d.errorf(v.at, "tier %s needs leave, or enter: always", t.Name)
		}
		d.moves(v, milder)
		milder = append(milder, v)
		ladder = append(ladder, t)
	}
	return ladder
}

func (d *decoder) hook(v *value) policy.Hook {
	h := policy.Hook{Timeout: v.get("timeout").duration()}
	for i, word := range v.get("command").list() {
		if i == 0 && !path.IsAbs(word.text) {
			d.errorf(word.at, "command %q is not an absolute path: "+
				"write for example /usr/local/bin/%s", word.text, path.Base(word.text))
		}
		h.Command = append(h.Command, word.text)
	}
	return h
}

func (d *decoder) action(v *value) policy.Action {
	a := policy.Action{Kind: v.one()}
	s := v.get(a.Kind)
	if s == nil {
		return a
	}
	only := s.get("only")
	a.Only = policy.Only{
		StoppingAbove: only.get("stopping-for").get("above").duration(),
		CacheAbove:    uint64(only.get("cache").get("above").amount()),
		OlderThan:     only.get("generation").get("older-than").count(),
	}
	switch a.Kind {
	case policy.HardStopAfter:
		a.HardStop = d.hardStop(s)
	case policy.TerminateOldest:
		a.Terminate = policy.Terminate{
			Grace: s.get("grace").duration(), Settle: s.get("settle").duration(),
			Keep: s.get("keep").count(), Limit: s.get("limit").count(),
			Worth: s.get("worth").amount(),
		}
	case policy.PageOut:
		a.Paging = policy.Paging{
			PerSecond: uint64(s.get("per-second").amount()),
			Busy:      s.get("busy").amount(), Stall: s.get("stall").amount(),
		}
	}
	return a
}

func (d *decoder) hardStop(v *value) policy.HardStop {
	h := policy.HardStop{
		Limit: v.get("limit").duration(), HalveEvery: v.get("halve-every").duration(),
		Floor: v.get("floor").duration(), Spread: v.get("spread").duration(),
		PerSecond: v.get("per-second").count(), Worth: v.get("worth").amount(),
		ByCost: v.get("order").word() == "bytes-per-connection",
	}
	if v.get("limit") != nil && h.Floor > h.Limit {
		d.errorf(v.get("floor").at, "floor %s is above limit %s: write at most that",
			v.get("floor").word(), v.get("limit").word())
	}
	// Without a floor the limit soon is almost 0, which is never intended.
	if floor := v.fields["floor"]; h.HalveEvery > 0 && (floor == nil || floor.at == place{}) {
		d.errorf(v.get("halve-every").at,
			"halve-every needs floor, the shortest limit: write for example floor: 15s")
	}
	return h
}
