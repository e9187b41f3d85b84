package controller

import (
	"math"
	"time"

	"hapressure/policy"
)

const (
	tickEvery = time.Second            // between ticks while a target is in no tier
	tickBusy  = 500 * time.Millisecond // while it is in a tier
	tickLeast = 100 * time.Millisecond // wake-ups of this time are one tick

	// If there was no event, change or action for quietAfter, a probe of usage and
	// pressure every probeEvery replaces the ticks, except for one tick every tickQuiet.
	// All other readings have an event that wakes the guard, or change slowly.
	quietAfter = 10 * time.Second
	probeEvery = 2 * time.Second
	tickQuiet  = 10 * time.Second

	// somePressure is percent of some avg10. It is less than the kernel's trigger, which
	// wakes the guard, because policies can ask for less than the trigger.
	somePressure = 1
)

// schedule decides when a guard ticks and probes next. It reads no clock.
type schedule struct {
	tier  int
	held  bool          // in the tier because of a reading: the tier is not always entered
	last  time.Duration // of the last tick
	event time.Duration // when anything last happened

	// As of then: usage, and the headroom of the nearest limit in bytes, which may be
	// another limit than the one of usage.
	usage policy.Reading
	room  uint64
}

// tick updates the schedule after a tick. happened: the tick had consequences.
func (s *schedule) tick(v view, tier int, held, happened bool) {
	s.last, s.tier, s.held = v.Now, tier, held
	if happened || s.moved(v) {
		s.event, s.usage, s.room = v.Now, v.Usage, v.nearest.Headroom()
	}
}

// moved reports whether there is pressure, or usage or headroom has changed by a tenth of
// what was left to the limit.
func (s *schedule) moved(v view) bool {
	usage, room := v.Usage, v.nearest.Headroom()
	return v.Some10.Value >= somePressure || usage.Absent != s.usage.Absent ||
		math.Abs(usage.Value-s.usage.Value) >= (100-s.usage.Value)/10 ||
		max(room, s.room)-min(room, s.room) > s.room/10
}

// quiet reports whether a probe may replace a tick.
func (s *schedule) quiet(now time.Duration) bool {
	return !s.held && now-s.event >= quietAfter && now-s.last < tickQuiet
}

// next returns the time until the next tick or probe.
func (s *schedule) next(now time.Duration) time.Duration {
	switch {
	case !s.held && now-s.event >= quietAfter:
		return probeEvery
	case s.tier > 0:
		return tickBusy
	}
	return tickEvery
}
