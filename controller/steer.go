package controller

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
)

// Steer brings a steering into force and logs what it changes. When it returns, no action
// begins that the steering does not permit, and those that run are being stopped.
func (c *Controller) Steer(s Steering) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.steered.by.Load()
	if s.Unknown != "" { // what was known counts when a later steering is compared with it
		s.Modes, s.Pauses = was.Modes, was.Pauses
	}
	c.steered.by.Store(&s)
	c.logModes(was, &s)
	c.logPauses(was, &s, sinceBoot())
	switch {
	case s.Unknown == was.Unknown:
	case s.Unknown != "":
		c.events.ModeUnknown(s.Unknown)
	default:
		c.events.resumed("", "the mode is known again")
	}
	for name, g := range c.guards {
		g.actions.stop(c.steered.mode(name))
		g.wakeups.wake()
	}
}

// ModeUnknown logs why the files of the mode and of pauses cannot be read.
func (e Events) ModeUnknown(why string) {
	e.StorageFailed("", modeStore, "No action is performed: the mode is not known: "+why,
		errors.New(why))
}

func (c *Controller) logModes(was, is *Steering) {
	for _, target := range keys(was.Modes, is.Modes) {
		without := policy.Full // what counts for a target that has no mode of its own
		if target != "" {
			without = cmp.Or(is.Modes[""], policy.Full)
		}
		from, to := cmp.Or(was.Modes[target], without), cmp.Or(is.Modes[target], without)
		if from != to {
			c.events.modeChanged(target, from, to)
		}
	}
}

func (c *Controller) logPauses(was, is *Steering, now time.Duration) {
	for _, target := range keys(was.Pauses, is.Pauses) {
		before, paused := was.Pauses[target]
		after, pauses := is.Pauses[target]
		switch {
		case pauses && (!paused || after != before) && !after.Over(now):
			c.events.paused(target, Steering{Pauses: is.Pauses}.ModeOf(target, now))
		case pauses:
		case paused && before.Over(now):
			c.events.resumed(target, "the pause is over")
		case paused:
			c.events.resumed(target, "'hapressure resume' has ended the pause")
		}
	}
}

// keys returns the keys of two maps, sorted.
func keys[V any](a, b map[string]V) []string {
	all := map[string]V{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// Modes describes what is in force.
func (c *Controller) Modes() status.Steering {
	return c.steered.by.Load().Describe(c.steered.mode)
}
