package controller

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Wake-ups of the time in which a guard rests lead to one tick after it, and none is
// lost.
func TestBurstOfWakeUpsIsOneTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guard{
			wakeups: wakeups{woken: make(chan struct{}, 1)}, actions: &actions{ended: make(chan ended)},
			schedule: schedule{held: true}, // no probe replaces a tick
		}
		began := time.Now()
		var ticks []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		err := g.loop(ctx, func(context.Context) error {
			if ticks = append(ticks, time.Since(began)); len(ticks) == 3 {
				cancel()
			} else if len(ticks) == 1 {
				go func() {
					for range 50 {
						g.wakeups.wake()
						time.Sleep(tickLeast / 100)
					}
				}()
			}
			return nil
		})
		if want := []time.Duration{0, tickLeast, 2*tickLeast + tickEvery}; !slices.Equal(ticks, want) || err != context.Canceled {
			t.Errorf("ticks after %v, %v; want %v", ticks, err, want)
		}
	})
}

// An action that ends while the guard rests leads to a tick after the rest.
func TestOutcomeWhileRestingIsATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guard{
			events: Events{newRecorder()}, tallies: newTallies(),
			wakeups: wakeups{woken: make(chan struct{}, 1)}, actions: &actions{ended: make(chan ended)},
			schedule: schedule{held: true},
		}
		began := time.Now()
		var second time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		g.loop(ctx, func(context.Context) error {
			if time.Since(began) > 0 {
				second = time.Since(began)
				cancel()
				return nil
			}
			go func() { g.actions.ended <- ended{manual: true} }()
			return nil
		})
		if second != tickLeast {
			t.Errorf("the next tick is after %v, want %v", second, tickLeast)
		}
	})
}
