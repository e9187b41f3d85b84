// Package controller guards HAProxy: it finds the targets of a policy, senses each of
// them, has the policy decide, performs the actions and logs them.
//
// A [Controller] finds targets and has one guard for each. A guard is a loop, and owns
// parts that know neither it nor the Controller: sensor, schedule, queue, actions,
// recording, persist.
package controller

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

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
	c.steered = newSteered(c.Steering, c.DryRun)
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
			if m := c.steered.mode(name); m.InForce != policy.Full {
				line += ", " + m.Why
			}
			lines = append(lines, line)
		}
	}
	text := cmp.Or(strings.Join(lines, "; "), "waiting for HAProxy")
	if text != c.status {
		c.status = text
		c.Status(text)
	}
}

// Digest identifies a policy.
func Digest(p *policy.Policy) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(p.Source))) }
