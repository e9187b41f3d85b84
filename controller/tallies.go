package controller

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"

	"hapressure/controller/status"
	"hapressure/policy"
)

// tallies are the counters of Metrics. Those of a target are dropped with the target.
type tallies struct {
	changes, actions, freed, sessions, rooms *prometheus.CounterVec
	tick, held, waited                       prometheus.Histogram
	took, reaction                           *prometheus.HistogramVec
}

func newTallies() tallies {
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		opts := prometheus.CounterOpts{Namespace: "hapressure", Name: name, Help: help}
		return prometheus.NewCounterVec(opts, append([]string{"target"}, labels...))
	}
	times := func(name, help string, buckets ...float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{
			Namespace: "hapressure", Name: name, Help: help, Buckets: buckets,
		}
	}
	byAction := []string{"action"}
	actionTimes := []float64{.001, .005, .025, .1, .5, 1, 5, 15, 60, 300}
	return tallies{
		changes: count("tier_changes_total",
			"Changes to a tier, or to none, from a milder one (up) or a harsher one (down).",
			"tier", "direction"),
		actions: count("actions_total",
			"Actions that ended, by result: done, refused, failed, or skipped because of "+
				"the mode or in a dry run.",
			"tier", "action", "result"),
		freed: count("freed_bytes_total", "Memory that actions freed, as measured.", "action"),
		sessions: count("sessions_shut_down_total",
			"Sessions of stopping workers that the policy's hard-stop-after shut down one by "+
				"one, without those that ended with their worker."),
		rooms: count("make_room_requests_total",
			"Requests for room for reloads, by result: room, no-room, unknown, or canceled by "+
				"the client.", "result"),
		waited: prometheus.NewHistogram(times("make_room_wait_seconds",
			"Time for which requests for room have waited.",
			.1, .25, .5, 1, 2, 5, 10, 20, 40, 60)),
		tick: prometheus.NewHistogram(times("tick_duration_seconds", "Duration of a tick.",
			.001, .0025, .005, .01, .025, .05, .1, .25, 1, 10)),
		held: prometheus.NewHistogram(times("worker_held_seconds",
			"Time for which the threads of a stopping worker were frozen for a purge.",
			.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .1)),
		took: prometheus.NewHistogramVec(times("action_duration_seconds",
			"Duration of actions that were done or failed.", actionTimes...), byAction),
		reaction: prometheus.NewHistogramVec(times("reaction_seconds",
			"Time from the tick that found "+
				"an action due to the end of that action, if it was done; the wait for earlier "+
				"ones is included.", actionTimes...), byAction),
	}
}

func (t tallies) all() []prometheus.Collector {
	return []prometheus.Collector{
		t.changes, t.actions, t.freed, t.sessions, t.rooms, t.tick, t.held, t.waited, t.took,
		t.reaction,
	}
}

func (t tallies) tierChanged(target string, ch policy.Change) {
	direction := "up"
	if ch.To < ch.From {
		direction = "down"
	}
	t.changes.WithLabelValues(target, cmp.Or(ch.ToName, none), direction).Inc()
}

func (t tallies) outcome(target string, due policy.Due, r result) {
	t.actions.WithLabelValues(target, due.Tier, due.Kind, string(r.Result)).Inc()
	t.freed.WithLabelValues(target, due.Kind).Add(float64(r.freed))
	t.sessions.WithLabelValues(target).Add(float64(r.sessions))
	if r.held > 0 {
		t.held.Observe(r.held.Seconds())
	}
	if r.Result == policy.Done || r.Result == policy.Failed {
		t.took.WithLabelValues(due.Kind).Observe(r.took.Seconds())
	}
	if r.Result == policy.Done && r.since > 0 {
		t.reaction.WithLabelValues(due.Kind).Observe(r.since.Seconds())
	}
}

func (t tallies) roomAnswered(r status.Room) {
	t.rooms.WithLabelValues(r.Target, r.Result).Inc()
	t.waited.Observe(r.Waited)
}

// expect makes the counters of what may happen to a target under a policy, so that the
// first event is a rise from 0. The Controller calls it, with c.mu held, when it finds
// the target and when its policy changes: a target that is gone gets no new series.
func (t tallies) expect(target string, p *policy.Policy) {
	t.sessions.WithLabelValues(target)
	for _, result := range []string{
		status.RoomFound, status.NoRoom, status.RoomUnknown, status.RoomCanceled,
	} {
		t.rooms.WithLabelValues(target, result)
	}
	t.changes.WithLabelValues(target, none, "down")
	for i, tier := range p.Tiers {
		t.changes.WithLabelValues(target, tier.Name, "up")
		if i+1 < len(p.Tiers) {
			t.changes.WithLabelValues(target, tier.Name, "down")
		}
		for _, a := range tier.Actions {
			t.freed.WithLabelValues(target, a.Kind)
			for _, r := range []policy.Result{policy.Done, policy.Refused, policy.Failed} {
				t.actions.WithLabelValues(target, tier.Name, a.Kind, string(r))
			}
		}
	}
}

func (t tallies) forget(target string) {
	for _, v := range []*prometheus.CounterVec{
		t.changes, t.actions, t.freed, t.sessions, t.rooms,
	} {
		v.DeletePartialMatch(prometheus.Labels{"target": target})
	}
}
