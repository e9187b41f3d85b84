package controller

import (
	"testing"
	"testing/synctest"
	"time"

	"hapressure/haproxy"
	"hapressure/policy"
)

// However often a guard is woken while it rests, that leads to one tick after the rest, and none is lost.
func TestBurstOfWakeUpsIsOneTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guard{woken: make(chan struct{}, 1), ended: make(chan ended)}
		go func() {
			for range 50 {
				g.wakeUp()
				time.Sleep(tickLeast / 100)
			}
		}()
		began := time.Now()
		if !g.rest(t.Context()) || time.Since(began) != tickLeast || len(g.woken) != 1 {
			t.Errorf("rested for %v, %d wake-ups wait; want %v and 1", time.Since(began), len(g.woken), tickLeast)
		}
	})
}

// Anything in the cgroup can be a master for a moment. What was told of one that has gone is not kept.
func TestMastersThatHaveGoneAreForgotten(t *testing.T) {
	j := newRecorder()
	g := &guard{c: &Controller{events: Events{j}, tallies: newTallies()}, missing: map[string]string{"memory.max": "gone"}}
	for pid := range 1000 {
		g.noteCLIs(0, []haproxy.Instance{{Master: haproxy.ID{PID: pid}, CLIErr: haproxy.ErrNoCLI}, {Master: haproxy.ID{PID: 5000}, CLIErr: haproxy.ErrNoCLI}})
	}
	if len(g.missing) != 3 {
		t.Errorf("%d things are kept: %v", len(g.missing), g.missing)
	}
	if n := len(j.all(kind(SensorMissing))); n != 1001 {
		t.Errorf("told %d times, want once for each master", n)
	}
}

// Each kind of action that a policy can give has a lane; an unknown kind has none.
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
