package replay

import (
	"slices"
	"time"

	"hapressure/policy"
)

// model is what actions are taken to do that were not recorded.
type model struct {
	flying []policy.Outcome
	done   map[effect]bool
}

type effect struct {
	worker policy.WorkerID
	kind   string
}

// typical is how long an action takes, as measured with caches of 237 MiB.
func typical(due policy.Due) time.Duration {
	switch due.Kind {
	case policy.HardStopAfter:
		return due.Spread + time.Second // the second is between the last session's end and the worker's
	case policy.TerminateOldest:
		return 500 * time.Millisecond
	}
	return 200 * time.Millisecond
}

func (m *model) start(now time.Duration, due policy.Due) {
	m.flying = append(m.flying, policy.Outcome{Tier: due.Tier, Kind: due.Kind, Worker: due.Worker, At: now + typical(due),
		Result: policy.Done, Reason: "not recorded, taken as done"})
}

// land returns what has ended by now.
func (m *model) land(now time.Duration) (landed []policy.Outcome) {
	if m.done == nil {
		m.done = map[effect]bool{}
	}
	m.flying = slices.DeleteFunc(m.flying, func(o policy.Outcome) bool {
		if o.At <= now {
			landed = append(landed, o)
			m.done[effect{o.Worker, o.Kind}] = true
		}
		return o.At <= now
	})
	return landed
}

// change makes a sample what it would have been after all that landed.
func (m *model) change(s *policy.Sample) {
	var left []policy.Worker
	for _, w := range s.Workers {
		if m.done[effect{w.ID, policy.HardStopAfter}] || m.done[effect{w.ID, policy.TerminateOldest}] {
			continue
		}
		if m.done[effect{w.ID, policy.PurgeSSLCache}] {
			w.Cache, w.CacheBytes = policy.CacheEmpty, 0
		}
		left = append(left, w)
	}
	s.Workers = left
}
