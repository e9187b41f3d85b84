package simulate

import (
	"math"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
)

// sense takes a sample of the model as the daemon does of a target.
func (m *model) sense() record.Tick {
	value := func(v float64) policy.Reading { return policy.Reading{Value: v} }
	noise := m.random.Float64() * m.Base / 100
	most, nearest := m.limits(min(m.used()+noise, m.Limit), m.now)
	limit, used := float64(nearest.Bytes), nearest.used
	t := record.Tick{Used: uint64(used), Limit: nearest.Bytes, Nearest: "simulated " + nearest.Name}
	t.Now, t.Cut, t.Failed = m.now, m.Cut, m.Failed
	t.Usage, t.UsageOf, t.RoomOf = value(most.percent()), most.Limit, nearest.Limit
	stall := float64(m.stall.Microseconds())
	t.SomeTotal, t.FullTotal = value(stall), value(float64(m.stall.Microseconds()/2))
	for _, r := range []*policy.Reading{
		&t.Some10, &t.Some60, &t.Some300, &t.Full10, &t.Full60, &t.Full300,
	} {
		r.Absent = "not simulated"
	}
	killed := value(float64(m.Killed))
	t.Events = map[string]policy.Reading{
		"low": {}, "high": {}, "max": killed, "oom": killed, "oom_kill": killed,
	}
	swapped := m.swapped()
	t.Swap, t.SwapRoom = value(swapped), value(m.Swap-swapped)
	t.LimitIn = policy.Reading{Absent: policy.NotRising}
	if over := int(slopeOver / step); len(m.slope) > over {
		_, then := m.limits(m.slope[len(m.slope)-1-over], m.now-slopeOver)
		rate := (used - then.used) / slopeOver.Seconds()
		if rate > 0 && then.Name == nearest.Name {
			t.LimitIn = value((limit - used) / rate)
		}
	}
	for _, w := range m.workers {
		private := m.private(w)
		t.Shmem.Value += w.cache
		s := policy.Worker{ID: w.id, Generation: w.generation, State: w.state,
			Private: uint64(private), Swapped: uint64(private - m.inRAM(w)),
			RAM: uint64(m.inRAM(w))}
		switch w.state {
		case policy.Current:
			t.ReloadRoom = value((limit - used) / (private + w.cache))
		case policy.Stopping:
			s.Connections = new(int(math.Round(w.connections)))
			s.StoppingFor, s.Cache, s.CacheBytes = m.now-w.since, policy.CacheFull, uint64(w.cache)
			if w.cache == 0 {
				s.Cache = policy.CacheEmpty
			}
		}
		t.Workers = append(t.Workers, s)
	}
	return t
}

// bound is a limit and what is used of it.
type bound struct {
	policy.Limit
	used float64
}

func (b bound) percent() float64  { return 100 * b.used / float64(b.Bytes) }
func (b bound) headroom() float64 { return float64(b.Bytes) - b.used }

// limits returns the limit that is used most and the one with the least headroom, if the
// unit uses so many bytes at a time.
func (m *model) limits(used float64, at time.Duration) (most, nearest bound) {
	most = bound{policy.Limit{Name: "memory.max", Bytes: uint64(m.Limit), Own: true}, used}
	nearest = most
	if m.Host == 0 {
		return most, nearest
	}
	others := m.Others * float64(at) / float64(m.Duration)
	all := min(used+others, m.Host)
	own := used >= all/2
	host := bound{policy.Limit{Name: "the host's memory", Bytes: uint64(m.Host), Own: own}, all}
	if host.percent() > most.percent() {
		most = host
	}
	if host.headroom() < nearest.headroom() {
		nearest = host
	}
	return most, nearest
}
