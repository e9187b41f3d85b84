package replay

import (
	"time"

	"hapressure/policy"
	"hapressure/policy/simulate"
)

// model is what the actions of a policy would have done that were not recorded.
type model struct {
	inFlight simulate.InFlight
	done     map[effect]bool
}

type effect struct {
	worker policy.WorkerID
	kind   string
}

// end returns the outcomes of the actions that have ended by now.
func (m *model) end(now time.Duration) []policy.Outcome {
	if m.done == nil {
		m.done = map[effect]bool{}
	}
	ended := m.inFlight.End(now)
	for i := range ended {
		ended[i].Reason = "not recorded, assumed to be done"
		m.done[effect{ended[i].Worker, ended[i].Kind}] = true
	}
	return ended
}

// change makes a sample what it would have been after the actions that have ended.
func (m *model) change(s *policy.Sample) {
	var left []policy.Worker
	for _, w := range s.Workers {
		if m.done[effect{w.ID, policy.HardStopAfter}] ||
			m.done[effect{w.ID, policy.TerminateOldest}] {
			continue
		}
		if m.done[effect{w.ID, policy.PurgeSSLCache}] {
			w.Cache, w.CacheBytes = policy.CacheEmpty, 0
		}
		left = append(left, w)
	}
	s.Workers = left
}
