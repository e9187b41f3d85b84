package haproxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
)

const (
	// advicePiece is how much one call advises on, in bytes. While the kernel compresses
	// or writes it, some milliseconds, the worker can map no memory.
	advicePiece = 512 << 10

	// adviceRest is how many times longer than calls take the next one waits: advice
	// takes a fifth of one CPU at most, as others need theirs. A rest below restLeast is
	// put off.
	adviceRest = 4
	restLeast  = time.Millisecond
)

// Cold marks the worker's private memory as not used lately (MADV_COLD), so that the
// kernel, when it has to reclaim memory, begins there and not with a worker that serves.
// It frees nothing itself. What the worker touches later is in use again. Without swap it
// has no effect.
func (s *Stopping) Cold(ctx context.Context) error {
	return s.advise(ctx, unix.MADV_COLD, func() error { return nil })
}

// advise gives the kernel advice on the worker's private anonymous memory: heap and
// stacks, but neither shared memory, such as its caches, nor what can be executed. It
// does so piece by piece, with pauses, and calls next after each; an error of next ends
// it.
//
// Pages that another process shares since a fork(2) stay as they are (mm/madvise.c,
// madvise_cold_or_pageout_pte_range).
func (s *Stopping) advise(ctx context.Context, advice int, next func() error) error {
	maps, err := s.p.Maps(proc.Mapping.PrivateAnonymous)
	if err != nil {
		return err
	}
	rest := time.Duration(0)
	for _, m := range maps {
		for at := m.Start; at < m.End; at += advicePiece {
			err := errors.Join(ctx.Err(), notStopping(s.p.CheckProgram(s.w.exe)))
			if err != nil {
				return err
			}
			began := time.Now()
			err = s.p.Advise(at, min(advicePiece, m.End-at), advice)
			if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EINVAL) {
				break // the mapping is gone, or of a kind that this advice is not for
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("advising on the memory of pid %d: %w", s.p.PID, err)
			}
			if rest += adviceRest * time.Since(began); rest >= restLeast {
				if err := s.pause(ctx, rest); err != nil {
					return err
				}
				rest = 0
			}
			if err := next(); err != nil {
				return err
			}
		}
	}
	return nil
}
