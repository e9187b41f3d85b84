package haproxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotStopping says that an action was called off because its worker is not proven to be stopping.
var ErrNotStopping = errors.New("worker is not proven to be stopping")

// Drained is what a drain did.
type Drained struct {
	Sessions int  // streams that were told to shut down
	Left     bool // some were still there when the drain's time was over
}

const (
	drainPause = 200 * time.Millisecond // how long the streams of one round are given to end before the next look
	drainExtra = 2 * time.Second        // for those that come late
	exitWait   = 5 * time.Second        // from the end of its CLI to that of a worker: it gives all its memory back meanwhile
)

// Pace is how fast sessions are shut down, so that their clients do not all come back at one moment.
type Pace struct {
	Spread    time.Duration // evenly over this time
	PerSecond int           // but never more in a second, however long it takes then; 0 = no bound
}

// over is the time that n sessions take.
func (p Pace) over(n int) time.Duration {
	if p.PerSecond == 0 {
		return p.Spread
	}
	return max(p.Spread, time.Duration(n)*time.Second/time.Duration(p.PerSecond))
}

// Drain shuts down the sessions of a stopping worker, those that have been idle for longest first. It returns once there are none
// left, or the worker has ended, or a good way past the time that its pace takes. ErrNoCLI: there is no way to reach its sessions.
func Drain(ctx context.Context, w Worker, p *Process, pace Pace) (Drained, error) {
	var d Drained
	var end time.Time
	for {
		ids, err := w.sessions(ctx)
		if !p.Alive() || p.ending(ctx, err) {
			return d, nil
		}
		if err != nil {
			return d, fmt.Errorf("listing the sessions of worker %d: %w", p.PID, err)
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
		n, err := w.shutdownAll(ctx, p, ids, pace.over(len(ids)), end)
		d.Sessions += n
		if err != nil {
			return d, err
		}
		pace.Spread = 0 // what is left came late: no reason to wait for it again
		if err := pause(ctx, p, drainPause); err != nil {
			return d, err
		}
	}
}

// ending reports whether a worker could not be asked because it is about to end: one that exits closes its CLI first.
func (p *Process) ending(ctx context.Context, asked error) bool {
	if asked == nil || errors.Is(asked, ErrNoCLI) {
		return false
	}
	ended, _ := p.waitExit(ctx, exitWait)
	return ended
}

func (w *Worker) sessions(ctx context.Context) ([]string, error) {
	answer, err := w.ask(ctx, "show sess", maxSess)
	if errors.Is(err, errTooLong) { // the whole lines of it are enough for this round
		answer, err = answer[:strings.LastIndexByte(answer, '\n')+1], nil
	}
	if err != nil {
		return nil, err
	}
	return ParseShowSess(answer)
}

// shutdownAll shuts sessions down, evenly over a time.
func (w *Worker) shutdownAll(ctx context.Context, p *Process, ids []string, over time.Duration, end time.Time) (int, error) {
	begin := time.Now()
	for i, id := range ids {
		due := begin.Add(over * time.Duration(i) / time.Duration(len(ids)))
		if err := pause(ctx, p, time.Until(due)); err != nil {
			return i, err
		}
		if time.Now().After(end) {
			return i, nil
		}
		answer, err := w.ask(ctx, "shutdown session "+id, maxShort)
		if err == nil {
			err = shutdownError(answer)
		}
		if p.ending(ctx, err) {
			return i, nil
		}
		if err != nil {
			return i, fmt.Errorf("shutting down a session of worker %d: %w", p.PID, err)
		}
	}
	return len(ids), nil
}

// shutdownError tells what an answer to `shutdown session` means: none is good, and a session that is gone needs no shutting down.
func shutdownError(answer string) error {
	answer = strings.TrimSpace(answer)
	switch {
	case answer == "", strings.HasPrefix(answer, "No such session"):
		return nil
	case strings.HasPrefix(answer, "Permission denied"):
		return fmt.Errorf("%w with the admin level: the worker says %.100q", ErrNoCLI, answer)
	}
	return fmt.Errorf("the worker says %.100q", answer)
}

// pause waits for d, or less if the process ends.
func pause(ctx context.Context, p *Process, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	_, err := p.waitExit(ctx, d)
	return err
}

// killWait is how long a killed process may take to be gone; one in uninterruptible sleep takes longer.
const killWait = 10 * time.Second

// Terminate ends a process: SIGTERM, on which a worker exits at once, and SIGKILL if it has not after grace. It returns when the
// process has ended, and whether SIGKILL was needed. The caller must have proven that it is a stopping worker.
func (p *Process) Terminate(ctx context.Context, grace time.Duration) (killed bool, err error) {
	if err := p.Signal(unix.SIGTERM); errors.Is(err, ErrGone) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if ended, err := p.waitExit(ctx, grace); ended || err != nil {
		return false, err
	}
	if err := p.Signal(unix.SIGKILL); err != nil && !errors.Is(err, ErrGone) {
		return true, err
	}
	ended, err := p.waitExit(ctx, killWait)
	if !ended && err == nil {
		err = fmt.Errorf("waiting for pid %d: still there %v after SIGKILL", p.PID, killWait)
	}
	return true, err
}

func (p *Process) waitExit(ctx context.Context, d time.Duration) (ended bool, err error) {
	short, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err = p.WaitExit(short)
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return false, nil
	}
	return err == nil, err
}
