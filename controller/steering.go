package controller

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
)

// Steering is how much of the policy is performed, as an operator has set it. Keys are
// names of targets; "" is for all targets.
type Steering struct {
	Modes  map[string]policy.Mode // that of "" counts for targets without one; none is Full
	Pauses map[string]Pause       // that of "" counts for each target as well
	// Unknown is why a part of it cannot be read; "" = all of it is known. Then no action
	// is performed: the operator may have set that.
	Unknown string
}

// PauseClock is the clock of pauses, the time since the machine was started. No change of
// the date moves it, and it counts while the machine is suspended.
func PauseClock() time.Duration { return sinceBoot() }

// Pause is a time in which no action is performed, on the PauseClock.
type Pause struct {
	Since time.Duration `json:"since"`
	Until time.Duration `json:"until"` // 0 = until the operator ends it
}

// Over reports whether the pause has ended by itself.
func (p Pause) Over(now time.Duration) bool { return p.Until != 0 && now >= p.Until }

// longer reports whether the pause ends after another one.
func (p Pause) longer(o Pause) bool { return o.Until != 0 && (p.Until == 0 || p.Until > o.Until) }

// ModeOf returns what is in force for a target at a time; "" = for targets without a mode
// or a pause of their own.
func (s Steering) ModeOf(target string, now time.Duration) status.Mode {
	set := policy.Full
	for _, name := range []string{"", target} {
		if m, found := s.Modes[name]; found {
			set = m
		}
	}
	m := status.Mode{InForce: set, Set: set, Why: "mode " + string(set)}
	if s.Unknown != "" {
		m.InForce, m.Why = policy.Observe, "the mode is not known: "+s.Unknown
		return m
	}
	pause, paused := s.Pauses[""]
	paused = paused && !pause.Over(now)
	if own, found := s.Pauses[target]; found && !own.Over(now) && (!paused || own.longer(pause)) {
		pause, paused = own, true
	}
	if !paused {
		return m
	}
	m.InForce, m.Paused, m.Why = policy.Observe, true, "paused until 'hapressure resume'"
	if pause.Until != 0 {
		m.PausedUntil = new(time.Now().Add(pause.Until - now).Round(time.Second))
		m.Why = "paused until " + m.PausedUntil.Format(time.DateTime)
	}
	return m
}

// Describe returns what is in force, as mode returns it for each target.
func (s Steering) Describe(mode func(target string) status.Mode) status.Steering {
	own := map[string]bool{}
	for name := range s.Modes {
		own[name] = true
	}
	for name := range s.Pauses {
		own[name] = true
	}
	delete(own, "")
	all := status.Steering{Mode: mode(""), Targets: []status.TargetMode{}}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		all.Targets = append(all.Targets, status.TargetMode{Target: name, Mode: mode(name)})
	}
	return all
}

// steered is what the guards obey.
type steered struct {
	dryRun bool
	by     atomic.Pointer[Steering]
}

func newSteered(by Steering, dryRun bool) *steered {
	s := &steered{dryRun: dryRun}
	s.by.Store(&by)
	return s
}

// mode returns what is in force for a target at this moment.
func (s *steered) mode(target string) status.Mode {
	m := s.by.Load().ModeOf(target, sinceBoot())
	if s.dryRun {
		m.InForce, m.Why = policy.Observe, "dry run"
	}
	return m
}
