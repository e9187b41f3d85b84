package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Due is one action on one worker that is to be done now. It is not given again before its end was reported with
// State.Done. The worker was stopping when it was sensed; that must be checked again before it is touched.
type Due struct {
	Tier       string        `json:"Tier"` // the tier that wants it
	Kind       string        `json:"Kind"`
	Worker     WorkerID      `json:"Worker"`
	Generation int           `json:"Generation"`
	Spread     time.Duration `json:"Spread"`    // hard-stop-after: shut the sessions down over this time
	PerSecond  int           `json:"PerSecond"` // hard-stop-after: but not more sessions in a second; 0 = no bound
	Grace      time.Duration `json:"Grace"`     // terminate-oldest: between SIGTERM and SIGKILL
	Why        string        `json:"Why"`       // for the journal
}

// planner finds what is due in one step.
type planner struct {
	st   *State
	s    *Sample
	p    *Policy
	tier int // from 0
	d    *Decision
	only Only // of the present action
}

// plan adds the due actions of every tier that is held, from the mildest.
func plan(p *Policy, st *State, s *Sample, d *Decision) {
	purging, waiting := false, false // for a tier below
	for i := range p.Tiers[:st.Tier] {
		t := &p.Tiers[i]
		pl := planner{st: st, s: s, p: p, tier: i, d: d}
		// Urgency does not wait for connections to drain, but always for a purge: that is done at once and costs nobody any.
		if !purging && (!waiting || st.moments[i].Urgent) {
			for j := range t.Actions {
				pl.act(&t.Actions[j])
			}
		}
		purges, other := pl.outstanding()
		purging, waiting = purging || purges, waiting || other
	}
}

func (pl *planner) act(a *Action) {
	first := len(pl.d.Actions)
	if kinds[a.Kind].cuts && !pl.st.moments[pl.tier].Short {
		return // the tier is held for the rest of its leave time, but nobody's connections are cut while all is well
	}
	pl.only = a.Only
	switch a.Kind {
	case HardStopAfter:
		pl.hardStop(a.HardStop)
	case TerminateOldest:
		pl.terminateOldest(a.Terminate)
	default:
		pl.relieve(a.Kind)
	}
	slices.SortFunc(pl.d.Actions[first:], func(a, b Due) int {
		return cmp.Or(cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.Worker.PID, b.Worker.PID), cmp.Compare(a.Worker.Start, b.Worker.Start))
	})
}

// relieve wants done what costs no connection, unless the worker is being ended anyway.
func (pl *planner) relieve(kind string) {
	for w, m := range pl.stopping {
		if pl.admits(w) && !m.ending() && pl.frees(kind, w, m.attempt(kind)) {
			pl.give(m, w, Due{Kind: kind}, kinds[kind].why)
		}
	}
}

// frees reports whether an action may free something. How full an HTTP cache is, is not sampled.
func (pl *planner) frees(kind string, w *Worker, a Attempt) bool {
	switch now := pl.s.Now; kind {
	case PurgeSSLCache:
		return w.Cache == CacheFull && a.Result != Refused && a.ready(now)
	case PurgeHTTPCache:
		return a.Result != Refused && a.ready(now)
	case PageOut:
		return pl.s.SwapRoom.Absent == "" && pl.s.SwapRoom.Value > 0 && a.again(holding(kind, w), now)
	default:
		return a.again(holding(kind, w), now)
	}
}

// hardStop wants the oldest of the workers ended that have been stopping for longer than the effective limit. The next is given when
// this one has ended, so that nothing is on its way any more once the tier is left.
func (pl *planner) hardStop(h HardStop) {
	limit := h.limit(pl.s.Now - pl.st.Entered[pl.tier])
	var oldest *Worker
	var its *Memory
	unknown := false
	for w, m := range pl.stopping {
		a := m.attempt(HardStopAfter)
		if a.InFlight {
			return
		}
		due := w.StoppingFor >= limit && pl.admits(w) && !m.ending() && a.ready(pl.s.Now)
		switch {
		case due && pl.weighs(h.Worth) && w.held() == 0:
			unknown = true
		case due && (oldest == nil || w.Generation < oldest.Generation):
			oldest, its = w, m
		}
	}
	if oldest == nil && !unknown {
		return
	}
	if w := pl.unworthy(HardStopAfter, h.Worth); w != nil {
		pl.withhold(*w)
	} else if oldest != nil {
		due := Due{Kind: HardStopAfter, Spread: h.Spread, PerSecond: h.PerSecond}
		pl.give(its, oldest, due, "the effective hard-stop-after is "+FormatDuration(limit))
	}
}

// terminateOldest wants the oldest stopping generation ended, once the one before it is gone and memory was measured
// again: killing on before the last kill has shown is the commonest mistake of such daemons.
func (pl *planner) terminateOldest(t Terminate) {
	now, st := pl.s.Now, pl.st
	if st.Acted && (now <= st.Effect || now-st.Effect < pl.p.Tiers[pl.tier].Settle) {
		return
	}
	if st.Terminated && now-st.TerminatedAt < t.Settle {
		return
	}
	st.Terminations = slices.DeleteFunc(st.Terminations, func(at time.Duration) bool { return now-at >= time.Minute })
	for i := range st.Workers {
		if a := st.Workers[i].attempt(TerminateOldest); a.InFlight || a.Result == Done || a.Result == Skipped {
			return // not gone yet
		}
	}
	for _, g := range st.generations {
		if pl.younger(g) < t.Keep || pl.terminate(g, t) {
			return
		}
	}
}

// terminate wants all of one generation's stopping workers ended. It returns false where none can be for now.
func (pl *planner) terminate(generation int, t Terminate) bool {
	given := false
	for w, m := range pl.stopping {
		a := m.attempt(TerminateOldest)
		if w.Generation != generation || !pl.admits(w) || m.attempt(HardStopAfter).Result == Done || !a.ready(pl.s.Now) {
			continue
		}
		if withheld := pl.unworthy(TerminateOldest, t.Worth); withheld != nil {
			pl.withhold(*withheld)
			return true // no generation is worth it
		}
		if pl.weighs(t.Worth) && w.held() == 0 {
			continue // without a known gain no connection is cut
		}
		given = true
		if len(pl.st.Terminations) >= t.Limit {
			return true // the rest of the generation is for later
		}
		pl.st.Terminations = append(pl.st.Terminations, pl.s.Now)
		due := Due{Kind: TerminateOldest, Grace: t.Grace}
		pl.give(m, w, due, fmt.Sprintf("generation %d is the oldest that can be terminated, %d younger are stopping", generation, pl.younger(generation)))
	}
	return given
}

// younger counts the stopping generations younger than g.
func (pl *planner) younger(g int) int {
	i, _ := slices.BinarySearch(pl.st.generations, g+1)
	return len(pl.st.generations) - i
}

// admits tells whether the present action is for w.
func (pl *planner) admits(w *Worker) bool {
	o := &pl.only
	return (o.StoppingAbove == 0 || w.StoppingFor > o.StoppingAbove) &&
		(o.CacheAbove == 0 || w.CacheBytes > o.CacheAbove) &&
		pl.younger(w.Generation) >= o.OlderThan
}

// stopping goes through the workers that may be acted upon, with what is remembered of them. Every action passes here.
func (pl *planner) stopping(yield func(*Worker, *Memory) bool) {
	for i := range pl.s.Workers {
		if w := &pl.s.Workers[i]; w.State == Stopping && !yield(w, &pl.st.Workers[pl.st.index[w.ID]]) {
			return
		}
	}
}

// give makes an action due.
func (pl *planner) give(m *Memory, w *Worker, due Due, reason string) {
	t := &pl.p.Tiers[pl.tier]
	due.Tier, due.Worker, due.Generation = t.Name, w.ID, w.Generation
	due.Why = fmt.Sprintf("%s; stopping for %s; %s", reason, FormatDuration(w.StoppingFor.Round(time.Second)), pl.st.because(pl.p, pl.tier, pl.s))
	m.give(due.Kind, pl.s.Now)
	pl.d.Actions = append(pl.d.Actions, due)
}

// outstanding tells whether the tiers above have to wait for this one's purges of TLS caches, and for its other actions.
func (pl *planner) outstanding() (purges, other bool) {
	t := &pl.p.Tiers[pl.tier]
	for w, m := range pl.stopping {
		for j := range t.Actions {
			kind := t.Actions[j].Kind
			if pl.only = t.Actions[j].Only; w.Cache == CacheUnknown {
				pl.only.CacheAbove = 0 // it may turn out to be
			}
			wait := pl.admits(w) && pl.waits(kind, w, m, t.Settle)
			purges, other = purges || wait && kind == PurgeSSLCache, other || wait && kind != PurgeSSLCache
		}
	}
	return purges, other
}

// waits tells whether one action on one worker is still to be waited for. What was given in this very step always is.
func (pl *planner) waits(kind string, w *Worker, m *Memory, settle time.Duration) bool {
	now := pl.s.Now
	a := m.attempt(kind)
	switch {
	case a.InFlight:
		return now-a.Given <= settle
	case kind == HardStopAfter && a.Tries == 0 && !m.ending():
		return now-pl.st.Entered[pl.tier] < settle // its limit is still coming down
	case kind != PurgeSSLCache || a.Tries > 0 || m.ending():
		return false
	}
	// A full cache that was not tried is in flight by now, unless this tier waits itself, and with it all above.
	return w.Cache == CacheUnknown && now-max(pl.st.Entered[pl.tier], m.Seen) < settle
}
