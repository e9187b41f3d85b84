package controller

import (
	"testing"

	"hapressure/policy"
)

// Each kind of action of a policy has a lane; an unknown kind has none.
func TestEveryActionHasALane(t *testing.T) {
	for _, kind := range policy.Kinds {
		if l := laneOf(kind); l < 0 || l >= lanes {
			t.Errorf("%s is in lane %d of %d", kind, l, lanes)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("an unknown action has a lane")
		}
	}()
	laneOf("reload-haproxy")
}

// A lane runs one action at a time, in their order, and waits for no other lane.
func TestQueueRunsOneActionOfALane(t *testing.T) {
	var q queue
	for i := range 2 {
		q.add(queued{Due: policy.Due{Kind: policy.PurgeSSLCache, Generation: i}})
		q.add(queued{Due: policy.Due{Kind: policy.HardStopAfter, Generation: i}})
	}
	for i := range 2 {
		for _, l := range []lane{purgeLane, drainLane} {
			a, found := q.next(l)
			if !found || a.Generation != i || laneOf(a.Kind) != l || !q.busy(l) {
				t.Errorf("action %d of lane %d: %+v, %v", i, l, a, found)
			}
			if a, found := q.next(l); found {
				t.Errorf("%+v starts while another action of its lane runs", a)
			}
		}
		q.done(purgeLane)
		q.done(drainLane)
	}
	q.take(purgeLane)
	q.add(queued{Due: policy.Due{Kind: policy.PurgeSSLCache}})
	if _, found := q.next(purgeLane); found {
		t.Error("an action starts while a manual one runs")
	}
}
