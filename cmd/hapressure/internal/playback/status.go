package playback

import (
	"cmp"
	"slices"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
)

// shownActions is how many of the last actions a status has.
const shownActions = 20

// at returns the target as of a time, false if it has no sample until then.
func (t *target) at(at time.Time, back time.Duration) (s status.Target, ok bool) {
	// The clocks of joined recordings may overlap; then the last sample counts.
	i, found := slices.BinarySearchFunc(t.times, at, time.Time.Compare)
	for ; found && i+1 < len(t.times) && !t.times[i+1].After(at); i++ {
	}
	if !found {
		i--
	}
	if i < 0 {
		return s, false
	}
	s = t.samples[i].status(t.name, t.times[i])
	from, _ := slices.BinarySearchFunc(t.times[:i+1], at.Add(-back), time.Time.Compare)
	s.History = t.moments[from : i+1]
	// An action that has ended since the sample counts as well.
	ended, _ := slices.BinarySearchFunc(t.actions, at,
		func(a status.Action, at time.Time) int { return cmp.Or(a.At.Compare(at), -1) })
	s.Actions = t.actions[max(0, ended-shownActions):ended]
	return s, true
}

// status returns what a daemon would have answered after the sample.
func (p *sample) status(name string, at time.Time) status.Target {
	limit := status.Limit{Name: p.Nearest, Bytes: p.Limit, Used: p.Used}
	s := status.Target{
		Name: name, At: at, Tier: p.Decision.Tier, Tiers: p.policy.tiers,
		TierWhy: p.ladder.why, Thresholds: p.policy.thresholds, Limit: limit,
		UsageLimit: status.Limit{Name: p.UsageOf.Name, Bytes: p.UsageOf.Bytes},
		Usage:      p.Usage, ReloadRoom: p.ReloadRoom, LimitIn: p.LimitIn,
		Some10: p.Some10, Some60: p.Some60, Full10: p.Full10, Full60: p.Full60,
		Swap: p.Swap, Shmem: p.Shmem, Sock: policy.Reading{Absent: "not recorded"},
		Events: p.Events, WorkersAbsent: p.WorkersAbsent,
	}
	if p.UsageOf == p.RoomOf { // Nearest is the same limit in other words
		s.UsageLimit = limit
	}
	if !p.ladder.since.IsZero() {
		s.TierSince = &p.ladder.since
	}
	st := policy.State{Tier: p.Decision.Tier, Now: p.Now, Entered: p.ladder.entered}
	if len(st.Entered) < st.Tier { // crafted
		st.Tier = len(st.Entered)
	}
	limits, ok := st.HardStopAfter(p.policy.policy)
	if ok {
		s.HardStopAfter = new(limits.Seconds())
	}
	m := status.Master{}
	for _, w := range p.workers {
		m.Workers = append(m.Workers, describe(w, p.Now, s.HardStopAfter))
		hold(&s.Stopping, w)
	}
	if len(m.Workers) > 0 {
		s.Masters = []status.Master{m}
	}
	return s
}

// describe describes a worker as far as recordings do.
func describe(w policy.Worker, now time.Duration, hardStop *float64) status.Worker {
	// Start is in clock ticks of 10 ms since boot, as is the clock of the samples.
	age := now - time.Duration(w.ID.Start)*10*time.Millisecond
	row := status.Worker{
		PID: w.ID.PID, Generation: w.Generation, State: cmp.Or(string(w.State), "unknown"),
		Proof: "not recorded", Age: max(0, age.Seconds()), Connections: w.Connections,
	}
	if w.Private > 0 {
		row.Private, row.Swapped = &w.Private, &w.Swapped
	}
	if w.Files > 0 {
		row.OpenFiles = &w.Files
	}
	if w.State != policy.Stopping {
		return row
	}
	row.StoppingFor = new(w.StoppingFor.Seconds())
	if w.Cache != policy.CacheUnknown {
		row.Cache = &w.CacheBytes
	}
	if hardStop != nil {
		row.HardStopIn = new(max(0, *hardStop-*row.StoppingFor))
	}
	return row
}

// hold adds what a stopping worker holds.
func hold(sum *status.Memory, w policy.Worker) {
	if w.State != policy.Stopping {
		return
	}
	sum.Workers++
	sum.Cache += w.CacheBytes
	sum.Private += w.Private
	sum.Swapped += w.Swapped
	sum.OpenFiles += w.Files
	sum.Incomplete = sum.Incomplete || w.Private == 0 || w.Cache == policy.CacheUnknown
}
