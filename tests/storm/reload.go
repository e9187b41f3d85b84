package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// oneReload opens the tunnels that will hold the present generation, then reloads to
// the next.
func (r *stormRun) oneReload(ctx, busy context.Context, i int) {
	r.checkLive()
	if r.live == nil {
		r.learnLive(ctx)
	}
	generation, _ := r.fresh.generation()
	if err := r.tunnels.open(busy, r.Tunnels, generation); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		r.note("before reload %d: %s", i, first)
	}
	started := time.Now()
	reloading, cancel := context.WithTimeout(ctx, r.ReloadTimeout)
	defer cancel()
	verdict := "ok"
	if i == r.BreakAt {
		verdict = "broken on purpose"
		r.report.ReloadsBroken++
		if err := r.breakReload(reloading); err != nil {
			r.note("breaking reload %d on purpose: %v", i, err)
		}
	} else if err := r.reload(reloading, i+1); err != nil {
		verdict = fmt.Sprintf("FAILED (%v)", err)
		r.report.ReloadsFailed++
		r.report.ReloadErrors = append(r.report.ReloadErrors, fmt.Sprintf("reload %d: %v", i, err))
	}
	r.progress(ctx, fmt.Sprintf("reload %d of %d: %s after %.1f s", i, r.Reloads, verdict,
		time.Since(started).Seconds()))
}

// reload writes the configuration of the given generation, reloads, and waits until
// that generation answers: that the command went well says only that the master was
// signalled.
func (r *stormRun) reload(ctx context.Context, generation int) error {
	r.config.Generation = generation
	if err := r.config.write(); err != nil {
		return err
	}
	failedBefore := -1 // unknown
	if p, err := r.unit.processes(ctx); err == nil {
		failedBefore = p.FailedReload
	}
	if err := r.unit.reload(ctx); err != nil {
		return err
	}
	if err := r.awaitGeneration(ctx, generation, failedBefore); err != nil {
		return err
	}
	if r.live.masterGone() {
		return errors.New("the master was lost, and what answers is another")
	}
	r.learnLive(ctx)
	return nil
}

// awaitGeneration waits until generation answers. It gives up early when the master
// says that the reload failed or is gone.
func (r *stormRun) awaitGeneration(ctx context.Context, generation, failedBefore int) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		newest, changed := r.fresh.generation()
		if newest >= generation {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for generation %d to answer: %w", generation, ctx.Err())
		case <-tick.C:
			if r.live.masterGone() {
				return errors.New("the master is gone")
			}
			p, err := r.unit.processes(ctx)
			if err == nil && failedBefore >= 0 && p.FailedReload > failedBefore {
				return errors.New("the master says that its reload failed")
			}
		}
	}
}

// breakReload makes the master itself fail a reload: it is signalled directly, past the
// unit's check of the file. Afterwards the file is mended, but the master does not know
// that until the next reload; the live worker is then listed as an old one by some
// versions, which is what a guard must not fall for.
func (r *stormRun) breakReload(ctx context.Context) error {
	before, err := r.unit.processes(ctx)
	if err != nil {
		return err
	}
	broken := r.config
	broken.Broken = true
	if err := broken.write(); err != nil {
		return err
	}
	if err := syscall.Kill(before.Master, syscall.SIGUSR2); err != nil {
		return fmt.Errorf("signalling the master: %w", err)
	}
	err = r.awaitRefusal(ctx, before.FailedReload)
	if mending := r.config.write(); mending != nil {
		return mending
	}
	return err
}

// awaitRefusal waits until the master counts one more failed reload than before.
func (r *stormRun) awaitRefusal(ctx context.Context, before int) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if p, err := r.unit.processes(ctx); err == nil && p.FailedReload > before {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the master to refuse it: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
