package controller

import (
	"context"
	"fmt"

	"hapressure/controller/status"
)

// Purge purges a worker of a target manually, between the actions of the policy: it waits
// for a purge that runs. why is for the journal.
func (c *Controller) Purge(
	ctx context.Context, target string, pid int, dryRun bool, why string,
) (status.Purge, error) {
	c.mu.Lock()
	g := c.guards[target]
	c.mu.Unlock()
	if g == nil {
		return status.Purge{}, fmt.Errorf("%w: no target %q is guarded", ErrNoWorker, target)
	}
	o := order{pid, dryRun, why, make(chan status.Purge, 1)}
	select {
	case g.orders <- o:
	case <-g.gone:
		return status.Purge{}, fmt.Errorf("%w: %q is no longer guarded", ErrNoWorker, target)
	case <-ctx.Done():
		return status.Purge{}, fmt.Errorf("waiting for other purges of %s: %w", target, ctx.Err())
	}
	select {
	case p, found := <-o.done:
		if !found {
			return p, fmt.Errorf("%w: %s has none with pid %d", ErrNoWorker, target, pid)
		}
		return p, nil
	case <-ctx.Done():
		return status.Purge{}, fmt.Errorf("waiting for the purge of worker %d: %w", pid, ctx.Err())
	}
}
