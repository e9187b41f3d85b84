package controller

import (
	"context"
	"time"

	"hapressure/haproxy"
	"hapressure/policy"
)

// countTime bounds the questions of one tick. A worker's answer serves for 5 s, so that
// of many workers others are asked in the next tick.
const countTime = time.Second

// countConnections asks stopping workers for their connections, by worker. One that does
// not answer has no count.
func countConnections(ctx context.Context, workers []haproxy.Worker) map[policy.WorkerID]*int {
	ctx, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	counts := map[policy.WorkerID]*int{}
	for _, w := range workers {
		if w.State != haproxy.StateStopping {
			continue
		}
		if n, err := w.Connections(ctx); err == nil {
			counts[policy.WorkerID(w.ID)] = &n
		}
	}
	return counts
}
