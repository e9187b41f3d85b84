package haproxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Trimmed is what trimming gave back and what it cost the worker.
type Trimmed struct {
	Given
	// Stall is how long the worker's first thread, which trims, was away from its event
	// loop: from SIGQUIT until it was seen to wait for events again. Threads that have
	// work meanwhile wait for it. It is never too short, but too long by what else the
	// thread had to do and by the time between two readings. 0: it was not seen to wait
	// within StallLimit.
	Stall time.Duration
}

const (
	// StallLimit bounds the measurement of a stall. A thread that is busy for so long may
	// trim or serve: its system calls do not show which.
	StallLimit = time.Second

	stallStep = time.Millisecond      // between two readings
	trimLimit = time.Second           // by then the pools are empty
	trimStep  = 20 * time.Millisecond // between two readings
	tableMost = 64 << 10              // bytes, see stderrTakesTable

	sigquit = 1 << (unix.SIGQUIT - 1) // in a proc.Status
)

// TrimPools makes the worker give back what its memory pools keep for later, by SIGQUIT
// (src/haproxy.c, dump; src/pool.c, pool_gc), and returns its private memory before and
// after. All of its threads wait meanwhile, as they do when it runs out of memory itself.
// Releases before 3.3 also write a table of their pools to standard error. Connections
// are not touched.
//
// SIGQUIT is not sent if it would end a process without a handler, or if the write of the
// table could wait for a reader: the worker's first thread would sleep, and its
// connections with it.
func (s *Stopping) TrimPools(ctx context.Context) (Trimmed, error) {
	st, err := s.p.Status()
	if err != nil {
		return Trimmed{}, err
	}
	if st.Caught&sigquit == 0 {
		return Trimmed{}, fmt.Errorf("%w: SIGQUIT would end pid %d", errNoHandler, s.p.PID)
	}
	if err := s.stderrTakesTable(); err != nil {
		return Trimmed{}, err
	}
	held := st.Private()
	res := Trimmed{Given: Given{Before: held, After: held}}
	sent := time.Now()
	if err := s.signal(unix.SIGQUIT); err != nil {
		return res, err
	}
	if res.Stall, err = s.stall(ctx, sent); err != nil {
		return res, err
	}
	res.After, err = s.settle(ctx, held)
	return res, err
}

// stall waits until the first thread has taken SIGQUIT and waits for events again, and
// returns how long that took since it was sent. Between the two the thread does not wait
// for events: a turn of the event loop begins with the signals (src/haproxy.c,
// run_poll_loop).
func (s *Stopping) stall(ctx context.Context, sent time.Time) (time.Duration, error) {
	for time.Since(sent) < StallLimit {
		if err := s.pause(ctx, stallStep); err != nil {
			return 0, err
		}
		st, err := s.p.Status()
		if err != nil {
			return 0, err
		}
		if st.Pending&sigquit != 0 {
			continue // it may still be in the wait from before
		}
		if waits, err := s.p.WaitsForEvents(s.p.PID); waits || err != nil {
			return time.Since(sent), err
		}
	}
	return 0, nil
}

// settle waits until the private memory of a worker that held so much has fallen and
// stays the same, and returns what is left.
func (s *Stopping) settle(ctx context.Context, held uint64) (left uint64, err error) {
	left = held
	for end := time.Now().Add(trimLimit); time.Now().Before(end); {
		if err := s.pause(ctx, trimStep); err != nil {
			return left, err
		}
		if !s.p.Alive() {
			return left, ErrGone
		}
		st, err := s.p.Status()
		if err != nil {
			return left, err
		}
		now := st.Private()
		if now < held && now == left {
			break
		}
		left = now
	}
	return left, nil
}

// stderrTakesTable returns nil if a write of tableMost bytes to the worker's standard
// error does not wait for a reader. A worker makes the table of its pools in one buffer
// (src/pool.c, dump_pools_to_trash; tune.bufsize is 16 KiB by default).
//
// The error is permanent if that does not change by itself. Another process may fill a
// pipe between this check and the write.
func (s *Stopping) stderrTakesTable() error {
	var st unix.Stat_t
	if err := unix.Stat(s.p.Path("fd/2"), &st); err != nil {
		return fmt.Errorf("checking standard error of pid %d: %w", s.p.PID, err)
	}
	kind := st.Mode & unix.S_IFMT
	switch {
	case kind == unix.S_IFREG: // the page cache takes it
		return nil
	case kind == unix.S_IFCHR && uint64(st.Rdev) == unix.Mkdev(1, 3): // /dev/null
		return nil
	case kind != unix.S_IFIFO && kind != unix.S_IFSOCK:
		return fmt.Errorf("%w: it is a terminal, a device or of an unknown kind", errStderrMayBlock)
	}
	fd, err := s.p.CopyDescriptor(2)
	if err != nil {
		return err
	}
	// The close of a socket with a long SO_LINGER takes as long.
	defer func() { go unix.Close(fd) }()
	size, queued, err := capacity(fd, kind)
	switch {
	case errors.Is(err, errStderrMayBlock):
		return err
	case err != nil:
		return fmt.Errorf("checking standard error of pid %d: %w", s.p.PID, err)
	case size < tableMost:
		return fmt.Errorf("%w: its pipe or socket holds %d bytes, want %d",
			errStderrMayBlock, size, tableMost)
	case queued > 0: // the free space is not known by the byte: each write may take a page
		return fmt.Errorf("standard error of pid %d has %d bytes that no process has read, "+
			"and the worker would wait: SIGQUIT was not sent", s.p.PID, queued)
	}
	return nil
}

// capacity returns how many bytes a pipe or a Unix socket can hold, and how many it
// holds.
func capacity(fd int, kind uint32) (size, queued int, err error) {
	if kind == unix.S_IFIFO {
		if size, err = unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0); err == nil {
			queued, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
		}
		return size, queued, err
	}
	if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil ||
		domain != unix.AF_UNIX {
		return 0, 0, fmt.Errorf("%w: its socket is of another kind than journald's",
			errStderrMayBlock)
	}
	if size, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
		queued, err = unix.IoctlGetInt(fd, unix.TIOCOUTQ)
	}
	return size, queued, err
}
