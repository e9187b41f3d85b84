package controller

import (
	"context"
	"errors"
	"fmt"

	"hapressure/haproxy"
	"hapressure/policy"
)

// perform performs an action on a worker: it proves again that the worker is stopping,
// acts, waits for the end and measures what was freed.
func (a *actions) perform(ctx context.Context, due policy.Due, w haproxy.Worker) result {
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
	if a.dryRun {
		return result{Result: policy.Skipped, what: "nothing done", why: "dry run"}
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
