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

	blindTo map[string]bool // files whose events do not wake the guard; watch owns it
	blind   atomic.Bool     // there are such files
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
	w.blindTo = map[string]bool{}
	err := w.group.Watch(ctx, w.missing, w.reported)
	if errors.Is(err, cgroup.ErrGone) {
		w.wake() // the tick finds the same
	} else if err != nil && ctx.Err() == nil {
		w.events.SensorMissing(w.name, "wake-ups", err)
	}
}

// missing records a sensor that cannot wake the guard.
func (w *wakeups) missing(sensor string, err error) {
	// A probe reads pressure, and a group without a memory controller has no events.
	if sensor != "memory.pressure" && !errors.Is(err, cgroup.ErrAbsent) {
		w.blindTo[sensor] = true
		w.blind.Store(true)
	}
	w.events.SensorMissing(w.name, "wake-up by "+sensor, err)
}

// reported wakes the guard for an event of a file, which thus can be watched.
func (w *wakeups) reported(file string) {
	delete(w.blindTo, file)
	w.blind.Store(len(w.blindTo) > 0)
	w.wake()
}
