package controller

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"hapressure/cgroup"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// Digest is by what policies are told from one another.
func Digest(p *policy.Policy) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(p.Source))) }

// status tells how the target is, and asks its workers for what a tick leaves out.
func (g *guard) status(ctx context.Context) status.Target {
	l := g.glance()
	v := l.view
	t := status.Target{
		Name: g.name, Cgroup: g.cgroup, At: l.at, Tier: l.tier, TierWhy: l.why,
		TierLeave: l.leave, Withheld: l.withheld,
		Limit: limitStatus(v.nearest), UsageLimit: limitStatus(v.most),
		Usage: v.Usage, ReloadRoom: v.ReloadRoom, LimitIn: v.LimitIn,
		Some10: v.Some10, Some60: v.Some60, Full10: v.Full10, Full60: v.Full60, Swap: v.Swap, Shmem: v.Shmem, Events: v.Events,
		Missing: map[string]string{}, HardStopAfter: l.hardStop, WorkersAbsent: v.WorkersAbsent,
		Masters: DescribeMasters(ctx, g.c.Procfs, l.found, l.hardStop),
		Actions: append([]status.Action{}, l.actions[max(0, len(l.actions)-actionsSize):]...),
		History: append([]status.Moment{}, l.history[max(0, len(l.history)-historySize):]...),
	}
	if !l.changed.IsZero() {
		t.TierSince = &l.changed
	}
	for _, tier := range l.policy.Tiers {
		t.Tiers = append(t.Tiers, tier.Name)
	}
	for sensor, why := range l.missing {
		if why != "" {
			t.Missing[sensor] = why
		}
	}
	return t
}

func limitStatus(l cgroup.Limit) status.Limit {
	return status.Limit{Name: l.String(), Bytes: l.Bytes, Used: l.Usage}
}

// statusTime bounds one answer: a master that does not answer must not hold up the others for ever.
const statusTime = 10 * time.Second

// State tells how everything is.
func (c *Controller) State(ctx context.Context) status.Status {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	c.mu.Lock()
	s := status.Status{At: time.Now(), Daemon: c.Daemon, Policy: c.inForce, Systemd: c.systemd, Targets: []status.Target{}}
	guards := maps.Clone(c.guards)
	c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(guards)) {
		if g := guards[name]; g.glance().policy != nil { // it has looked
			s.Targets = append(s.Targets, g.status(ctx))
		}
	}
	return s
}

// Look tells how everything is without a daemon: it finds the targets and looks at each, once, and does nothing. What only time shows
// (tiers, slopes) it cannot know. A later Look asks HAProxy only for what an earlier one has not learned. Calls must not overlap.
func (c *Controller) Look(ctx context.Context) status.Status {
	s := status.Status{At: time.Now(), Policy: c.inForce, Targets: []status.Target{}}
	var units Units
	if len(c.Ways) > 0 && c.names() {
		// A bus that hangs has its time to itself, or none would be left for the other ways.
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
		g, err := c.open(name, places[name], p.For(name))
		if err != nil {
			continue
		}
		g.scanner = cmp.Or(c.scanners[name], g.scanner)
		scanners[name] = g.scanner
		v, err := g.sense(ctx)
		if err == nil {
			g.publish(v)
			s.Targets = append(s.Targets, g.status(ctx))
		}
		g.group.Close()
	}
	c.scanners = scanners
	return s
}

// describeTime bounds the questions of one DescribeMasters. A worker that does not answer takes 2 s of it.
const describeTime = 3 * time.Second

var errNoDescribeTime = fmt.Errorf("not asked: other workers took more than %v to answer", describeTime)

// DescribeMasters asks the workers found for what a look in each tick leaves out, for describeTime at most. limit is the policy's
// effective hard-stop-after in seconds, nil for none.
func DescribeMasters(ctx context.Context, procfs string, found []haproxy.Instance, limit *float64) []status.Master {
	ctx, cancel := context.WithTimeoutCause(ctx, describeTime, errNoDescribeTime)
	defer cancel()
	masters := []status.Master{}
	for _, in := range found {
		m := status.Master{PID: in.Master.PID, CLIError: text(in.CLIErr), Workers: []status.Worker{}}
		own, set, err := haproxy.HardStopAfter(procfs, in)
		m.HardStopError = text(err)
		if set {
			m.HardStopAfter = new(own.Seconds())
		}
		for _, w := range in.Workers {
			row := describeWorker(ctx, w)
			for _, limit := range []*float64{m.HardStopAfter, limit} {
				if limit == nil || row.StoppingFor == nil {
					continue
				}
				if in := max(0, *limit-*row.StoppingFor); row.HardStopIn == nil || in < *row.HardStopIn {
					row.HardStopIn = &in
				}
			}
			m.Workers = append(m.Workers, row)
		}
		masters = append(masters, m)
	}
	return masters
}

func describeWorker(ctx context.Context, w haproxy.Worker) status.Worker {
	row := status.Worker{PID: w.PID, Generation: w.Generation, State: w.State.String(), Proof: w.Why, Age: w.Age.Seconds()}
	if w.State == haproxy.Stopping {
		row.StoppingFor = new(w.StoppingFor.Seconds())
		if row.CacheError = text(w.CacheErr); w.CacheErr == nil {
			row.Cache = &w.Cache
		}
	}
	if w.State == haproxy.Stopping && w.SizeErr == nil {
		w.Shared, w.SizeErr = w.SharedMemory(ctx)
	}
	if row.SizeError = text(w.SizeErr); w.SizeErr == nil {
		row.Private, row.Shared = &w.Private, &w.Shared
	}
	if n, err := w.Connections(ctx); err != nil {
		row.ConnError = err.Error()
	} else {
		row.Connections = &n
	}
	return row
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
