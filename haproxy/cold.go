package haproxy

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
)

// coldPiece is how much one call marks, in bytes: the kernel takes a fraction of a
// millisecond for it, for which the worker cannot map memory.
const coldPiece = 16 << 20

// Cold marks the worker's private memory as not used lately (MADV_COLD), so that the
// kernel, when it has to reclaim memory, begins there and not with a worker that serves.
// It frees nothing itself. What the worker touches later is in use again. Without swap it
// has no effect.
func (s *Stopping) Cold(ctx context.Context) error {
	return s.advise(ctx, unix.MADV_COLD, coldPiece, func() error { return nil })
}

// advise gives the kernel advice on the worker's private anonymous memory: heap and
// stacks, but neither shared memory, such as its caches, nor what can be executed. It
// does so piece by piece and calls next after each; an error of next ends it.
//
// Pages that another process shares since a fork(2) stay as they are (mm/madvise.c,
// madvise_cold_or_pageout_pte_range).
func (s *Stopping) advise(
	ctx context.Context, advice int, piece uint64, next func() error,
) error {
	maps, err := s.p.Maps(proc.Mapping.PrivateAnonymous)
	if err != nil {
		return err
	}
	for _, m := range maps {
		for at := m.Start; at < m.End; at += piece {
			err := errors.Join(ctx.Err(), notStopping(s.p.CheckProgram(s.w.exe)))
			if err != nil {
				return err
			}
			err = s.p.Advise(at, min(piece, m.End-at), advice)
			if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EINVAL) {
				break // the mapping is gone, or of a kind that this advice is not for
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("advising on the memory of pid %d: %w", s.p.PID, err)
			}
			if err := next(); err != nil {
				return err
			}
		}
	}
	return nil
}
