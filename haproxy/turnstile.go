package haproxy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A turnstile lets one read of a process through at a time, and bounds how long its callers wait for it.
//
// The kernel can hold up a reader of /proc/PID/maps, map_files, cmdline or environ for as long as the process is stuck in its
// own memory, on a dead network file system, say: the read waits for the process's memory map, and only SIGKILL ends the
// wait. Such a read is left behind on a goroutine of its own, and until it has returned there is no second one.
type turnstile chan struct{}

func newTurnstile() turnstile { return make(turnstile, 1) }

const (
	readTime = time.Second            // bound of one read
	turnTime = 100 * time.Millisecond // bound of the wait for an earlier one
)

// errHeldUp is the reason nothing is known of a process whose memory cannot be read.
var errHeldUp = errors.New("the process does not let its memory be read: it may be stuck on a file system that does not answer")

// through runs read, and returns what it returns. errHeldUp: it has not returned in time, or an earlier one has not.
func through[T any](ctx context.Context, t turnstile, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	select {
	case t <- struct{}{}:
	case <-time.After(turnTime):
		return none, errHeldUp
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readTime, errHeldUp)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		value, err := read()
		<-t
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, fmt.Errorf("reading a process: %w", context.Cause(ctx))
	}
}
