package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"hapressure/haproxy"
)

// purgesEach is how many purges are timed at each step.
const purgesEach = 10

// step is what was measured with so many stopping workers.
type step struct {
	workers, proven int
	first, steady   []time.Duration // of a Scan by a new Scanner, and of one by a Scanner that knows them all
	mallocs         uint64          // of the latter
	purges          []time.Duration
}

// scale measures a Scan and a purge among more and more stopping workers. Both must be
// linear: what a Scan costs a worker must not grow, and nor may what a purge costs, as
// there is one for each worker.
func (s settings) scale(ctx context.Context, t *table) error {
	if err := openFiles(); err != nil {
		return err
	}
	var servers []*server
	defer func() {
		for _, srv := range servers {
			srv.stop()
		}
	}()
	for range s.masters {
		srv, err := start(ctx, smallCache)
		if err != nil {
			return err
		}
		servers = append(servers, srv)
	}
	var held []time.Duration
	made, again := 0, 0
	var steps []step
	for _, n := range []int{s.workers / 8, s.workers / 4, s.workers / 2, s.workers} {
		for ; made < n; made++ {
			progress("scale, reload %d of %d", made+1, s.workers)
			w, err := servers[made%len(servers)].leave(ctx)
			if err != nil {
				return fmt.Errorf("reload %d: %w", made+1, err)
			}
			defer w.tunnel.Close()
		}
		pids, err := allPIDs(servers)
		if err != nil {
			return err
		}
		progress("scale, scans of %d workers", n)
		st, scanner, full, err := measureScan(ctx, pids)
		if err != nil {
			return err
		}
		if n < s.workers {
			full = full[:min(purgesEach, len(full))]
		}
		var took []time.Duration
		for i, w := range full {
			progress("scale, purge %d of %d among %d workers", i+1, len(full), n)
			p, err := purgeWorker(ctx, pids,
				func() (*haproxy.Stopping, error) { return scanner.Recheck(ctx, w) })
			if err != nil {
				return err
			}
			took, held = append(took, p.Took), append(held, p.Held)
			again += p.Tries - 1
		}
		if len(took) == 0 {
			return fmt.Errorf("none of %d workers is proven to be stopping", n)
		}
		st.workers, st.purges = n, took
		steps = append(steps, st)
	}
	report(t, steps)
	t.add(fmt.Sprintf("threads frozen, %d purges", len(held)),
		"median %d ns, p99 %d ns, worst %d ns; %d had to be tried again",
		median(held).Nanoseconds(), quantile(held, 0.99).Nanoseconds(),
		quantile(held, 1).Nanoseconds(), again)
	return nil
}

// report compares the fastest of each: what else runs on the machine can only make them
// slower.
func report(t *table, steps []step) {
	for _, st := range steps {
		show := func(took []time.Duration) string {
			return fmt.Sprintf("%s, %.1f µs a worker (median %s)", ms(fastest(took)),
				micros(fastest(took))/float64(st.workers), ms(median(took)))
		}
		name := fmt.Sprintf("%d stopping workers: ", st.workers)
		t.add(name+"scan", "%s, %.1f allocations a worker", show(st.steady),
			float64(st.mallocs)/float64(st.workers))
		t.add(name+"a new Scanner's scan", "%s, %d proven", show(st.first), st.proven)
		t.add(name+"purge of one small cache", "%s (median %s)", ms(fastest(st.purges)),
			ms(median(st.purges)))
	}
	a, b := steps[0], steps[len(steps)-1]
	grow := float64(b.workers) / float64(a.workers)
	growth := fmt.Sprintf(", %d / %d workers", b.workers, a.workers)
	t.atMost("time of a scan a worker"+growth,
		micros(fastest(b.steady))/micros(fastest(a.steady))/grow, 1.5)
	t.atMost("allocations of a scan a worker"+growth, float64(b.mallocs)/float64(a.mallocs)/grow,
		1.2)
	t.atMost("time of a new Scanner's scan a worker"+growth,
		micros(fastest(b.first))/micros(fastest(a.first))/grow, 1.5)
	t.atMost("time of a purge"+growth, micros(fastest(b.purges))/micros(fastest(a.purges)), 1.5)
}

func fastest(took []time.Duration) time.Duration { return slices.Min(took) }

func micros(d time.Duration) float64 { return d.Seconds() * 1e6 }

func allPIDs(servers []*server) ([]int, error) {
	var all []int
	for _, s := range servers {
		pids, err := s.pids()
		if err != nil {
			return nil, err
		}
		all = append(all, pids...)
	}
	return all, nil
}

// measureScan also returns the last Scanner, and the workers that it has found to be
// stopping with a full cache.
func measureScan(ctx context.Context, pids []int) (st step, s *haproxy.Scanner,
	full []haproxy.Worker, err error) {
	const times = 5
	for range times {
		s = haproxy.NewScanner("/proc")
		began := time.Now()
		if _, err := s.Scan(ctx, pids); err != nil {
			return st, s, nil, err
		}
		st.first = append(st.first, time.Since(began))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began = time.Now()
		found, err := s.Scan(ctx, pids)
		if err != nil {
			return st, s, nil, err
		}
		st.steady = append(st.steady, time.Since(began))
		runtime.ReadMemStats(&after)
		st.mallocs, st.proven, full = after.Mallocs-before.Mallocs, 0, nil
		for _, in := range found {
			for _, w := range in.Workers {
				if w.State == haproxy.StateStopping {
					st.proven++
				}
				if w.Cache > uint64(os.Getpagesize()) {
					full = append(full, w)
				}
			}
		}
	}
	return st, s, full, nil
}
