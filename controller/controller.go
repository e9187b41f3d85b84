// Package controller guards HAProxy: it finds the targets of a policy, senses each of
// them, has the policy decide, performs the actions and logs them.
//
// A [Controller] finds targets and has one guard for each. A guard is a loop, and owns
// parts that know neither it nor the Controller: sensor, schedule, queue, actions,
// recording, persist.
package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"hapressure/cgroup"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// Config is what a Controller works with.
type Config struct {
	Policy  *policy.Policy
	Origin  string         // the policy's files, in words
	Daemon  *status.Daemon // for the status; nil if this program is no daemon
	DryRun  bool           // decide and report, but change no worker
	Procfs  string         // the proc file system, /proc
	Cgroups string         // the mount point of cgroup v2
	Journal Journal
	// Ways lead to systemd, the best first. The first that works is used until one before
	// it works, or the connection is lost. Without any, only targets given as cgroups are
	// found.
	Ways []Way
	// Status gets a line that describes the targets whenever it changes. May be nil.
	Status func(string)
	// StateDir is a folder for the state that a restarted daemon continues with. A reboot
	// must empty it. "" persists nothing.
	StateDir string
	// Record opens the file of a target's next recording. A new file begins after
	// RecordSize bytes. nil records nothing.
	Record     func(target string) io.WriteCloser
	RecordSize int64
	// Recordings is the folder that Record writes into, if it has recordings of several
	// targets. The oldest of targets that are no longer guarded are removed.
	Recordings Recordings

	pauses pauses // for tests; zero means the usual ones
}

// pauses are between attempts.
type pauses struct {
	lookup    time.Duration // for targets without an event, and for a better way to systemd
	reconnect time.Duration // to systemd
}

var usualPauses = pauses{lookup: 10 * time.Second, reconnect: 5 * time.Second}

// Controller guards the targets of a policy.
type Controller struct {
	Config
	events   Events
	tallies  tallies
	notifier *notifier
	wg       sync.WaitGroup
	again    chan struct{}     // to look up targets again
	lookedUp chan struct{}     // closed after the first lookup
	found    func()            // closes lookedUp
	programs *haproxy.Programs // of the processes in cgroups that globs match

	mu      sync.Mutex        // of the following fields, and of Config.Policy
	guards  map[string]*guard // by the target's name
	inForce status.Policy
	systemd status.Systemd // of the last connection
	status  string
	// scanners are those of Inspect, by the target's name. They remember proofs, and
	// silent workers.
	scanners map[string]*haproxy.Scanner
}

// New makes a Controller.
func New(c Config) *Controller {
	c.pauses = cmp.Or(c.pauses, usualPauses)
	events := Events{c.Journal}
	notifier := newNotifier(events)
	notifier.disable = c.DryRun
	lookedUp := make(chan struct{})
	return &Controller{
		Config: c, events: events, tallies: newTallies(), notifier: notifier,
		again: make(chan struct{}, 1), guards: map[string]*guard{},
		lookedUp: lookedUp, found: sync.OnceFunc(func() { close(lookedUp) }),
		programs: haproxy.NewPrograms(c.Procfs), scanners: map[string]*haproxy.Scanner{},
		inForce: status.Policy{Origin: c.Origin, SHA256: Digest(c.Policy), Since: time.Now()},
	}
}

// SetPolicy brings p into force from the next tick on. A target stays in its tier if p
// has a tier of that name. A target that p does not have, or disables, is no longer
// guarded.
func (c *Controller) SetPolicy(p *policy.Policy, origin string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Policy, c.inForce = p, status.Policy{Origin: origin, SHA256: Digest(p), Since: time.Now()}
	for name, g := range c.guards {
		if own := p.For(name); own != nil {
			g.policy.Store(own)
			c.tallies.expect(name, own)
			g.wakeups.wake()
		} else {
			g.stop()
		}
	}
	select {
	case c.again <- struct{}{}:
	default:
	}
}

// KeepPolicy notes that a newer policy has mistakes, so the one in force stays.
func (c *Controller) KeepPolicy(mistakes error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inForce.Rejected = mistakes.Error()
}

func (c *Controller) policy() *policy.Policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Policy
}

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

func (c *Controller) guarded(target string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.guards[target] != nil
}

// Healthy returns an error if a guard has not finished a tick within the given time, or
// within the longest time between two ticks of a quiet target.
func (c *Controller) Healthy(within time.Duration) error {
	within = max(within, tickQuiet+probeEvery+senseTime)
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, g := range c.guards {
		if d := time.Since(g.published.get().at); d > within {
			return fmt.Errorf("%s had no tick for %v", name, d.Round(time.Second))
		}
	}
	return nil
}

// showStatus passes a line about all targets to Config.Status, if it has changed.
func (c *Controller) showStatus() {
	if c.Status == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(c.guards)) {
		if line := c.guards[name].published.get().line; line != "" {
			lines = append(lines, line)
		}
	}
	text := cmp.Or(strings.Join(lines, "; "), "waiting for HAProxy")
	if text != c.status {
		c.status = text
		c.Status(text)
	}
}
