// Package controller joins what the other packages know: it finds the targets of the policy, senses each of them, asks the
// policy what to do, does it and says so.
package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"hapressure/cgroup"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/systemd"
)

// Config is what a Controller works with.
type Config struct {
	Policy  *policy.Policy
	Origin  string         // of Policy, in words
	Daemon  *status.Daemon // what Status tells about this program; nil if it is no daemon
	DryRun  bool           // decide and say, but do nothing to a worker
	Procfs  string         // the proc file system, /proc
	Cgroups string         // the mount point of cgroup v2
	Journal Journal
	// Ways lead to systemd, the best first. The first that works is used until one before it works, or the
	// connection is lost. None: only targets given as cgroups are found.
	Ways []Way
	// Status is told, in one line, how the targets are, whenever that changes. May be nil.
	Status func(string)
	// Keep is a folder for what goes on after a restart, one that a reboot empties; "" keeps nothing.
	Keep string
	// Record opens what the next recording of a target is written to. May be nil. A recording of RecordSize bytes is followed by a new one.
	Record     func(target string) io.WriteCloser
	RecordSize int64
	// Recordings is the folder that Record writes into, if it is one of recordings of several targets.
	// What is left in it of targets that are no longer guarded is removed in time.
	Recordings Recordings
}

// Controller guards the targets of a policy.
type Controller struct {
	Config
	events  Events
	tallies tallies
	wg      sync.WaitGroup

	again   chan struct{} // to look for targets again
	signals chan tierSignal
	hooks   chan systemd.Transient
	units   atomic.Pointer[Units] // for those two; nil while there is no connection

	mu      sync.Mutex        // of what follows, and of Config.Policy
	guards  map[string]*guard // by the target's name: the unit, or the cgroup's path
	inForce status.Policy
	systemd status.Systemd // of the last connection
	status  string
	// scanners are those of Look, by the target's name. They remember what is proven of workers, and which worker was silent.
	scanners map[string]*haproxy.Scanner
}

// New makes a Controller.
func New(c Config) *Controller {
	return &Controller{
		Config: c, events: Events{c.Journal}, tallies: newTallies(), again: make(chan struct{}, 1), guards: map[string]*guard{},
		signals: make(chan tierSignal, noticeLimit), hooks: make(chan systemd.Transient, noticeLimit),
		scanners: map[string]*haproxy.Scanner{},
		inForce:  status.Policy{Origin: c.Origin, SHA256: Digest(c.Policy), Since: time.Now()},
	}
}

// SetPolicy makes p the policy from the next tick on. A target stays in its tier where p has one of that name; one that p does not
// have, or disables, is no longer guarded.
func (c *Controller) SetPolicy(p *policy.Policy, origin string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Policy, c.inForce = p, status.Policy{Origin: origin, SHA256: Digest(p), Since: time.Now()}
	for name, g := range c.guards {
		if own := p.For(name); own != nil {
			g.policy.Store(own)
			c.tallies.expect(name, own)
			g.wakeUp()
		} else {
			g.stop()
		}
	}
	select {
	case c.again <- struct{}{}:
	default:
	}
}

// KeepPolicy takes note that there is a newer policy which is not in force, for it has mistakes.
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

// errNoTarget is why a guard ends that was told to.
var errNoTarget = errors.New("hapressure stops, or its policy has no such target any more, or the unit runs in another cgroup")

// A test has shorter pauses.
var (
	lookEvery = 10 * time.Second // for targets without an event, and for a better way to systemd
	reconnect = 5 * time.Second  // pause before systemd is tried again
)

const matchLimit = 64 // targets that one glob may give

// Run guards until ctx ends, and waits until what it had begun has ended.
func (c *Controller) Run(ctx context.Context) {
	var told sync.WaitGroup
	told.Go(c.sendSignals)
	told.Go(func() { c.runHooks(ctx) })
	go c.sweepLeftovers(ctx, recordingStore, c.Recordings.Dir, openRecordings, recordingBounds(c.Recordings.PerTarget))
	go c.sweepLeftovers(ctx, stateStore, c.Keep, openStates, stateBounds)
	defer func() {
		c.wg.Wait()
		close(c.signals)
		close(c.hooks)
		told.Wait()
	}()
	for ctx.Err() == nil {
		err := c.follow(ctx)
		if ctx.Err() != nil || err == nil {
			continue
		}
		c.events.SensorMissing("", "systemd", err)
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

// follow looks for targets, at once and on each change, until ctx ends, systemd is lost (an error), or it is to be connected
// to again. Guards run on meanwhile.
func (c *Controller) follow(ctx context.Context) error {
	linked, cancel := context.WithCancel(ctx) // guards have ctx: they outlive the link
	defer cancel()
	link, err := c.link(linked)
	if err != nil {
		_ = c.look(ctx, nil) // for cgroups: systemd is not asked
		return err
	}
	var units Units
	var changes <-chan string
	var better <-chan struct{}
	if link != nil {
		defer link.Close()
		units, changes, better = link.Units, link.Changed, c.await(linked, link)
		c.units.Store(&units)
		defer c.units.Store(nil)
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for look := true; ; {
		if look {
			err := c.look(ctx, units)
			c.showStatus()
			if err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-better:
			return nil // to connect by it
		case <-tick.C:
			look = true
		case <-c.again:
			look = true
			if units == nil && len(c.Ways) > 0 && c.names() {
				return nil // to connect
			}
		case name, ok := <-changes:
			if !ok {
				return errors.New("the connection to systemd was lost")
			}
			c.wake(name)
			look = c.concerns(name)
		}
	}
}

// concerns reports whether a unit is, or may become, a target: a host has many that come and go all the time.
func (c *Controller) concerns(unit string) bool {
	return slices.ContainsFunc(c.policy().Targets, func(t policy.Target) bool {
		ok, err := path.Match(t.Unit, unit)
		return ok && err == nil
	})
}

// find returns the cgroups of the targets that there are now, by name. If systemd does not answer it is not asked for the
// others: the error is that, and what is found is no less true.
func (c *Controller) find(ctx context.Context, units Units) (found map[string]string, unanswered error) {
	found = map[string]string{}
	p := c.policy()
	for _, t := range p.Targets {
		places, err := c.places(ctx, units, t)
		if err != nil {
			units, unanswered = nil, err
		}
		maps.Copy(found, places)
	}
	maps.DeleteFunc(found, func(name, _ string) bool { return p.For(name) == nil }) // disabled
	return found, unanswered
}

// look starts a guard for each target that has none. The error is that systemd does not answer.
func (c *Controller) look(ctx context.Context, units Units) error {
	found, unanswered := c.find(ctx, units)
	c.mu.Lock()
	defer c.mu.Unlock()
	guarded := map[string]bool{} // cgroups: two guards on one, by two names, would get in each other's way
	for _, g := range c.guards {
		guarded[g.cgroup] = true
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		at, g := found[name], c.guards[name]
		switch {
		case c.Policy.For(name) == nil: // not since a moment ago
		case g != nil && g.cgroup != at:
			g.stop() // the unit went and came back elsewhere; a look after its end finds the new place
		case g == nil && !guarded[at]:
			c.start(ctx, name, at)
			guarded[at] = true
		}
	}
	return unanswered
}

// places resolves one target to cgroups by name. What is not there now gives nothing: it may come. The error is that systemd
// does not answer.
func (c *Controller) places(ctx context.Context, units Units, t policy.Target) (map[string]string, error) {
	if t.Cgroup != "" {
		return c.groups(t.Cgroup), nil
	}
	if units == nil {
		return nil, nil
	}
	names := []string{t.Unit}
	if strings.ContainsAny(t.Unit, "*?[") {
		var err error
		names, err = units.Match(ctx, t.Unit)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		if err != nil {
			c.events.SensorMissing(t.Unit, "systemd", err)
			return nil, nil
		}
		names = names[:min(len(names), matchLimit)]
	}
	places := map[string]string{}
	for _, name := range names {
		group, err := units.ControlGroup(ctx, name)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return places, err
		case err != nil && !errors.Is(err, systemd.ErrNoUnit):
			c.events.SensorMissing(name, "systemd", err)
		case group != "":
			places[name] = group
		}
	}
	return places, nil
}

// groups resolves a cgroup's path, or a glob to those that HAProxy runs in.
func (c *Controller) groups(pattern string) map[string]string {
	pattern = path.Clean("/" + pattern)
	if !strings.ContainsAny(pattern, "*?[") {
		return map[string]string{pattern: pattern}
	}
	dirs, err := filepath.Glob(c.Cgroups + pattern)
	if err != nil {
		c.events.SensorMissing(pattern, "cgroup", err)
	}
	places := map[string]string{}
	for _, dir := range dirs {
		// A group has files that a glob meets as well, and a node of Kubernetes has more containers than could be guarded.
		at := strings.TrimPrefix(dir, c.Cgroups)
		if !utf8.ValidString(at) || strings.ContainsFunc(at, func(r rune) bool { return !strconv.IsPrint(r) }) {
			continue // no program that makes groups calls one so, and the name would go wherever we tell of it: Prometheus's library panics
		}
		group, err := cgroup.Open(c.Cgroups, at)
		if err != nil {
			continue
		}
		pids, err := group.Procs()
		group.Close()
		if err == nil && haproxy.Runs(c.Procfs, pids) && len(places) < matchLimit {
			places[at] = at
		}
	}
	return places
}

// open makes a guard of a target, if its cgroup is there.
func (c *Controller) open(name, at string, own *policy.Policy) (*guard, error) {
	group, err := cgroup.Open(c.Cgroups, at)
	if err != nil {
		if !errors.Is(err, cgroup.ErrGone) {
			c.events.SensorMissing(name, "cgroup", err)
		}
		return nil, err
	}
	return newGuard(c, name, at, group, own), nil
}

// start begins to guard a target. c.mu is held.
func (c *Controller) start(ctx context.Context, name, at string) {
	own := c.Policy.For(name)
	g, err := c.open(name, at, own)
	if err != nil {
		return
	}
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

// wake tells the guard of a unit that something about it has changed: a reload, most likely.
func (c *Controller) wake(unit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.guards[unit]; g != nil {
		g.wakeUp()
	}
}

// Healthy returns an error if a guard has not finished a tick for the given time, or for as long as one may take that comes after a still time.
func (c *Controller) Healthy(within time.Duration) error {
	within = max(within, lookStill+tickStill+senseTime)
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, g := range c.guards {
		if d := time.Since(g.glance().at); d > within {
			return fmt.Errorf("%s was not looked at for %v", name, d.Round(time.Second))
		}
	}
	return nil
}

// showStatus tells how all targets are.
func (c *Controller) showStatus() {
	if c.Status == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(c.guards)) {
		if line := c.guards[name].glance().line; line != "" {
			lines = append(lines, line)
		}
	}
	text := cmp.Or(strings.Join(lines, "; "), "waiting for HAProxy")
	if text != c.status {
		c.status = text
		c.Status(text)
	}
}
