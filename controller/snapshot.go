package controller

import (
	"maps"
	"slices"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

const (
	historyEvery = 2 * time.Second
	historySize  = 300
	actionsSize  = 20
)

// glance is what others may know of a guard. Its parts are replaced or appended to, never changed.
type glance struct {
	at      time.Time
	line    string
	view    view
	found   []haproxy.Instance // as last found
	missing map[string]string
	actions []status.Action
	history []status.Moment

	policy   *policy.Policy
	tier     int
	changed  time.Time // zero if never
	why      string
	hardStop *float64
	leave    string
	withheld []status.Withheld
}

// publish takes down what the last tick came to.
func (g *guard) publish(v view) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, p := &g.state, g.policy.Load()
	l := &g.last
	l.at, l.line, l.view, l.policy = time.Now(), v.line(g.name, s.TierName), v, p
	if v.WorkersAbsent == "" {
		l.found = v.found
	}
	if !maps.Equal(l.missing, g.missing) {
		l.missing = maps.Clone(g.missing)
	}
	l.tier, l.why, l.changed, l.hardStop = s.Tier, s.Why, time.Time{}, nil
	if s.Why != "" {
		l.changed = l.at.Add(s.Changed - v.Now)
	}
	if limit, ok := s.HardStopAfter(p); ok {
		l.hardStop = new(limit.Seconds())
	}
	l.leave, l.withheld = "", []status.Withheld{}
	if s.Under(p) {
		l.leave = s.Leaving(p, &v.Sample)
	}
	for _, w := range s.Withheld {
		l.withheld = append(l.withheld, status.Withheld{
			Tier: w.Tier, Action: w.Kind, Since: l.at.Add(w.Since - v.Now), Held: w.Gain, Why: w.String(),
		})
	}
	if n := len(l.history); n == 0 || l.at.Sub(l.history[n-1].At) >= historyEvery || l.history[n-1].Tier != s.Tier {
		l.history = last(historySize, l.history, status.Moment{
			At: l.at, Used: v.nearest.Usage, Limit: v.nearest.Bytes, Some: v.Some10, Full: v.Full10, Tier: s.Tier,
		})
	}
}

// last appends an element, and lets go of the oldest from time to time, so that there are n at least and twice as many at most.
func last[T any](n int, all []T, e T) []T {
	if len(all) >= 2*n {
		all = slices.Clone(all[n:])
	}
	return append(all, e)
}

func (g *guard) publishAction(due policy.Due, r result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last.actions = last(actionsSize, g.last.actions, status.Action{
		At: time.Now(), Tier: due.Tier, Action: due.Kind, PID: due.Worker.PID, Generation: due.Generation,
		Result: r.Result, Freed: r.freed, Seconds: r.took.Seconds(), What: r.what, Error: r.why,
	})
}

func (g *guard) glance() glance {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}
