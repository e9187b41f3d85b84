package simulate

import (
	"slices"

	"hapressure/policy"
)

// begin begins an action.
func (m *model) begin(due policy.Due) {
	o, w := Expect(due, m.now), m.find(due.Worker)
	switch {
	case m.dry:
		o.At, o.Result, o.Reason = m.now+2*step, policy.Skipped, "dry run"
	case w == nil:
	case due.Kind == policy.HardStopAfter:
		w.draining, w.ends = m.now+due.Spread, o.At
	case due.Kind == policy.TerminateOldest:
		w.ends = o.At
	case due.Kind == policy.PageOut: // at most; see end
		o.FreedBytes = uint64(float64(due.Paging.PerSecond) * (o.At - m.now - watched).Seconds())
	}
	m.inFlight = append(m.inFlight, o)
}

func (m *model) find(id policy.WorkerID) *worker {
	i := slices.IndexFunc(m.workers, func(w *worker) bool { return w.id == id })
	if i < 0 {
		return nil
	}
	return m.workers[i]
}

// end returns the outcomes of the actions that end now, with their effects.
func (m *model) end() []policy.Outcome {
	ended := m.inFlight.End(m.now)
	for i := range ended {
		o := &ended[i]
		switch w := m.find(o.Worker); {
		case m.dry:
		case o.Kind == policy.PurgeSSLCache && w != nil:
			o.FreedBytes, w.cache = uint64(w.cache), 0
		case o.Kind == policy.PageOut && w != nil:
			left, room := m.inRAM(w), m.Swap-m.swapped()
			moved := min(float64(o.FreedBytes), left, max(0, room))
			w.paged += moved
			o.FreedBytes, o.More = uint64(moved), moved > 0 && moved < left
		case o.Kind == policy.TrimPools:
			o.Result, o.Reason = policy.Refused, "not simulated"
		}
	}
	return ended
}
