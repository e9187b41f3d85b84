package haproxy

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Given is what a worker gave back: what it held before and after, in bytes. What is counted depends on the action.
type Given struct{ Before, After uint64 }

// Freed is the memory given back, in bytes. A worker that grew meanwhile has given nothing.
func (g Given) Freed() uint64 { return g.Before - min(g.Before, g.After) }

// Trimmed is what trimming gave back and what it cost the worker.
type Trimmed struct {
	Given
	// Stall is how long the worker's first thread, which trims, was away from its event loop: from SIGQUIT until it was seen to wait for
	// events again. Threads that have work meanwhile wait for it. It is never too short, but too long by what else the thread had to
	// do and by the time between two readings. 0: it was not seen to wait within StallLimit.
	Stall time.Duration
}

const (
	StallLimit = time.Second           // a thread that is busy for so long may trim, or serve: its system calls do not tell
	stallLook  = time.Millisecond      // no event tells when the thread waits again
	trimLimit  = time.Second           // by then the pools are empty, or there was nothing in them
	trimLook   = 20 * time.Millisecond // no event tells when the memory is given back
)

// TrimPools makes a worker return what its memory pools keep for later, by SIGQUIT (src/haproxy.c, dump; src/pool.c, pool_gc), and
// returns its private memory before and after. All of its threads wait meanwhile, as they do when it runs out of memory
// itself. Releases before 3.3 also write a table of their pools to standard error. Connections are not touched.
//
// SIGQUIT ends a process that has no handler for it: then the error is a *Refusal and it is not sent. Nor is it sent if the write of the
// table could wait for a reader: the worker's first thread would sleep, and its connections with it.
func (p *Process) TrimPools(ctx context.Context) (Trimmed, error) {
	st, err := readStatus(p.procfs, p.PID)
	if err != nil {
		return Trimmed{}, err
	}
	if st.caught&sigquit == 0 {
		return Trimmed{}, fmt.Errorf("%w: SIGQUIT would end pid %d", errNoHandler, p.PID)
	}
	if err := p.stderrTakesTable(); err != nil {
		return Trimmed{}, err
	}
	held := st.private()
	res := Trimmed{Given: Given{Before: held, After: held}}
	sent := time.Now()
	if err := p.Signal(unix.SIGQUIT); err != nil {
		return res, err
	}
	if res.Stall, err = p.stall(ctx, sent); err != nil {
		return res, err
	}
	res.After, err = p.settle(ctx, held)
	return res, err
}

const sigquit = 1 << (unix.SIGQUIT - 1) // in a status

// stall waits until the first thread has taken SIGQUIT and waits for events again, and returns how long that took since it was sent.
// Between the two it does not wait for events: a turn of the event loop begins with the signals (src/haproxy.c, run_poll_loop).
func (p *Process) stall(ctx context.Context, sent time.Time) (time.Duration, error) {
	for time.Since(sent) < StallLimit {
		if err := pause(ctx, p, stallLook); err != nil {
			return 0, err
		}
		st, err := readStatus(p.procfs, p.PID)
		if err != nil {
			return 0, err
		}
		if st.pending&sigquit != 0 {
			continue // it may still be in the wait from before
		}
		if waits, err := p.threadWaitsForEvents(p.PID); waits || err != nil {
			return time.Since(sent), err
		}
	}
	return 0, nil
}

// settle waits until the private memory of a worker that held so much has fallen and stands still, and returns what is left.
func (p *Process) settle(ctx context.Context, held uint64) (left uint64, err error) {
	left = held
	for end := time.Now().Add(trimLimit); time.Now().Before(end); {
		if err := pause(ctx, p, trimLook); err != nil {
			return left, err
		}
		if !p.Alive() {
			return left, ErrGone
		}
		st, err := readStatus(p.procfs, p.PID)
		if err != nil {
			return left, err
		}
		now := st.private()
		if now < held && now == left {
			break
		}
		left = now
	}
	return left, nil
}

// private is the memory that only this process holds, in RAM or in swap, in bytes.
func (s status) private() uint64 { return s.rssAnon + s.swap }
