package controller

import (
	"context"
	"fmt"
	"time"
)

const sweepEvery = 5 * time.Minute

// sweepLeftovers removes leftovers of a store until ctx ends. Each store has a goroutine
// that nothing waits for: a disk that hangs delays neither a guard nor the other store.
// The first sweep comes after the targets that run have been found.
func (c *Controller) sweepLeftovers(ctx context.Context, l leftovers) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	reported := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := l.sweep(c.guarded)
		if err != nil && err.Error() != reported {
			message := fmt.Sprintf("Old files in %s are not removed: %v; retrying every %v",
				l.dir, err, sweepEvery)
			c.events.StorageFailed("", l.store, message, err)
		}
		reported = text(err)
	}
}
