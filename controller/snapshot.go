package controller

import (
	"maps"
	"slices"
	"sync"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// Bounds of a snapshot. The history is that of the last ten minutes, or of more if the
// target is quiet.
const (
	historyEvery = 2 * time.Second
	historySize  = 300
	actionsSize  = 20
)

// snapshot is what a guard publishes. Its parts are replaced or appended to, never
// changed.
type snapshot struct {
	at      time.Time
	line    string
	view    view
	found   []haproxy.Instance // as last found
	missing map[string]string
	stuck   map[haproxy.ID]bool
	actions []status.Action
	history []status.Moment

	policy   *policy.Policy // nil before the first tick
	tier     int
	changed  time.Time // zero if never
	why      string
	hardStop *float64
	leave    string
	withheld []status.Withheld
}

// published is the snapshot of a guard, which other goroutines read.
type published struct {
	mu   sync.Mutex
	last snapshot
}

func (p *published) get() snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// tick publishes what a tick of the target has sensed and decided.
func (p *published) tick(
	name string, v view, under *policy.Policy, s *policy.State, missing map[string]string,
) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &p.last
	l.at, l.line, l.view, l.policy = time.Now(), v.line(name, s.TierName), v, under
	if v.WorkersAbsent == "" {
		l.found = v.found
	}
	if !maps.Equal(l.missing, missing) {
		l.missing = maps.Clone(missing)
	}
	l.tier, l.why, l.changed, l.hardStop = s.Tier, s.Why, time.Time{}, nil
	if s.Why != "" {
		l.changed = l.at.Add(s.Changed - v.Now)
	}
	if limit, ok := s.HardStopAfter(under); ok {
		l.hardStop = new(limit.Seconds())
	}
	l.leave, l.withheld = "", []status.Withheld{}
	if s.Under(under) {
		l.leave = s.Leaving(under, &v.Sample)
	}
	for _, w := range s.Withheld {
		l.withheld = append(l.withheld, status.Withheld{
			Tier: w.Tier, Action: w.Kind, Since: l.at.Add(w.Since - v.Now),
			Held: w.Gain, Why: w.String(),
		})
	}
	n := len(l.history)
	if n == 0 || l.at.Sub(l.history[n-1].At) >= historyEvery || l.history[n-1].Tier != s.Tier {
		l.history = appendLast(historySize, l.history, status.Moment{
			At: l.at, Used: v.nearest.Usage, Limit: v.nearest.Bytes,
			Some: v.Some10, Full: v.Full10, Tier: s.Tier,
		})
	}
}

// action publishes an outcome.
func (p *published) action(e ended) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last.actions = appendLast(actionsSize, p.last.actions, status.Action{
		At: time.Now(), Tier: e.due.Tier, Action: e.due.Kind,
		PID: e.due.Worker.PID, Generation: e.due.Generation, Result: e.result.Result,
		Freed: e.freed, Seconds: e.took.Seconds(), What: e.what, Error: e.why,
	})
}

// stuck publishes the stuck workers.
func (p *published) stuck(workers map[haproxy.ID]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last.stuck = workers
}

// appendLast appends an element, and now and then drops the oldest, so that n to 2n are
// left.
func appendLast[T any](n int, all []T, e T) []T {
	if len(all) >= 2*n {
		all = slices.Clone(all[n:])
	}
	return append(all, e)
}
