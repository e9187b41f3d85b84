package haproxy_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"hapressure/haproxy"
)

// Purge the cache of each stopping worker, and end it over the next minute.
func ExampleScanner() {
	ctx := context.Background()
	var pids []int // of a cgroup

	scanner := haproxy.NewScanner("/proc")
	found, err := scanner.Scan(ctx, pids)
	if err != nil {
		log.Fatal(err)
	}
	for _, instance := range found {
		for _, worker := range instance.Workers {
			if worker.State != haproxy.StateStopping {
				continue
			}
			stopping, err := scanner.Recheck(ctx, worker)
			if err != nil {
				continue // it has ended, or is not what it was
			}
			purged, err := stopping.PurgeSSLCache(ctx, pids)
			fmt.Println(worker.PID, purged.Freed(), err, haproxy.Permanent(err))

			if replaced, err := stopping.Replaced(); err == nil {
				replaced.Drain(ctx, haproxy.Pace{Spread: time.Minute})
				replaced.Terminate(ctx, time.Second)
			}
			stopping.Close()
		}
	}
	// Output:
}
