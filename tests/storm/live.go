package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// process names a process for good: a pid alone may be reused by another process.
type process struct {
	pid   int
	start uint64 // clock ticks after boot, field 22 of /proc/PID/stat
}

// lookUp finds out when pid was started. A zombie is an error: it serves no client any
// more.
func lookUp(pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, fmt.Errorf("looking up process %d: %w", pid, err)
	}
	start, err := parseStart(string(stat))
	if err != nil {
		return process{}, fmt.Errorf("looking up process %d: %w", pid, err)
	}
	return process{pid: pid, start: start}, nil
}

// parseStart takes the start time out of /proc/PID/stat; the command's name may hold
// spaces and brackets.
func parseStart(stat string) (uint64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("parsing its stat: %d fields after the name, want 20", len(fields))
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, fmt.Errorf("parsing its stat: it has ended")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func (p process) alive() bool {
	now, err := lookUp(p.pid)
	return err == nil && now == p
}

// learnTimeout is how long a master may take to say who is in service.
const learnTimeout = 30 * time.Second

// live is the worker in service, as it was when its generation first answered. It may
// end only after a newer one serves.
type live struct {
	master, worker process
	generation     int
}

// masterGone tells of a master that is known to have ended; of an unknown one (l is
// nil) it knows nothing.
func (l *live) masterGone() bool { return l != nil && !l.master.alive() }

// learnLive remembers the master and the one worker in service, or notes why it could
// not: that says nothing of the reload.
func (r *stormRun) learnLive(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		generation, _ := r.fresh.generation()
		l, err := r.findLive(ctx, generation)
		if err == nil {
			r.live = l
			return
		}
		select {
		case <-ctx.Done():
			r.live = nil
			r.note("finding the worker in service: %v", err)
			return
		case <-tick.C:
		}
	}
}

// findLive asks the master who is in service. The generation before may be listed
// beside the new one for a moment, and none while it reloads: both are errors.
func (r *stormRun) findLive(ctx context.Context, generation int) (*live, error) {
	p, err := r.unit.processes(ctx)
	if err != nil {
		return nil, err
	}
	if len(p.Workers) != 1 {
		return nil, fmt.Errorf("the master names %d workers, want 1", len(p.Workers))
	}
	master, err := lookUp(p.Master)
	if err != nil {
		return nil, err
	}
	worker, err := lookUp(p.Workers[0])
	if err != nil {
		return nil, err
	}
	return &live{master, worker, generation}, nil
}

// checkLive counts the live worker as lost if it ended though no newer generation had
// taken its place.
func (r *stormRun) checkLive() {
	l := r.live
	if l == nil {
		return
	}
	newest, _ := r.fresh.generation()
	replaced := newest > l.generation
	if !l.masterGone() && l.worker.alive() && !replaced {
		return
	}
	// A reload given up on may have come into service later; but with a new master the
	// whole service had died.
	if !replaced || l.masterGone() {
		r.report.LiveWorkerLost++
		r.note("the worker in service (pid %d, generation %d) was lost", l.worker.pid, l.generation)
	}
	r.live = nil
}
