package proc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A Turnstile admits one read of a process at a time, and bounds how long its callers
// wait.
//
// The kernel can delay a reader of /proc/PID/maps, map_files, cmdline or environ for as
// long as the process waits inside its own memory, for example on a network file system
// without a server. Such a read waits for the process's memory map, and only SIGKILL ends
// the wait. Through leaves that read behind on a goroutine of its own and admits no other
// one until it has returned.
type Turnstile chan struct{}

// NewTurnstile makes a Turnstile, usually one for each process.
func NewTurnstile() Turnstile { return make(Turnstile, 1) }

const (
	readTime = time.Second            // bound of one read
	turnTime = 100 * time.Millisecond // bound of the wait for an earlier read
)

// errHeldUp means that the process's memory cannot be read now.
var errHeldUp = errors.New("the process does not let its memory be read: " +
	"it may wait for a file system that does not answer")

// Through runs read and returns its result. errHeldUp: it has not returned in time, or an
// earlier read has not.
func Through[T any](ctx context.Context, t Turnstile, read func() (T, error)) (T, error) {
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

// Bounded runs fn and interrupts the system calls that it makes once ctx has ended.
//
// It bounds a close(2) of a socket that another process made, also one that the kernel
// does for a descriptor which came with a message. Such a close lasts as long as the
// maker of the socket has set (SO_LINGER), or until a signal comes. SIGURG is the signal
// by which Go's runtime interrupts threads.
func Bounded(ctx context.Context, fn func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid, done := unix.Gettid(), make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		for {
			unix.Tgkill(unix.Getpid(), tid, unix.SIGURG)
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	fn()
}
