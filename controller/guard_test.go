package controller

import (
	"testing"
	"testing/synctest"
	"time"
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
