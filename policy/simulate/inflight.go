package simulate

import (
	"slices"
	"time"

	"hapressure/policy"
)

// InFlight models actions that take their typical time and succeed: it holds the outcomes
// to come.
type InFlight []policy.Outcome

// Begin begins an action and returns the outcome that it will have. The durations were
// measured with caches of 237 MiB.
func (f *InFlight) Begin(due policy.Due, now time.Duration) policy.Outcome {
	takes := 200 * time.Millisecond
	switch due.Kind {
	case policy.HardStopAfter:
		takes = due.Spread + time.Second // a worker exits a second after its last session
	case policy.TerminateOldest:
		takes = 500 * time.Millisecond
	}
	o := policy.Outcome{Tier: due.Tier, Kind: due.Kind, Worker: due.Worker,
		At: now + takes, Result: policy.Done}
	*f = append(*f, o)
	return o
}

// End removes and returns the outcomes of the actions that have ended by now.
func (f *InFlight) End(now time.Duration) (ended []policy.Outcome) {
	*f = slices.DeleteFunc(*f, func(o policy.Outcome) bool {
		if o.At <= now {
			ended = append(ended, o)
		}
		return o.At <= now
	})
	return ended
}
