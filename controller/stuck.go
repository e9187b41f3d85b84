package controller

import (
	"context"
	"maps"
	"time"

	"hapressure/haproxy"
)

// StuckAfter is how long a stopping worker has no traffic before it counts as stuck: much
// longer than HAProxy needs to end one, and than a client needs to close a connection.
const StuckAfter = time.Hour

// stuckAfter is StuckAfter, and stuckEvery the time between two examinations, each of
// which asks the workers that have been stopping for so long. Tests have less.
var stuckAfter, stuckEvery = StuckAfter, 10 * time.Minute

// stuck finds the stuck workers of a target: stopping workers that stay although they
// have no traffic. It runs beside the guard's loop, as workers may answer slowly.
type stuck struct {
	target string
	events Events
	after  time.Duration // stuckAfter
	every  time.Duration // stuckEvery
	idle   func(context.Context, haproxy.Worker) (why string, err error)

	since map[haproxy.ID]time.Duration // since when, after boot, a worker was found idle
	found map[haproxy.ID]bool          // the stuck ones, which are reported once
}

func newStuck(target string, events Events) stuck {
	return stuck{
		target: target, events: events, after: stuckAfter, every: stuckEvery,
		idle: func(ctx context.Context, w haproxy.Worker) (string, error) { return w.Idle(ctx) },
	}
}

// watch examines the workers of the last tick until ctx ends, and publishes which of them
// are stuck.
func (s *stuck) watch(ctx context.Context, p *published) {
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if v := p.get().view; v.WorkersAbsent == "" {
				p.stuck(s.examine(ctx, sinceBoot(), v.workers))
			}
		}
	}
}

// examine returns the workers that are stuck at a time after boot, and reports the new
// ones. A worker whose answer is missing stays what it was.
func (s *stuck) examine(
	ctx context.Context, now time.Duration, workers []haproxy.Worker,
) map[haproxy.ID]bool {
	since, found := map[haproxy.ID]time.Duration{}, map[haproxy.ID]bool{}
	for _, w := range workers {
		if w.State != haproxy.StateStopping || w.StoppingFor < s.after {
			continue
		}
		began, known := s.since[w.ID]
		why, err := s.idle(ctx, w)
		switch {
		case err != nil && !known, err == nil && why == "":
			continue
		case !known:
			began = now
		}
		since[w.ID] = began
		if found[w.ID] = s.found[w.ID]; !found[w.ID] && err == nil && now-began >= s.after {
			found[w.ID] = true
			s.events.workerStuck(s.target, w, why, now-began)
		}
	}
	maps.DeleteFunc(found, func(_ haproxy.ID, is bool) bool { return !is })
	s.since, s.found = since, found
	return found
}
