package controller

import (
	"fmt"
	"time"

	"hapressure/policy"
)

// A lane is a queue of actions of some kinds, one of which runs at a time.
type lane int

// Protect and a purge take an instant and a drain takes its time; an urgent termination
// must wait for neither.
const (
	purgeLane lane = iota
	reliefLane
	drainLane
	terminateLane

	lanes // how many there are
)

// laneOf returns the lane of a kind of action. A kind without a lane is an error of this
// program: no other lane may take it, because a drain among the purges would delay every
// purge behind it.
func laneOf(kind string) lane {
	switch kind {
	case policy.Protect, policy.PurgeSSLCache, policy.PurgeHTTPCache:
		return purgeLane
	case policy.TrimPools, policy.Cold, policy.PageOut:
		return reliefLane
	case policy.HardStopAfter:
		return drainLane
	case policy.TerminateOldest:
		return terminateLane
	}
	panic(fmt.Sprintf("the action %q has no lane", kind))
}

// queued is an action and the time of the tick that found it due; 0 if it is manual.
type queued struct {
	policy.Due
	at time.Duration
}

// queue has the actions that are due and not yet started.
type queue [lanes]struct {
	waiting []queued
	running bool
}

func (q *queue) add(a queued) {
	l := &q[laneOf(a.Kind)]
	l.waiting = append(l.waiting, a)
}

// next takes the next action of a lane, if the lane is idle and one waits. Call done
// after its end.
func (q *queue) next(n lane) (a queued, found bool) {
	l := &q[n]
	if l.running || len(l.waiting) == 0 {
		return queued{}, false
	}
	a, l.waiting, l.running = l.waiting[0], l.waiting[1:], true
	return a, true
}

// take makes a lane busy with an action that did not wait in it.
func (q *queue) take(n lane) { q[n].running = true }

func (q *queue) done(n lane) { q[n].running = false }

func (q *queue) busy(n lane) bool { return q[n].running }
