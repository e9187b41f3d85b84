package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// PurgeByHand purges the TLS session cache of one worker, which may share memory with pids. A dry run looks and writes nothing.
func PurgeByHand(ctx context.Context, s *haproxy.Scanner, w haproxy.Worker, pids []int, dryRun bool) status.Purge {
	result := status.Purged
	var done haproxy.Purged
	p, err := s.Recheck(ctx, w)
	if err == nil {
		defer p.Close()
		if dryRun {
			result = status.WouldPurge
			done, err = p.CheckSSLCache(pids)
		} else {
			done, err = p.PurgeSSLCache(ctx, pids)
		}
	}
	switch {
	case err == nil:
	case w.State != haproxy.Stopping: // the order is refused; a policy never gives one like it
		result = status.Refused
	case haproxy.HasNoCache(err):
		result = status.NoCache
	default:
		result = string(outcomeOf(err))
	}
	return status.Purge{
		PID: w.PID, Generation: w.Generation, Result: result, Reason: text(err), Layout: done.Layout,
		Before: done.Before, After: done.After, Held: float64(done.Held.Nanoseconds()) / 1000, Tries: done.Tries,
	}
}

// order asks a guard for a purge by hand.
type order struct {
	pid    int
	dryRun bool
	why    string
	done   chan status.Purge // of capacity 1
}

// ErrNoWorker says that a target has no such worker.
var ErrNoWorker = errors.New("no such worker")

// Purge purges a worker of a target by hand, between the actions of the policy: it waits for one that is under way. why is for the
// journal.
func (c *Controller) Purge(ctx context.Context, target string, pid int, dryRun bool, why string) (status.Purge, error) {
	c.mu.Lock()
	g := c.guards[target]
	c.mu.Unlock()
	if g == nil {
		return status.Purge{}, fmt.Errorf("%w: nothing called %q is guarded", ErrNoWorker, target)
	}
	o := order{pid, dryRun, why, make(chan status.Purge, 1)}
	select {
	case g.orders <- o:
	case <-g.gone:
		return status.Purge{}, fmt.Errorf("%w: %q is no longer guarded", ErrNoWorker, target)
	case <-ctx.Done():
		return status.Purge{}, fmt.Errorf("waiting for %s to be free: %w", target, ctx.Err())
	}
	select {
	case done := <-o.done:
		if done.PID == 0 {
			return status.Purge{}, fmt.Errorf("%w: %s has none with pid %d", ErrNoWorker, target, pid)
		}
		return done, nil
	case <-ctx.Done():
		return status.Purge{}, fmt.Errorf("waiting for the purge of worker %d: %w", pid, ctx.Err())
	}
}

// ordered is where orders come from while no purge is under way.
func (g *guard) ordered() <-chan order {
	if g.lanes[purgeLane].busy {
		return nil
	}
	return g.orders
}

func (g *guard) purgeByHand(ctx context.Context, wg *sync.WaitGroup, o order) {
	i := slices.IndexFunc(g.workers, func(w haproxy.Worker) bool { return w.PID == o.pid })
	pids, err := g.group.Procs()
	if i < 0 || err != nil {
		o.done <- status.Purge{}
		return
	}
	w := g.workers[i]
	g.lanes[purgeLane].busy = true
	wg.Go(func() {
		began := time.Now()
		done := PurgeByHand(ctx, g.scanner, w, pids, o.dryRun || g.c.DryRun)
		o.done <- done
		due := policy.Due{Tier: "by hand", Kind: policy.PurgeSSLCache, Worker: policy.WorkerID(w.ID), Generation: w.Generation, Why: o.why}
		r := result{why: done.Reason, what: done.Result, took: time.Since(began), held: time.Duration(done.Held * float64(time.Microsecond))}
		switch done.Result {
		case status.Purged:
			r.Result, r.freed = policy.Done, done.Before-min(done.Before, done.After)
			r.what = "freed " + mib(r.freed)
		case status.WouldPurge:
			r.Result = policy.Skipped
		case status.Refused, status.NoCache:
			r.Result = policy.Refused
		case status.Failed:
			r.Result = policy.Failed
		}
		select {
		case g.ended <- ended{purgeLane, due, true, r}:
		case <-ctx.Done():
			g.reportOutcome(due, r)
		}
	})
}
