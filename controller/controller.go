// Package controller joins what the other packages know: it finds the targets of the policy, senses each of them, asks the
// policy what to do, does it and says so.
package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hapressure/cgroup"
	"hapressure/policy"
	"hapressure/systemd"
)

// Units is what the controller asks of systemd; *systemd.Bus is it.
type Units interface {
	Unit(ctx context.Context, name string) (systemd.Unit, error)
	Match(ctx context.Context, glob string) ([]string, error)
	Changes(ctx context.Context) (<-chan string, error)
	Close()
}

// Journal takes the entries; *systemd.Journal is it.
type Journal interface {
	Send(systemd.Entry) error
}

// Config is what a Controller works with.
type Config struct {
	Policy  *policy.Policy
	DryRun  bool   // decide and say, but do nothing to a worker
	Procfs  string // the proc file system, /proc
	Cgroups string // the mount point of cgroup v2
	Journal Journal
	// Connect connects to systemd, again after the connection was lost. nil: only targets given as cgroups are found.
	Connect func(context.Context) (Units, error)
	// Status is told, in one line, how the targets are, whenever that changes. May be nil.
	Status func(string)
	// Keep is a folder for what goes on after a restart, one that a reboot empties; "" keeps nothing.
	Keep string
	// Record opens what the next recording of a target is written to. May be nil. A recording of RecordSize bytes is followed by a new one.
	Record     func(target string) io.WriteCloser
	RecordSize int64
}

// Controller guards the targets of a policy.
type Controller struct {
	Config
	report reporter
	wg     sync.WaitGroup

	again chan struct{} // to look for targets again

	mu     sync.Mutex        // of what follows, and of Config.Policy
	guards map[string]*guard // by the target's name: the unit, or the cgroup's path
	status string
}

// New makes a Controller.
func New(c Config) *Controller {
	return &Controller{Config: c, report: reporter{c.Journal}, again: make(chan struct{}, 1), guards: map[string]*guard{}}
}

// SetPolicy makes p the policy from the next tick on. A target stays in its tier where p has one of that name; one that p does not
// have, or disables, is no longer guarded.
func (c *Controller) SetPolicy(p *policy.Policy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Policy = p
	for name, g := range c.guards {
		if own := p.For(name); own != nil {
			g.setPolicy(own)
		} else {
			g.stop()
		}
	}
	select {
	case c.again <- struct{}{}:
	default:
	}
}

func (c *Controller) policy() *policy.Policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Policy
}

const (
	lookEvery  = 10 * time.Second // for targets, where no event tells of a change
	reconnect  = 5 * time.Second  // pause before systemd is tried again
	matchLimit = 64               // targets that one glob may give
)

// Run guards until ctx ends, and waits until what it had begun has ended.
func (c *Controller) Run(ctx context.Context) error {
	defer c.wg.Wait()
	for ctx.Err() == nil {
		err := c.follow(ctx)
		if err == nil || ctx.Err() != nil {
			break
		}
		c.report.sensorMissing("", "systemd", err)
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
	return nil
}

// follow looks for targets, at once and on each change, until ctx ends or systemd is lost. Guards run on meanwhile.
func (c *Controller) follow(ctx context.Context) error {
	var units Units
	var changes <-chan string
	if c.Connect != nil {
		var err error
		if units, err = c.Connect(ctx); err != nil {
			c.look(ctx, nil)
			return err
		}
		defer units.Close()
		if changes, err = units.Changes(ctx); err != nil {
			return err
		}
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for look := true; ; {
		if look {
			c.look(ctx, units)
			c.showStatus()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			look = true
		case <-c.again:
			look = true
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

// place is where a target's processes are.
type place struct {
	name, cgroup string
	mainPID      int
}

// look finds the targets that there are now and starts a guard for each that has none.
func (c *Controller) look(ctx context.Context, units Units) {
	found := map[string]place{}
	for _, t := range c.policy().Targets {
		for _, p := range c.places(ctx, units, t) {
			found[p.name] = p
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(found)) {
		p := found[name]
		if c.Policy.For(name) == nil {
			continue // disabled
		}
		if g := c.guards[name]; g != nil {
			if g.place.cgroup != p.cgroup {
				g.stop() // the unit went and came back elsewhere; a look after its end finds the new place
			}
			continue
		}
		if c.guarded(p.cgroup) {
			continue // by another name; two guards on one cgroup would get in each other's way
		}
		c.start(ctx, p)
	}
}

// guarded reports whether a cgroup has a guard. c.mu is held.
func (c *Controller) guarded(cgroup string) bool {
	for _, g := range c.guards {
		if g.place.cgroup == cgroup {
			return true
		}
	}
	return false
}

// places resolves one target. What is not there now gives nothing: it may come.
func (c *Controller) places(ctx context.Context, units Units, t policy.Target) []place {
	if t.Cgroup != "" {
		return c.groups(t.Cgroup)
	}
	if units == nil {
		return nil
	}
	names := []string{t.Unit}
	if strings.ContainsAny(t.Unit, "*?[") {
		var err error
		if names, err = units.Match(ctx, t.Unit); err != nil {
			c.report.sensorMissing(t.Unit, "systemd", err)
			return nil
		}
		names = names[:min(len(names), matchLimit)]
	}
	var places []place
	for _, name := range names {
		u, err := units.Unit(ctx, name)
		if errors.Is(err, systemd.ErrNoUnit) {
			continue
		}
		if err != nil {
			c.report.sensorMissing(name, "systemd", err)
			continue
		}
		if u.ControlGroup != "" {
			places = append(places, place{name: name, cgroup: u.ControlGroup, mainPID: u.MainPID})
		}
	}
	return places
}

// groups resolves a cgroup's path or glob.
func (c *Controller) groups(pattern string) []place {
	pattern = path.Clean("/" + pattern)
	if !strings.ContainsAny(pattern, "*?[") {
		return []place{{name: pattern, cgroup: pattern}}
	}
	dirs, err := filepath.Glob(c.Cgroups + pattern)
	if err != nil {
		c.report.sensorMissing(pattern, "cgroup", err)
	}
	var places []place
	for _, dir := range dirs {
		group := strings.TrimPrefix(dir, c.Cgroups)
		// A group has files that a glob meets as well.
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil && len(places) < matchLimit {
			places = append(places, place{name: group, cgroup: group})
		}
	}
	return places
}

// start begins to guard a target, if its cgroup is there. c.mu is held.
func (c *Controller) start(ctx context.Context, p place) {
	group, err := cgroup.Open(c.Cgroups, p.cgroup)
	if errors.Is(err, cgroup.ErrGone) {
		return
	}
	if err != nil {
		c.report.sensorMissing(p.name, "cgroup", err)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	g := newGuard(c, p, group, cancel)
	c.guards[p.name] = g
	c.report.targetFound(g)
	c.wg.Go(func() {
		why := g.run(ctx)
		cancel()
		g.group.Close()
		c.mu.Lock()
		delete(c.guards, p.name)
		c.mu.Unlock()
		c.report.targetLost(p.name, why)
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

// Healthy returns an error if a guard has not finished a tick for the given time.
func (c *Controller) Healthy(within time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, g := range c.guards {
		if d := time.Since(g.lastTick()); d > within {
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
		if line := c.guards[name].line(); line != "" {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, "; ")
	if text == "" {
		text = "waiting for HAProxy"
	}
	if text != c.status {
		c.status = text
		c.Status(text)
	}
}
