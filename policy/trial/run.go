package trial

import (
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
	"hapressure/policy/replay"
	"hapressure/policy/simulate"
)

// Run is what a policy did in a test.
type Run struct {
	Result   *simulate.Result // nil = of recordings
	Actions  map[string]int   // given, by kind
	Withheld map[string]int   // withheld from a time on, by kind
	Stays    []Stay           // in their order, from the first
	Took     time.Duration    // of the scenario or of the recordings
}

// Stay is the time in one tier.
type Stay struct {
	From time.Duration // since the beginning of the run
	Tier int           // 0 = none
	Name string
	Why  string // it was entered
}

func newRun() *Run {
	return &Run{Actions: map[string]int{}, Withheld: map[string]int{},
		Stays: []Stay{{Name: none}}}
}

// Simulate runs a policy in a scenario.
func Simulate(p *policy.Policy, s *simulate.Scenario) (*Run, error) {
	run := newRun()
	result, err := simulate.Run(s, p, func(e record.Event) error {
		if e.Tick == nil {
			return nil
		}
		for _, c := range e.Tick.Decision.Changes {
			run.change(e.Tick.Now, c)
		}
		for _, due := range e.Tick.Decision.Actions {
			run.Actions[due.Kind]++
		}
		for _, w := range e.Tick.Decision.Withheld {
			run.Withheld[w.Kind]++
		}
		return nil
	})
	run.Result, run.Took = &result, s.Duration
	return run, err
}

// Replayed returns what a policy did over recordings that a view has seen.
func Replayed(r *replay.Run, v *replay.View) *Run {
	run := newRun()
	for _, e := range r.Entries {
		if e.Change != nil {
			run.change(e.At.Sub(v.From), *e.Change)
		}
	}
	run.Actions, run.Took = r.Given(), v.To.Sub(v.From)
	return run
}

func (r *Run) change(at time.Duration, c policy.Change) {
	name := c.ToName
	if c.To == 0 {
		name = none
	}
	r.Stays = append(r.Stays, Stay{at, c.To, name, c.Why})
}

// during returns the stays in a part of a run, of which the first may have begun before
// it.
func (r *Run) during(from, to time.Duration) []Stay {
	first, last := 0, 0
	for i, s := range r.Stays {
		if s.From <= from {
			first = i
		}
		if s.From <= to {
			last = i
		}
	}
	return r.Stays[first : last+1]
}
