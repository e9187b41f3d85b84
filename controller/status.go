package controller

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// targetStatus describes a target by its snapshot, and asks its stopping workers for what
// a tick does not ask.
func targetStatus(ctx context.Context, procfs string, t target, l snapshot) status.Target {
	v := l.view
	s := status.Target{
		Name: t.name, Cgroup: t.cgroup, At: l.at,
		Tier: l.tier, TierWhy: l.why, TierLeave: l.leave, Withheld: l.withheld,
		Limit: limitStatus(v.nearest), UsageLimit: limitStatus(v.most),
		Usage: v.Usage, ReloadRoom: v.ReloadRoom, LimitIn: v.LimitIn,
		Some10: v.Some10, Some60: v.Some60, Full10: v.Full10, Full60: v.Full60,
		Swap: v.Swap, Shmem: v.Shmem, Sock: v.sock, Events: v.Events,
		RoomRequests: []status.RoomRequest{}, Missing: map[string]string{},
		HardStopAfter: l.hardStop, WorkersAbsent: v.WorkersAbsent,
		Thresholds: status.Thresholds(l.policy),
		Masters:    DescribeMasters(ctx, procfs, l.found, l.hardStop),
		Actions:    append([]status.Action{}, l.actions[max(0, len(l.actions)-actionsSize):]...),
		History:    append([]status.Moment{}, l.history[max(0, len(l.history)-historySize):]...),
	}
	if !l.changed.IsZero() {
		s.TierSince = &l.changed
	}
	s.Stopping = HeldByStopping(s.Masters)
	for _, tier := range l.policy.Tiers {
		s.Tiers = append(s.Tiers, tier.Name)
	}
	for sensor, why := range l.missing {
		if why != "" {
			s.Missing[sensor] = why
		}
	}
	return s
}

// statusTime bounds one answer: a worker that does not answer must not delay the others
// for ever.
const statusTime = 10 * time.Second

// State returns the state of all targets that had a tick.
func (c *Controller) State(ctx context.Context) status.Status {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	c.mu.Lock()
	s := status.Status{
		At: time.Now(), Daemon: c.Daemon, Policy: c.inForce, Systemd: c.systemd,
		Mode: c.steered.mode(""), Targets: []status.Target{},
	}
	guards := maps.Clone(c.guards)
	c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(guards)) {
		g := guards[name]
		if l := g.published.get(); l.policy != nil {
			t := targetStatus(ctx, c.Procfs, g.target, l)
			t.RoomRequests, t.Mode = g.rooms.status(), c.steered.mode(name)
			s.Targets = append(s.Targets, t)
		}
	}
	return s
}

// Inspect returns the state of all targets without a daemon: it finds the targets and
// senses each once. It does not know what only time shows, such as tiers and slopes. A
// later call asks workers only for what an earlier one has not learned. Calls must not
// overlap.
func (c *Controller) Inspect(ctx context.Context) status.Status {
	s := status.Status{
		At: time.Now(), Policy: c.inForce, Mode: c.steered.mode(""), Targets: []status.Target{},
	}
	var units Units
	if len(c.Ways) > 0 && c.namesUnits() {
		// A bus that hangs has its own time, or none would be left for the other ways.
		link, err := Connect(ctx, c.Ways)
		if err != nil {
			c.events.SensorMissing("", "systemd", err)
		} else {
			defer link.Close()
			units, s.Systemd = link.Units, link.status()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	places, err := c.find(ctx, units)
	if err != nil {
		c.events.SensorMissing("", "systemd", err)
	}
	p := c.policy()
	scanners := map[string]*haproxy.Scanner{}
	for _, name := range slices.Sorted(maps.Keys(places)) {
		group, err := c.group(name, places[name])
		if err != nil {
			continue
		}
		t := target{name, places[name], group}
		sensor := newSensor(t, c.events, c.Procfs)
		sensor.scanner.Recall(c.Known[name])
		sensor.scanner = cmp.Or(c.scanners[name], sensor.scanner)
		scanners[name] = sensor.scanner
		if v, err := sensor.sense(ctx, sinceBoot()); err == nil {
			var one published
			one.tick(name, v, p.For(name), &policy.State{}, sensor.gaps.why)
			described := targetStatus(ctx, c.Procfs, t, one.last)
			described.Mode = c.steered.mode(name)
			s.Targets = append(s.Targets, described)
		}
		group.Close()
	}
	c.scanners = scanners
	return s
}
