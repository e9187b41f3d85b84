package controller

import (
	"context"
	"errors"
	"sync/atomic"

	"hapressure/cgroup"
)

// wakeups wakes a guard when its target may have changed.
type wakeups struct {
	target
	events Events
	woken  chan struct{} // of capacity 1: many wake-ups are one
	blind  atomic.Bool   // some events of the kernel do not wake the guard
}

func (w *wakeups) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// watch wakes the guard at each event of the cgroup, until ctx ends or the cgroup is
// gone.
func (w *wakeups) watch(ctx context.Context) {
	blindTo := map[string]bool{}
	missing := func(sensor string, err error) {
		// A probe reads pressure, and a group without a memory controller has no events.
		if sensor != "memory.pressure" && !errors.Is(err, cgroup.ErrAbsent) {
			blindTo[sensor] = true
			w.blind.Store(true)
		}
		w.events.SensorMissing(w.name, "wake-up by "+sensor, err)
	}
	err := w.group.Watch(ctx, missing, func(reason string) {
		delete(blindTo, reason) // it can be watched again
		w.blind.Store(len(blindTo) > 0)
		w.wake()
	})
	if errors.Is(err, cgroup.ErrGone) {
		w.wake() // the tick finds the same
	} else if err != nil && ctx.Err() == nil {
		w.events.SensorMissing(w.name, "wake-ups", err)
	}
}
