package controller

import (
	"context"
	"errors"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// ManualPurge purges the TLS session cache of one worker, which may share memory with
// pids. A dry run checks everything and writes nothing.
func ManualPurge(
	ctx context.Context, s *haproxy.Scanner, w haproxy.Worker, pids []int, dryRun bool,
) status.Purge {
	result := status.Purged
	var done haproxy.Purged
	p, err := s.Recheck(ctx, w)
	if err == nil {
		defer p.Close()
		if dryRun {
			result = status.WouldPurge
			done, err = w.CheckSSLCache(pids)
		} else {
			done, err = p.PurgeSSLCache(ctx, pids)
		}
	}
	switch {
	case err == nil:
	case w.State != haproxy.StateStopping: // a policy never gives an order like this
		result = status.Refused
	case haproxy.HasNoCache(err):
		result = status.NoCache
	default:
		result = string(resultOf(err))
	}
	return status.Purge{
		PID: w.PID, Generation: w.Generation, Result: result, Reason: text(err),
		Layout: done.Layout, Before: done.Before, After: done.After,
		Held: float64(done.Held.Nanoseconds()) / 1000, Tries: done.Tries,
	}
}

// manualResult returns the result of a manual purge as that of an action.
func manualResult(p status.Purge) result {
	held := time.Duration(p.Held * float64(time.Microsecond))
	r := result{what: p.Result, why: p.Reason, held: held}
	switch p.Result {
	case status.Purged:
		r.Result, r.freed = policy.Done, p.Before-min(p.Before, p.After)
		r.what = "freed " + mib(r.freed)
	case status.WouldPurge:
		r.Result = policy.Skipped
	case status.NoCache:
		r.Result = policy.Done
	default:
		r.Result = policy.Result(p.Result)
	}
	return r
}

// order asks a guard for a manual purge.
type order struct {
	pid    int
	dryRun bool
	why    string
	done   chan status.Purge // of capacity 1; closed if there is no such worker
}

// ErrNoWorker means that a target has no such worker.
var ErrNoWorker = errors.New("no such worker")
