package playback

import (
	"fmt"
	"slices"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/policy/language"
	"hapressure/policy/record"
)

// target is what recordings contain of one target.
type target struct {
	name    string
	samples []sample
	times   []time.Time // of the samples
	moments []status.Moment
	actions []status.Action
	events  []time.Time

	began  record.Begin
	policy *rules
	now    ladder // after the last sample
}

// rules are a policy, and what is shown of it.
type rules struct {
	policy     *policy.Policy
	tiers      []string
	thresholds []status.Threshold
}

// ladder is the place of a target on the ladder of tiers.
type ladder struct {
	since   time.Time // zero: it never changed
	why     string
	entered []time.Duration // by tier, on the clock of the samples
}

// sample is one tick and what was known at it.
type sample struct {
	*record.Tick
	policy  *rules
	ladder  ladder
	workers []policy.Worker // as last listed
}

// begin takes over the policy and the state at the beginning of a recording.
func (t *target) begin(b record.Begin) error {
	p, err := language.Decode(language.File{Name: "the recorded policy", Text: []byte(b.Policy)})
	if err != nil {
		return err
	}
	if own := p.For(b.Target); own != nil {
		p = own
	}
	t.began, t.policy = b, &rules{policy: p, thresholds: status.Thresholds(p)}
	for _, tier := range p.Tiers {
		t.policy.tiers = append(t.policy.tiers, tier.Name)
	}
	t.now = ladder{why: b.State.Why, entered: slices.Clone(b.State.Entered)}
	if b.State.Why != "" {
		t.now.since = t.wall(b.State.Changed)
	}
	return nil
}

// wall returns the wall clock's time at a time of the present recording.
func (t *target) wall(at time.Duration) time.Time { return t.began.Wall.Add(at - t.began.At) }

// tick takes a sample, and returns when it was made.
func (t *target) tick(tick *record.Tick) time.Time {
	at := t.wall(tick.Now)
	for _, c := range tick.Decision.Changes {
		t.change(c, tick.Now)
		t.events = append(t.events, at)
	}
	workers := tick.Workers
	if n := len(t.samples); tick.WorkersAbsent != "" && n > 0 {
		workers = t.samples[n-1].workers
	}
	t.samples = append(t.samples, sample{tick, t.policy, t.now, workers})
	t.times = append(t.times, at)
	t.moments = append(t.moments, status.Moment{
		At: at, Used: tick.Used, Limit: tick.Limit,
		Some: tick.Some10, Full: tick.Full10, Tier: tick.Decision.Tier,
	})
	return at
}

// change follows a change of tier.
func (t *target) change(c policy.Change, now time.Duration) {
	// The samples before share the slice.
	entered := make([]time.Duration, len(t.policy.tiers))
	copy(entered, t.now.entered)
	for i := max(0, c.From); i < min(c.To, len(entered)); i++ {
		entered[i] = now
	}
	t.now = ladder{since: t.wall(now), why: c.Why, entered: entered}
}

// end takes the end of an action.
func (t *target) end(o policy.Outcome) {
	a := status.Action{
		At: t.wall(o.At), Tier: o.Tier, Action: o.Kind, PID: o.Worker.PID, Result: o.Result,
		Freed: o.FreedBytes, What: string(o.Result), Error: o.Reason,
	}
	if o.Result == policy.Done && o.FreedBytes > 0 {
		a.What = fmt.Sprintf("freed %.0f MiB", float64(o.FreedBytes)/(1<<20))
	}
	if n := len(t.samples); n > 0 {
		for _, w := range t.samples[n-1].workers {
			if w.ID == o.Worker {
				a.Generation = w.Generation
			}
		}
	}
	t.actions = append(t.actions, a)
	t.events = append(t.events, a.At)
}
