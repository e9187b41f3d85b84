package simulate

import (
	"slices"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
)

// give begins an action. Each takes about as long as it does on a machine.
func (m *model) give(due policy.Due, dry bool) {
	o := policy.Outcome{Tier: due.Tier, Kind: due.Kind, Worker: due.Worker, At: m.now + 200*time.Millisecond, Result: policy.Done}
	w := m.find(due.Worker)
	switch {
	case dry || w == nil:
	case due.Kind == policy.HardStopAfter:
		w.draining = m.now + due.Spread
		o.At = w.draining + time.Second
		w.ends = o.At
	case due.Kind == policy.TerminateOldest:
		w.ends = o.At
	}
	m.flying = append(m.flying, o)
}

func (m *model) find(id policy.WorkerID) *worker {
	if i := slices.IndexFunc(m.workers, func(w *worker) bool { return w.id == id }); i >= 0 {
		return m.workers[i]
	}
	return nil
}

// land ends the actions whose time has come.
func (m *model) land(dry bool) (ended []policy.Outcome) {
	m.flying = slices.DeleteFunc(m.flying, func(o policy.Outcome) bool {
		if o.At > m.now {
			return false
		}
		o.At = m.now
		switch w := m.find(o.Worker); {
		case dry:
			o.Result, o.Reason = policy.Skipped, "dry run"
		case o.Kind == policy.PurgeSSLCache && w != nil:
			o.FreedBytes, w.cache = uint64(w.cache), 0
		case o.Kind == policy.TrimPools || o.Kind == policy.PageOut:
			o.Result, o.Reason = policy.Refused, "it is not simulated"
		}
		ended = append(ended, o)
		return true
	})
	return ended
}

// sense looks at the model as the daemon does at a machine.
func (m *model) sense() record.Tick {
	value := func(v float64) policy.Reading { return policy.Reading{Value: v} }
	noise := m.random.Float64() * float64(m.Base) / 100
	limit, used := float64(m.Limit), min(m.used()+noise, float64(m.Limit))
	t := record.Tick{Used: uint64(used), Limit: uint64(limit), Nearest: "simulated memory.max"}
	t.Now = m.now
	t.Usage = value(100 * used / limit)
	t.SomeTotal, t.FullTotal = value(float64(m.stall.Microseconds())), value(float64(m.stall.Microseconds()/2))
	for _, r := range []*policy.Reading{&t.Some10, &t.Some60, &t.Some300, &t.Full10, &t.Full60, &t.Full300} {
		r.Absent = "not simulated"
	}
	killed := value(float64(m.Killed))
	t.Events = map[string]policy.Reading{"low": {}, "high": {}, "max": killed, "oom": killed, "oom_kill": killed}
	t.Swap, t.SwapRoom = value(m.swapped), value(float64(m.Swap)-m.swapped)
	t.LimitIn = policy.Reading{Absent: policy.NotRising}
	if over := int(slopeOver / step); len(m.slope) > over {
		if rate := (used - m.slope[len(m.slope)-1-over]) / slopeOver.Seconds(); rate > 0 {
			t.LimitIn = value((limit - used) / rate)
		}
	}
	for _, w := range m.workers {
		t.Shmem.Value += w.cache
		s := policy.Worker{ID: w.id, Generation: w.generation, State: w.state, Private: uint64(m.private(w)), RAM: uint64(m.private(w))}
		switch w.state {
		case policy.Current:
			t.ReloadRoom = value((limit - used) / (m.private(w) + w.cache))
		case policy.Stopping:
			s.StoppingFor, s.Cache, s.CacheBytes = m.now-w.since, policy.CacheFull, uint64(w.cache)
			if w.cache == 0 {
				s.Cache = policy.CacheEmpty
			}
		}
		t.Workers = append(t.Workers, s)
	}
	return t
}
