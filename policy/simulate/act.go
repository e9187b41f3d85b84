package simulate

import (
	"slices"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
)

// give begins an action. Each takes about as long as it does on a machine.
func (m *model) give(due policy.Due, dry bool) {
	a := action{due, m.now + 200*time.Millisecond}
	w := m.find(due.Worker)
	switch {
	case dry || w == nil:
	case due.Kind == policy.HardStopAfter:
		w.draining = m.now + due.Spread
		a.ends = w.draining + time.Second
		w.ends = a.ends
	case due.Kind == policy.TerminateOldest:
		w.ends = a.ends
	}
	m.actions = append(m.actions, a)
}

func (m *model) find(id policy.WorkerID) *worker {
	if i := slices.IndexFunc(m.workers, func(w *worker) bool { return w.id == id }); i >= 0 {
		return m.workers[i]
	}
	return nil
}

// land ends the actions whose time has come.
func (m *model) land(dry bool) (ended []policy.Outcome) {
	m.actions = slices.DeleteFunc(m.actions, func(a action) bool {
		if a.ends > m.now {
			return false
		}
		o := policy.Outcome{Tier: a.Tier, Kind: a.Kind, Worker: a.Worker, At: m.now, Result: policy.Done}
		switch w := m.find(a.Worker); {
		case dry:
			o.Result, o.Reason = policy.Skipped, "dry run"
		case a.Kind == policy.PurgeSSLCache && w != nil:
			o.FreedBytes, w.cache = uint64(w.cache), 0
		case a.Kind == policy.TrimPools || a.Kind == policy.PageOut:
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
