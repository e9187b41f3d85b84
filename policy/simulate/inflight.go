package simulate

import (
	"slices"
	"time"

	"hapressure/policy"
)

// watched is how long a worker is watched before anything of it is paged out.
const watched = time.Second

// Expect returns the outcome of an action that begins now, takes its typical time and
// succeeds. The durations were measured with caches of 237 MiB.
func Expect(due policy.Due, now time.Duration) policy.Outcome {
	takes := 200 * time.Millisecond
	switch due.Kind {
	case policy.HardStopAfter:
		takes = due.Spread + time.Second // a worker exits a second after its last session
	case policy.PageOut:
		takes = watched + 2*time.Second // some 128 MiB at the usual pace
	case policy.TerminateOldest:
		takes = 500 * time.Millisecond
	}
	return policy.Outcome{Tier: due.Tier, Kind: due.Kind, Worker: due.Worker,
		At: now + takes, Result: policy.Done}
}

// InFlight holds the outcomes of the actions that have begun and not ended.
type InFlight []policy.Outcome

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
