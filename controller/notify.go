package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"hapressure/policy"
	"hapressure/systemd"
)

// notifyLimit is how many hooks may wait for their turn, and how many signals.
const notifyLimit = 32

var (
	errHooks = fmt.Errorf("not run, %d others wait already", notifyLimit)
	errNoBus = errors.New("not run, there is no connection to systemd")
)

// The D-Bus signal TierChanged(sssstt) and its sender.
const (
	busName    = "org.hapressure1"
	busPath    = "/org/hapressure1"
	tierMember = busName + ".Monitor.TierChanged"
)

// tierSignal has the arguments of TierChanged. from and to are names of tiers, usage and
// limit bytes of the nearest limit.
type tierSignal struct {
	target, from, to, reason string
	usage, limit             uint64
}

func (s tierSignal) emit(units Units) error {
	return units.Emit(busPath, tierMember, s.target, s.from, s.to, s.reason, s.usage, s.limit)
}

// notifier notifies other programs of changes of tier, by a D-Bus signal and by the
// tiers' hooks. No guard waits for it: both have a queue and a goroutine.
type notifier struct {
	events  Events
	disable bool // in a dry run
	signals chan tierSignal
	hooks   chan systemd.Transient
	units   atomic.Pointer[Units] // nil while there is no connection to systemd
	running sync.WaitGroup
}

func newNotifier(events Events) *notifier {
	return &notifier{
		events:  events,
		signals: make(chan tierSignal, notifyLimit),
		hooks:   make(chan systemd.Transient, notifyLimit),
	}
}

// start sends signals and runs hooks, one after the other, until close. Hooks end with
// ctx.
func (n *notifier) start(ctx context.Context) {
	n.running.Go(func() {
		for s := range n.signals {
			if units := n.units.Load(); units != nil {
				_ = s.emit(*units) // after an error the connection is lost, which follow reports
			}
		}
	})
	n.running.Go(func() { n.runHooks(ctx) })
}

func (n *notifier) runHooks(ctx context.Context) {
	for h := range n.hooks {
		err := errNoBus
		if units := n.units.Load(); units != nil {
			err = (*units).RunTransient(ctx, h)
		}
		if err != nil {
			n.events.hookFailed(h, err)
		}
	}
}

// close waits until the queues are empty. tierChanged must not be called afterwards.
func (n *notifier) close() {
	close(n.signals)
	close(n.hooks)
	n.running.Wait()
}

// tierChanged queues the signal and the hooks of a change. was is the policy of the tick
// before.
func (n *notifier) tierChanged(target string, was, p *policy.Policy, ch policy.Change, v view) {
	if n.disable {
		return
	}
	select {
	case n.signals <- tierSignal{
		target: target, from: cmp.Or(ch.FromName, none), to: cmp.Or(ch.ToName, none),
		reason: ch.Why, usage: v.nearest.Usage, limit: v.nearest.Bytes,
	}:
	default: // a bus that hangs has no receivers
	}
	for _, s := range steps(was, p, ch) {
		h := systemd.Transient{
			Unit:        "hapressure-hook-" + s.tier.Name,
			Description: fmt.Sprintf("Hook of tier %s of %s, %s", s.tier.Name, target, s.change),
			Command:     s.tier.Hook.Command, Timeout: s.tier.Hook.Timeout,
			Environment: map[string]string{
				"HAPRESSURE_TARGET": target, "HAPRESSURE_REASON": ch.Why, "HAPRESSURE_TIER": s.to,
				"HAPRESSURE_TIER_FROM": s.from, "HAPRESSURE_CHANGE": s.change,
			},
		}
		select {
		case n.hooks <- h:
		default:
			n.events.hookFailed(h, errHooks)
		}
	}
}

// step is one tier with a hook that is entered or left.
type step struct {
	tier     policy.Tier
	change   string
	from, to string // the tiers before and after it
}

// steps splits a change into its tiers. A change to a harsher tier enters every tier in
// between, from the mildest. If the policy has changed as well, a tier that it no longer
// has is left, by the hook of the policy before.
func steps(was, p *policy.Policy, ch policy.Change) (all []step) {
	before, after := was.Tiers[:min(ch.From, len(was.Tiers))], p.Tiers[:ch.To]
	at := cmp.Or(ch.FromName, none)
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
		to := none
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
