package haproxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// killWait bounds the wait for the end of a killed process. One in uninterruptible sleep
// takes longer.
const killWait = 10 * time.Second

// Terminate ends the worker: by SIGTERM, on which a worker exits at once, and by SIGKILL
// if it has not ended after grace. It returns when the worker has ended, and whether
// SIGKILL was needed.
func (r Replaced) Terminate(ctx context.Context, grace time.Duration) (killed bool, err error) {
	if err := r.signal(unix.SIGTERM); errors.Is(err, ErrGone) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if ended, err := r.p.WaitExit(ctx, grace); ended || err != nil {
		return false, err
	}
	if err := r.signal(unix.SIGKILL); err != nil && !errors.Is(err, ErrGone) {
		return true, err
	}
	_ = r.p.ReapMemory() // the next generation is measured against what this one frees
	ended, err := r.p.WaitExit(ctx, killWait)
	if !ended && err == nil {
		err = fmt.Errorf("waiting for pid %d: still there %v after SIGKILL", r.p.PID, killWait)
	}
	return true, err
}
