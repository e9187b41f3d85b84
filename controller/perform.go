package controller

import (
	"context"
	"errors"
	"fmt"

	"hapressure/haproxy"
	"hapressure/policy"
)

// perform performs an action on a worker, unless the mode does not permit it. A mode that
// comes into force meanwhile stops it.
func (a *actions) perform(ctx context.Context, due policy.Due, w haproxy.Worker) result {
	ctx, done := a.add(ctx, due.Kind)
	defer done()
	return ifStopped(ctx, a.act(ctx, due, w))
}

// act proves again that the worker is stopping, acts, waits for the end and measures what
// was freed.
func (a *actions) act(ctx context.Context, due policy.Due, w haproxy.Worker) result {
	p, err := a.scanner.Recheck(ctx, w)
	if errors.Is(err, haproxy.ErrGone) {
		return result{Result: policy.Done, what: "it has ended by itself"}
	}
	if err != nil {
		return failure(err)
	}
	defer p.Close()
	var replaced haproxy.Replaced
	switch due.Kind {
	case policy.HardStopAfter, policy.TerminateOldest:
		if replaced, err = p.Replaced(); err != nil {
			return failure(err)
		}
	}
	if m := a.mode(); !m.InForce.Permits(due.Kind) {
		return skipped(m)
	}
	switch due.Kind {
	case policy.Protect:
		return protected(p.Protect(due.OOMScoreAdj))
	case policy.PurgeSSLCache:
		return a.purge(ctx, p.PurgeSSLCache)
	case policy.PurgeHTTPCache:
		return a.purge(ctx, p.PurgeHTTPCaches)
	case policy.TrimPools:
		return trimmed(p.TrimPools(ctx))
	case policy.Cold:
		return marked(p.Cold(ctx))
	case policy.PageOut:
		return a.pageOut(ctx, p, due.Paging)
	case policy.HardStopAfter:
		return a.hardStop(ctx, replaced, haproxy.Pace{Spread: due.Spread, PerSecond: due.PerSecond})
	case policy.TerminateOldest:
		return a.terminate(ctx, replaced, due.Grace)
	}
	return failure(fmt.Errorf("unknown action %q", due.Kind))
}
