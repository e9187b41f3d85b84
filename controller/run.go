package controller

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"hapressure/cgroup"
)

// Run guards until ctx ends. Then, in this order: the guards end, each as its run says;
// the queued signals are sent and the queued hooks fail, because their context has ended.
// Nothing waits for the sweeps of leftovers.
func (c *Controller) Run(ctx context.Context) {
	c.notifier.start(ctx)
	go c.sweepLeftovers(ctx, leftovers{
		recordingStore, c.Recordings.Dir, openRecordings, recordingBounds(c.Recordings.PerTarget),
	})
	go c.sweepLeftovers(ctx, leftovers{stateStore, c.StateDir, openStates, stateBounds})
	for ctx.Err() == nil {
		err := c.follow(ctx)
		if ctx.Err() != nil || err == nil {
			continue
		}
		c.events.SensorMissing("", "systemd", err)
		select {
		case <-ctx.Done():
		case <-time.After(c.pauses.reconnect):
		}
	}
	c.wg.Wait()
	c.notifier.close()
}

// follow looks up targets, at once and at each change, until ctx ends or there is a
// better way to systemd. The error is the loss of systemd. Guards continue meanwhile.
func (c *Controller) follow(ctx context.Context) error {
	linked, cancel := context.WithCancel(ctx) // guards outlive the link: they have ctx
	defer cancel()
	link, err := c.link(linked)
	if err != nil {
		_ = c.guardTargets(ctx, nil) // cgroups: without systemd there is no error
		return err
	}
	var units Units
	var changes <-chan string
	var better <-chan struct{}
	if link != nil {
		defer link.Close()
		units, changes, better = link.Units, link.Changed, c.await(linked, link)
		c.notifier.units.Store(&units)
		defer c.notifier.units.Store(nil)
	}
	tick := time.NewTicker(c.pauses.lookup)
	defer tick.Stop()
	for lookup := true; ; {
		if lookup {
			err := c.guardTargets(ctx, units)
			c.showStatus()
			if err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-better:
			return nil // the next call connects by it
		case <-tick.C:
			lookup = true
		case <-c.again:
			lookup = true
			if units == nil && len(c.Ways) > 0 && c.namesUnits() {
				return nil // the next call connects
			}
		case name, ok := <-changes:
			if !ok {
				return errors.New("the connection to systemd was lost")
			}
			c.wake(name)
			lookup = c.concerns(name)
		}
	}
}

// guardTargets starts a guard for each target that runs and has none. The error is that
// systemd does not answer.
func (c *Controller) guardTargets(ctx context.Context, units Units) error {
	found, unanswered := c.find(ctx, units)
	c.mu.Lock()
	defer c.mu.Unlock()
	guarded := map[string]bool{} // cgroups: one may have two names, and gets one guard
	for _, g := range c.guards {
		guarded[g.cgroup] = true
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		at, g := found[name], c.guards[name]
		switch {
		case c.Policy.For(name) == nil: // the policy has just changed
		case g != nil && g.cgroup != at:
			g.stop() // the unit runs elsewhere now, which the lookup after the guard's end finds
		case g == nil && !guarded[at]:
			c.start(ctx, name, at)
			guarded[at] = true
		}
	}
	c.found()
	return unanswered
}

// group opens the cgroup of a target, and reports why if it exists and cannot be opened.
func (c *Controller) group(name, at string) (*cgroup.Group, error) {
	group, err := cgroup.Open(c.Cgroups, at)
	if err != nil && !errors.Is(err, cgroup.ErrGone) {
		c.events.SensorMissing(name, "cgroup", err)
	}
	return group, err
}

// errNoTarget is the reason logged when a guard is stopped on purpose.
var errNoTarget = errors.New("hapressure stops, or its policy has no such target any more, " +
	"or the unit runs in another cgroup")

// start begins to guard a target. c.mu is held.
func (c *Controller) start(ctx context.Context, name, at string) {
	own := c.Policy.For(name)
	group, err := c.group(name, at)
	if err != nil {
		return
	}
	g := newGuard(c.Config, target{name, at, group}, own)
	g.tallies, g.notifier, g.ticked = c.tallies, c.notifier, c.showStatus
	ctx, g.stop = context.WithCancel(ctx)
	g.gone = ctx.Done()
	c.guards[name] = g
	c.tallies.expect(name, own)
	c.events.targetFound(name, at)
	c.wg.Go(func() {
		why := g.run(ctx)
		g.stop()
		g.group.Close()
		c.mu.Lock()
		delete(c.guards, name)
		c.tallies.forget(name)
		c.mu.Unlock()
		if errors.Is(why, context.Canceled) {
			why = errNoTarget
		}
		c.events.targetLost(name, why)
	})
}

// wake wakes the guard of a unit that has changed: a reload, most likely.
func (c *Controller) wake(unit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.guards[unit]; g != nil {
		g.wakeups.wake()
	}
}
