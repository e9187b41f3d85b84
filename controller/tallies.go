package controller

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hapressure/policy"
)

// tallies count what happens, for Metrics. Those of a target are forgotten with it.
type tallies struct {
	changes, actions, freed, sessions *prometheus.CounterVec
	tick, held                        prometheus.Histogram
	took, reaction                    *prometheus.HistogramVec
}

func newTallies() tallies {
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hapressure", Name: name, Help: help}, append([]string{"target"}, labels...))
	}
	times := func(name, help string, buckets ...float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "hapressure", Name: name, Help: help, Buckets: buckets}
	}
	byAction := []string{"action"}
	return tallies{
		changes: count("tier_changes_total", "Changes to a tier, or to none, from below (up) or from above (down).", "tier", "direction"),
		actions: count("actions_total", "Actions that ended, by how: done, refused, failed, or skipped in a dry run.", "tier", "action", "result"),
		freed:   count("freed_bytes_total", "What actions freed, as measured.", "action"),
		sessions: count("sessions_shut_down_total", "Sessions of stopping workers that the policy's hard-stop-after shut down one by one; those that ended with "+
			"their worker are not counted."),
		tick: prometheus.NewHistogram(times("tick_duration_seconds", "Time that one look at a target and the decision take.",
			.001, .0025, .005, .01, .025, .05, .1, .25, 1, 10)),
		held: prometheus.NewHistogram(times("worker_held_seconds", "Time for which the threads of a stopping worker stood still for a purge.",
			.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .1)),
		took: prometheus.NewHistogramVec(times("action_duration_seconds", "Time from the begin of an action to its end, done or failed.",
			.001, .005, .025, .1, .5, 1, 5, 15, 60, 300), byAction),
		reaction: prometheus.NewHistogramVec(times("reaction_seconds", "Time from the tick whose sample made an action due to the end of that action, "+
			"waiting for those before it included; of those that were done.", .001, .005, .025, .1, .5, 1, 5, 15, 60, 300), byAction),
	}
}

func (t tallies) all() []prometheus.Collector {
	return []prometheus.Collector{t.changes, t.actions, t.freed, t.sessions, t.tick, t.held, t.took, t.reaction}
}

const none = "none" // as a tier

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

func (t tallies) ticked(began time.Time) { t.tick.Observe(time.Since(began).Seconds()) }

// expect begins the counters of what may happen to a target under a policy, so that the first time is
// seen as a rise from 0. It is called when the target is found and when its policy changes, with c.mu
// held: a target that has been forgotten meanwhile gets no new series.
func (t tallies) expect(target string, p *policy.Policy) {
	t.sessions.WithLabelValues(target)
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
	for _, v := range []*prometheus.CounterVec{t.changes, t.actions, t.freed, t.sessions} {
		v.DeletePartialMatch(prometheus.Labels{"target": target})
	}
}
