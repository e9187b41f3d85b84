package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"hapressure/policy"
	"hapressure/systemd"
)

// The D-Bus signal TierChanged(sssstt) and its sender.
const (
	busName    = "org.hapressure1"
	busPath    = "/org/hapressure1"
	tierMember = busName + ".Monitor.TierChanged"
)

// tierSignal has the arguments of TierChanged. from and to are names of tiers, usage and limit bytes of
// the nearest limit.
type tierSignal struct {
	target, from, to, reason string
	usage, limit             uint64
}

func (s tierSignal) emit(units Units) error {
	return units.Emit(busPath, tierMember, s.target, s.from, s.to, s.reason, s.usage, s.limit)
}

// noticeLimit is how many hooks may wait for their turn, and how many signals.
const noticeLimit = 32

var (
	errHooks = fmt.Errorf("not run, %d others wait already", noticeLimit)
	errNoBus = errors.New("not run, there is no connection to systemd")
)

// tell has others told of a change of tier: by a signal on D-Bus, and by the tiers' hooks. It never waits: both are done beside the
// loops, the hooks one after the other. was is the policy of the step before.
func (c *Controller) tell(target string, was, p *policy.Policy, ch policy.Change, v view) {
	if c.DryRun {
		return
	}
	select {
	case c.signals <- tierSignal{
		target: target, from: cmp.Or(ch.FromName, none), to: cmp.Or(ch.ToName, none), reason: ch.Why,
		usage: v.nearest.Usage, limit: v.nearest.Bytes,
	}:
	default: // a bus that hangs has no receivers
	}
	for _, s := range steps(was, p, ch) {
		h := systemd.Transient{
			Unit: "hapressure-hook-" + s.tier.Name, Description: fmt.Sprintf("Hook of tier %s of %s, %s", s.tier.Name, target, s.change),
			Command: s.tier.Hook.Command, Timeout: s.tier.Hook.Timeout,
			Environment: map[string]string{
				"HAPRESSURE_TARGET": target, "HAPRESSURE_TIER": s.to, "HAPRESSURE_TIER_FROM": s.from,
				"HAPRESSURE_CHANGE": s.change, "HAPRESSURE_REASON": ch.Why,
			},
		}
		select {
		case c.hooks <- h:
		default:
			c.events.hookFailed(h, errHooks)
		}
	}
}

// step is one tier with a hook that is entered or left.
type step struct {
	tier     policy.Tier
	change   string
	from, to string // the tiers before and after it
}

// steps takes a change apart. A rise enters every tier on its way, from the mildest. Where the policy has changed as well, a tier that
// it does not have any more is left, by the hook that it had.
func steps(was, p *policy.Policy, ch policy.Change) (all []step) {
	before, after := was.Tiers[:min(ch.From, len(was.Tiers))], p.Tiers[:ch.To]
	at := cmp.Or(ch.FromName, "none")
	add := func(t policy.Tier, others []policy.Tier, change, to string) {
		if slices.ContainsFunc(others, func(o policy.Tier) bool { return o.Name == t.Name }) {
			return
		}
		if len(t.Hook.Command) > 0 {
			all = append(all, step{t, change, at, to})
		}
		at = to
	}
	for i, t := range slices.Backward(before) {
		to := "none"
		if i > 0 {
			to = before[i-1].Name
		}
		add(t, after, "left", to)
	}
	for _, t := range after {
		add(t, before, "entered", t.Name)
	}
	return all
}

func (c *Controller) sendSignals() {
	for s := range c.signals {
		if units := c.units.Load(); units != nil {
			_ = s.emit(*units) // an error means that the connection is lost, which is reported
		}
	}
}

func (c *Controller) runHooks(ctx context.Context) {
	for h := range c.hooks {
		err := errNoBus
		if units := c.units.Load(); units != nil {
			err = (*units).RunTransient(ctx, h)
		}
		if err != nil {
			c.events.hookFailed(h, err)
		}
	}
}
