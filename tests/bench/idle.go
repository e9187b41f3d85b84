package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sampling is the interval between two samples of the daemon; what it does between two
// samples that found it asleep is one wake-up.
const sampling = 50 * time.Millisecond

// idle measures what the daemon costs while nothing happens: HAProxy idles with some
// stopping workers, and no tier is near.
func (s settings) idle(ctx context.Context, t *table) error {
	dir, err := os.MkdirTemp("", "hapressure-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, err := buildProgram(ctx, dir)
	if err != nil {
		return err
	}
	srv, err := start(ctx, smallCache)
	if err != nil {
		return err
	}
	defer srv.stop()
	for i := range s.idleWorkers {
		progress("idle, reload %d of %d", i+1, s.idleWorkers)
		w, err := srv.leave(ctx)
		if err != nil {
			return err
		}
		defer w.tunnel.Close()
	}
	group, err := srv.ownGroup()
	if err != nil {
		return err
	}
	daemon, err := startDaemon(ctx, program, dir, group)
	if err != nil {
		return err
	}
	defer daemon.stop()
	progress("idle, %v until it has settled", s.idleFor/4)
	if err := pause(ctx, s.idleFor/4); err != nil {
		return err
	}
	before, err := useOf(daemon.pid())
	if err != nil {
		return err
	}
	progress("idle, %v", s.idleFor)
	wakes, after := 0, before
	for asleep := true; time.Since(before.at) < s.idleFor; {
		if err := pause(ctx, sampling); err != nil {
			return err
		}
		now, err := useOf(daemon.pid())
		if err != nil {
			return err
		}
		if asleep && now.switches != after.switches {
			wakes++
		}
		asleep, after = now.switches == after.switches, now
	}
	if err := daemon.guarded(); err != nil {
		return err
	}
	over := after.at.Sub(before.at).Seconds()
	t.add("resident, idle", "%d kB, of which anonymous %d kB, file %d kB", after.field["VmRSS"],
		after.field["RssAnon"], after.field["RssFile"])
	t.atMost("resident, idle, MiB", float64(after.field["VmRSS"])/1024, 16)
	t.atMost(fmt.Sprintf("CPU, idle beside %d stopping workers, %% of a core", s.idleWorkers),
		(after.ran-before.ran).Seconds()/over*100, 0.1)
	t.atMost("wake-ups a second, idle", float64(wakes)/over, 1)
	t.add("switches of its threads a second, idle", "%.1f",
		float64(after.switches-before.switches)/over)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// use is what a process has used so far.
type use struct {
	at       time.Time
	field    map[string]uint64 // of /proc/PID/status, those that are numbers; memory in kB
	ran      time.Duration     // on a CPU
	switches uint64            // how often one of its threads has gone to sleep
}

func useOf(pid int) (use, error) {
	u := use{at: time.Now(), field: map[string]uint64{}}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if len(tasks) == 0 {
		return u, errors.Join(fmt.Errorf("process %d has ended", pid), err)
	}
	for _, task := range tasks {
		sched, err := os.ReadFile(task + "/schedstat")
		if err != nil {
			return u, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(sched), &ns); err != nil {
			return u, fmt.Errorf("parsing schedstat %q: %w", sched, err)
		}
		u.ran += time.Duration(ns)
		status, err := os.ReadFile(task + "/status")
		if err != nil {
			return u, err
		}
		for line := range strings.Lines(string(status)) {
			name, value, _ := strings.Cut(line, ":")
			var n uint64
			if _, err := fmt.Sscan(value, &n); err == nil {
				u.field[name] = n
			}
		}
		u.switches += u.field["voluntary_ctxt_switches"]
	}
	return u, nil
}
