package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// plan adds the due actions of all entered tiers to the decision, beginning with the
// mildest tier.
func plan(p *Policy, st *State, s *Sample, d *Decision) {
	purging, waiting := false, false // for a tier below
	for i := range p.Tiers[:st.Tier] {
		pl := planner{p: p, st: st, s: s, d: d, tier: i}
		// An urgent tier does not wait for connections to drain. Every tier waits for
		// purges: they take milliseconds and cut nothing.
		if !purging && (!waiting || st.confirmed[i].Urgent) {
			for j := range p.Tiers[i].Actions {
				pl.act(&p.Tiers[i].Actions[j])
			}
		}
		purges, others := pl.outstanding()
		purging, waiting = purging || purges, waiting || others
	}
}

// act adds what is due of one action, ordered by generation.
func (pl *planner) act(a *Action) {
	if kinds[a.Kind].cuts && !pl.st.confirmed[pl.tier].Short {
		return // the target only stays in the tier: memory is sufficient
	}
	first := len(pl.d.Actions)
	switch a.Kind {
	case Protect:
		pl.protect(a)
	case PageOut:
		pl.pageOut(a)
	case HardStopAfter:
		pl.hardStop(a)
	case TerminateOldest:
		pl.terminateOldest(a)
	default:
		pl.relieve(a)
	}
	slices.SortFunc(pl.d.Actions[first:], func(a, b Due) int {
		return cmp.Or(cmp.Compare(a.Generation, b.Generation),
			cmp.Compare(a.Worker.PID, b.Worker.PID), cmp.Compare(a.Worker.Start, b.Worker.Start))
	})
}

// relieve gives an action that cuts no connection to each worker that it may help, unless
// an action ends the worker anyway.
func (pl *planner) relieve(a *Action) {
	for w, h := range pl.stopping {
		if pl.admits(a.Only, w) && !h.ending() && pl.helps(a.Kind, w, h.attempt(a.Kind)) {
			pl.give(h, w, Due{Kind: a.Kind}, kinds[a.Kind].why)
		}
	}
}

// Values of oom_score_adj for stopping workers. The kernel kills the process with the
// highest sum of this and its part of the memory in thousandths. So it takes the oldest
// generation before any other process, and another one before one that serves and holds
// less than nine tenths of the memory.
const (
	victimFirst = 1000 // for the oldest generation
	victimLater = 900
)

// protect raises the oom_score_adj of stopping workers. Each value is given once: if
// another program lowers it, that is not opposed.
func (pl *planner) protect(a *Action) {
	for w, h := range pl.stopping {
		adj := victimLater
		if w.Generation == pl.st.generations[0] {
			adj = victimFirst
		}
		last := h.attempt(Protect)
		due := w.OOMScoreAdj < adj && !last.InFlight && last.Result != Refused &&
			(last.OOMScoreAdj < adj || last.Result == Failed) && pl.s.Now >= last.Retry
		if due && pl.admits(a.Only, w) {
			pl.give(h, w, Due{Kind: Protect, OOMScoreAdj: adj}, kinds[Protect].why)
		}
	}
}

// helps reports whether an action may free memory. How full an HTTP cache is, is not
// sensed.
func (pl *planner) helps(kind string, w *Worker, a Attempt) bool {
	switch now := pl.s.Now; kind {
	case PurgeSSLCache:
		return w.Cache == CacheFull && a.Result != Refused && a.ready(now)
	case PurgeHTTPCache:
		return a.Result != Refused && a.ready(now)
	case Cold:
		return pl.swapRoom() && a.Result != Refused && a.ready(now)
	default:
		return a.repeats(holding(kind, w), now)
	}
}

// swapRoom reports whether anything can be moved to swap.
func (pl *planner) swapRoom() bool {
	return pl.s.SwapRoom.Absent == "" && pl.s.SwapRoom.Value > 0
}

// pageOut moves the memory of the oldest worker that holds some to swap. The next one is
// given when this one has ended, so that its bound holds for all together, and nothing
// is in flight for long after memory has become sufficient.
func (pl *planner) pageOut(a *Action) {
	short := pl.forRoom || pl.st.Tiers[pl.tier].Last.Short
	if !short || !pl.swapRoom() {
		return
	}
	var oldest *Worker
	var its *WorkerHistory
	for w, h := range pl.stopping {
		last := h.attempt(PageOut)
		if last.InFlight {
			return
		}
		if pl.admits(a.Only, w) && !h.ending() && last.repeats(holding(PageOut, w), pl.s.Now) &&
			(oldest == nil || w.Generation < oldest.Generation) {
			oldest, its = w, h
		}
	}
	if oldest != nil {
		pl.give(its, oldest, Due{Kind: PageOut, Paging: a.Paging}, kinds[PageOut].why)
	}
}

// hardStop drains the first, in its order, of the workers that have been stopping for
// longer than the effective limit. The next one is given when this one has ended, so that
// nothing is in flight after the tier is left.
func (pl *planner) hardStop(a *Action) {
	limit := a.HardStop.limit(pl.s.Now - pl.st.Entered[pl.tier])
	if pl.forRoom {
		limit = 0
	}
	var first *Worker
	var its *WorkerHistory
	unknown, uncounted := false, false // what a worker that is due holds, and its connections
	for w, h := range pl.stopping {
		drain := h.attempt(HardStopAfter)
		if drain.InFlight {
			return
		}
		due := w.StoppingFor >= limit && pl.admits(a.Only, w) &&
			!h.ending() && drain.ready(pl.s.Now)
		uncounted = uncounted || due && w.Connections == nil
		switch {
		case due && pl.weighs(a.HardStop.Worth) && w.footprint() == 0:
			unknown = true
		case due && (first == nil || a.HardStop.before(w, first)):
			first, its = w, h
		}
	}
	if first == nil && !unknown {
		return
	}
	if w := pl.unworthy(HardStopAfter, a.HardStop.Worth); w != nil {
		pl.withhold(*w)
		return
	}
	if a.HardStop.ByCost && uncounted && !pl.forRoom && pl.s.Now == pl.st.Entered[pl.tier] {
		pl.d.Confirm = true // connections are counted from the next sample on
		return
	}
	if first != nil {
		why := "the effective hard-stop-after is " + FormatDuration(limit)
		if pl.forRoom {
			why = "the policy permits drains to make room"
		}
		if a.HardStop.ByCost {
			why += first.costs()
		}
		due := Due{Kind: HardStopAfter, Spread: a.HardStop.Spread, PerSecond: a.HardStop.PerSecond}
		pl.give(its, first, due, why)
	}
}

// terminateOldest terminates the oldest stopping generation, once the one before it is
// gone and memory was measured again. To kill again before the last kill shows is the
// commonest mistake of such daemons.
func (pl *planner) terminateOldest(a *Action) {
	now, st := pl.s.Now, pl.st
	if st.Acted && (now <= st.Effect || now-st.Effect < pl.p.Tiers[pl.tier].Settle) {
		return
	}
	if st.Terminated && now-st.TerminatedAt < a.Terminate.Settle {
		return
	}
	st.Terminations = slices.DeleteFunc(st.Terminations, func(at time.Duration) bool {
		return now-at >= time.Minute
	})
	for i := range st.Workers {
		t := st.Workers[i].attempt(TerminateOldest)
		if t.InFlight || t.Result == Done || t.Result == Skipped {
			return // not gone yet
		}
	}
	for _, g := range st.generations {
		if pl.younger(g) < a.Terminate.Keep || pl.terminate(g, a) {
			return
		}
	}
}

// terminate terminates the stopping workers of one generation. It returns false if none
// of them can be terminated now.
func (pl *planner) terminate(generation int, a *Action) bool {
	given := false
	for w, h := range pl.stopping {
		drained := h.attempt(HardStopAfter).Result == Done
		if w.Generation != generation || !pl.admits(a.Only, w) || drained ||
			!h.attempt(TerminateOldest).ready(pl.s.Now) {
			continue
		}
		if withheld := pl.unworthy(TerminateOldest, a.Terminate.Worth); withheld != nil {
			pl.withhold(*withheld)
			return true // no generation is worth it
		}
		if pl.weighs(a.Terminate.Worth) && w.footprint() == 0 {
			continue // without a known gain no connection is cut
		}
		given = true
		if len(pl.st.Terminations) >= a.Terminate.Limit {
			return true // the rest of the generation follows later
		}
		pl.st.Terminations = append(pl.st.Terminations, pl.s.Now)
		why := fmt.Sprintf("generation %d is the oldest that can be terminated, "+
			"before %s", generation, Count(pl.younger(generation), "younger stopping one"))
		pl.give(h, w, Due{Kind: TerminateOldest, Grace: a.Terminate.Grace}, why)
	}
	return given
}

// younger counts the stopping generations younger than g.
func (pl *planner) younger(g int) int {
	i, _ := slices.BinarySearch(pl.st.generations, g+1)
	return len(pl.st.generations) - i
}

// admits reports whether a worker meets the conditions of an action.
func (pl *planner) admits(o Only, w *Worker) bool {
	return (o.StoppingAbove == 0 || w.StoppingFor > o.StoppingAbove) &&
		(o.CacheAbove == 0 || w.CacheBytes > o.CacheAbove) &&
		pl.younger(w.Generation) >= o.OlderThan
}

// give makes an action due.
func (pl *planner) give(h *WorkerHistory, w *Worker, due Due, reason string) {
	due.Tier, due.Worker, due.Generation = pl.p.Tiers[pl.tier].Name, w.ID, w.Generation
	stopping := FormatDuration(w.StoppingFor.Round(time.Second))
	due.Why = reason + "; stopping for " + stopping + "; " + pl.because()
	h.begin(due, pl.s.Now)
	pl.d.Actions = append(pl.d.Actions, due)
}

// outstanding reports whether the tiers above have to wait for this one's purges of TLS
// session caches, and for its other actions.
func (pl *planner) outstanding() (purges, others bool) {
	for w, h := range pl.stopping {
		for j := range pl.p.Tiers[pl.tier].Actions {
			a := &pl.p.Tiers[pl.tier].Actions[j]
			if pl.waits(a, w, h) {
				purge := a.Kind == PurgeSSLCache
				purges, others = purges || purge, others || !purge
			}
		}
	}
	return purges, others
}

// waits reports whether the tiers above have to wait for one action on one worker. They
// always wait for an action that was given in this step.
func (pl *planner) waits(action *Action, w *Worker, h *WorkerHistory) bool {
	kind, only := action.Kind, action.Only
	if w.Cache == CacheUnknown {
		only.CacheAbove = 0 // the cache may turn out to hold more
	}
	now, entered, settle := pl.s.Now, pl.st.Entered[pl.tier], pl.p.Tiers[pl.tier].Settle
	a := h.attempt(kind)
	switch {
	case !pl.admits(only, w):
		return false
	case kind == Protect || kind == Cold: // free nothing
		return false
	case a.InFlight:
		return now-a.Given <= settle
	case kind == HardStopAfter && a.Tries == 0 && !h.ending():
		return now-entered < settle // its limit is still coming down
	case kind == PageOut && (a.Tries == 0 || a.More) && !h.ending():
		return pl.swapRoom() && (pl.forRoom || now-entered < settle) // its turn comes
	case kind != PurgeSSLCache || a.Tries > 0 || h.ending():
		return false
	}
	// A full cache that was not tried is in flight by now, unless this tier waits itself,
	// and with it all tiers above.
	return w.Cache == CacheUnknown && now-max(entered, h.Seen) < settle
}
