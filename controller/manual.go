package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"hapressure/haproxy"
	"hapressure/policy"
)

// Purge is what came of a purge by hand.
type Purge struct {
	PID        int     `json:"pid"`
	Generation int     `json:"generation"`
	Result     string  `json:"result"`           // one of the constants below
	Reason     string  `json:"reason,omitempty"` // why it was refused or failed
	Layout     string  `json:"layout,omitempty"` // the releases whose layout the cache has
	Before     uint64  `json:"before_bytes"`
	After      uint64  `json:"after_bytes"`
	Held       float64 `json:"held_microseconds"`
	Tries      int     `json:"tries"`
}

// The results of a Purge. Refused and failed mean what they mean of an action of the policy.
const (
	Purged     = "purged"
	WouldPurge = "would purge"
	NoCache    = "nothing to purge" // the worker has no TLS session cache in shared memory
	Refused    = string(policy.Refused)
	Failed     = string(policy.Failed)
)

// PurgeByHand purges the TLS session cache of one worker, which may share memory with pids. A dry run looks and writes nothing.
func PurgeByHand(ctx context.Context, s *haproxy.Scanner, w haproxy.Worker, pids []int, dryRun bool) Purge {
	result := Purged
	var done haproxy.Purged
	p, err := s.Recheck(ctx, w)
	if err == nil {
		defer p.Close()
		if dryRun {
			result = WouldPurge
			done, err = p.CheckSSLCache(pids)
		} else {
			done, err = p.PurgeSSLCache(ctx, pids)
		}
	}
	switch {
	case err == nil:
	case w.State != haproxy.Stopping: // the order is refused; a policy never gives one like it
		result = Refused
	case haproxy.HasNoCache(err):
		result = NoCache
	default:
		result = string(classify(err))
	}
	return Purge{
		PID: w.PID, Generation: w.Generation, Result: result, Reason: text(err), Layout: done.Layout,
		Before: done.Before, After: done.After, Held: float64(done.Held.Nanoseconds()) / 1000, Tries: done.Tries,
	}
}

// order asks a guard for a purge by hand.
type order struct {
	pid    int
	dryRun bool
	why    string
	done   chan Purge // of capacity 1
}

// ErrNoWorker says that a target has no such worker.
var ErrNoWorker = errors.New("no such worker")

// Purge purges a worker of a target by hand, between the actions of the policy: it waits for one that is under way. why is for the
// journal.
func (c *Controller) Purge(ctx context.Context, target string, pid int, dryRun bool, why string) (Purge, error) {
	c.mu.Lock()
	g := c.guards[target]
	c.mu.Unlock()
	if g == nil {
		return Purge{}, fmt.Errorf("%w: nothing called %q is guarded", ErrNoWorker, target)
	}
	o := order{pid, dryRun, why, make(chan Purge, 1)}
	select {
	case g.orders <- o:
	case <-g.gone:
		return Purge{}, fmt.Errorf("%w: %q is no longer guarded", ErrNoWorker, target)
	case <-ctx.Done():
		return Purge{}, fmt.Errorf("waiting for %s to be free: %w", target, ctx.Err())
	}
	select {
	case done := <-o.done:
		if done.PID == 0 {
			return Purge{}, fmt.Errorf("%w: %s has none with pid %d", ErrNoWorker, target, pid)
		}
		return done, nil
	case <-ctx.Done():
		return Purge{}, fmt.Errorf("waiting for the purge of worker %d: %w", pid, ctx.Err())
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
		o.done <- Purge{}
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
		case Purged:
			r.Result, r.freed = policy.Done, done.Before-min(done.Before, done.After)
			r.what = "freed " + mib(r.freed)
		case WouldPurge:
			r.Result = policy.Skipped
		case Refused, NoCache:
			r.Result = policy.Refused
		case Failed:
			r.Result = policy.Failed
		}
		select {
		case g.ended <- ended{purgeLane, due, true, r}:
		case <-ctx.Done():
			g.c.report.outcome(g.name, due, r)
		}
	})
}
