package haproxy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	drainPause = 200 * time.Millisecond // for the streams of one round to end
	drainExtra = 2 * time.Second        // for those that come late
	exitWait   = 5 * time.Second        // for a worker whose CLI has ended to end itself
)

// Pace is how fast sessions are shut down, so that their clients do not all return at one
// moment.
type Pace struct {
	Spread    time.Duration // evenly over this time
	PerSecond int           // at most, however long it takes then; 0 = no bound
}

// over returns the time that n sessions take.
func (p Pace) over(n int) time.Duration {
	if p.PerSecond == 0 {
		return p.Spread
	}
	return max(p.Spread, time.Duration(n)*time.Second/time.Duration(p.PerSecond))
}

// Drained is what a drain did.
type Drained struct {
	Sessions int  // that were shut down
	Left     bool // whether some were still there when the drain's time was over
}

// Drain shuts down the sessions of the worker, those that were idle longest first. It
// returns when none are left, when the worker has ended, or some time after the time that
// its pace takes. ErrNoCLI: the sessions cannot be reached.
func (r Replaced) Drain(ctx context.Context, pace Pace) (Drained, error) {
	var d Drained
	var end time.Time
	for {
		ids, err := r.sessions(ctx)
		if !r.p.Alive() || r.ends(ctx, err) {
			return d, nil
		}
		if err != nil {
			return d, fmt.Errorf("listing the sessions of worker %d: %w", r.p.PID, err)
		}
		if len(ids) == 0 {
			return d, nil
		}
		if end.IsZero() {
			end = time.Now().Add(2*pace.over(len(ids)) + drainExtra)
		} else if time.Now().After(end) {
			d.Left = true
			return d, nil
		}
		n, err := r.shutdownAll(ctx, ids, pace.over(len(ids)), end)
		d.Sessions += n
		if err != nil {
			return d, err
		}
		pace.Spread = 0 // the rest came late: no reason to wait for it again
		if err := r.pause(ctx, drainPause); err != nil {
			return d, err
		}
	}
}

func (r Replaced) sessions(ctx context.Context) ([]string, error) {
	if r.w.cli == nil {
		return nil, errNoMaster
	}
	return r.w.cli.Sessions(ctx)
}

// ends reports whether a question failed because the worker is about to end: one that
// exits closes its CLI first.
func (r Replaced) ends(ctx context.Context, asked error) bool {
	if asked == nil || errors.Is(asked, ErrNoCLI) {
		return false
	}
	ended, _ := r.p.WaitExit(ctx, exitWait)
	return ended
}

// shutdownAll shuts sessions down, evenly over a time, and returns how many.
func (r Replaced) shutdownAll(ctx context.Context, ids []string, over time.Duration,
	end time.Time) (int, error) {
	start := time.Now()
	for i, id := range ids {
		due := start.Add(over * time.Duration(i) / time.Duration(len(ids)))
		if err := r.pause(ctx, time.Until(due)); err != nil {
			return i, err
		}
		if time.Now().After(end) {
			return i, nil
		}
		err := r.w.cli.Shutdown(ctx, id)
		if r.ends(ctx, err) {
			return i, nil
		}
		if err != nil {
			return i, fmt.Errorf("shutting down a session of worker %d: %w", r.p.PID, err)
		}
	}
	return len(ids), nil
}

// pause waits for d, or less if the worker ends.
func (s *Stopping) pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	_, err := s.p.WaitExit(ctx, d)
	return err
}
