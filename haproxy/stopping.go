package haproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
	"hapressure/haproxy/shctx"
)

// Stopping is a worker that is proven to be stopping, pinned by a pidfd. Only
// Scanner.Recheck makes one, and only a Stopping has methods that change a worker. So
// these invariants hold for each:
//
//   - It was proven to be stopping by a Scan (prove.go). A stop is never taken back.
//   - At Recheck it was the same process (pid and start time) and ran the same program,
//     and no socket of it accepted connections.
//   - What is done reaches that process or none: its pidfd never refers to another
//     process, and a signal is sent only if it still runs that program.
//   - Memory is written only if all of it is recognised (shctx), and only while no thread
//     runs.
//   - Connections are cut and the worker is ended only through Replaced, which needs a
//     successor.
//
// The zero value is of no use. Close it soon.
type Stopping struct {
	w Worker
	p *proc.Process
}

// ErrNotStopping means that a worker was not changed because it is not proven to be
// stopping.
var ErrNotStopping = errors.New("worker is not proven to be stopping")

// recheck makes a Stopping of a worker that a Scan has found, if the worker still is what
// it was.
func recheck(ctx context.Context, procfs string, w Worker) (*Stopping, error) {
	p, err := proc.Open(procfs, w.ID)
	if err != nil {
		return nil, err
	}
	if w.proven != StateStopping || w.State != StateStopping {
		err = fmt.Errorf("%w: %s", ErrNotStopping, w.Why)
	} else {
		err = errors.Join(acceptsNothing(ctx, p), notStopping(p.CheckProgram(w.exe)))
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return &Stopping{w, p}, nil
}

// acceptsNothing returns ErrNotStopping if the process accepts connections.
func acceptsNothing(ctx context.Context, p *proc.Process) error {
	l, err := p.Accepting(ctx)
	if err == nil && l.Socket != "" {
		err = fmt.Errorf("%w: it accepts connections on %s", ErrNotStopping, l.Socket)
	}
	return err
}

// notStopping returns ErrNotStopping for a process that runs another program than its
// worker did.
func notStopping(err error) error {
	if errors.Is(err, proc.ErrOtherProgram) {
		return fmt.Errorf("%w: %w", ErrNotStopping, err)
	}
	return err
}

// Close releases the worker, which continues.
func (s *Stopping) Close() error { return s.p.Close() }

// signal sends a signal if the worker still runs the program that it was proven with.
func (s *Stopping) signal(sig unix.Signal) error { return notStopping(s.p.Signal(sig, s.w.exe)) }

// Replaced is a stopping worker whose connections may be cut, because a younger worker of
// its instance was current in the Scan that found it. When the last worker ends, so does
// the master.
type Replaced struct{ *Stopping }

// ErrNoSuccessor means that a worker was not drained or ended because none replaces it.
var ErrNoSuccessor = errors.New("no younger worker serves in its place")

// Replaced returns the worker as one that may be drained and ended. ErrNoSuccessor: no
// younger worker of its instance is current.
func (s *Stopping) Replaced() (Replaced, error) {
	if !s.w.successor {
		return Replaced{}, ErrNoSuccessor
	}
	return Replaced{s}, nil
}

// A Refusal is a fact about a worker's memory that does not change: the memory is never
// written.
type Refusal = shctx.Refusal

// Errors of actions that may succeed later.
var (
	// ErrBusy means that a thread was inside the cache at each attempt.
	ErrBusy = shctx.ErrBusy
	// ErrManyOwners means that another process maps the cache.
	ErrManyOwners = errors.New("shared with another process")
	// ErrCannotStop means that the threads cannot be frozen: another process traces them,
	// ptrace is forbidden, or one is stuck in the kernel.
	ErrCannotStop = proc.ErrCannotStop
)

// Permanent reports whether an action that failed with err fails in the same way for as
// long as the worker lives. Of several joined errors each must be permanent.
func Permanent(err error) bool {
	switch err {
	case errNoMaster, errNoHandler, errStderrMayBlock:
		return true
	}
	switch e := err.(type) {
	case *Refusal:
		return true
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(e.Unwrap(), func(err error) bool { return !Permanent(err) })
	case interface{ Unwrap() error }:
		return Permanent(e.Unwrap())
	}
	return false
}

// Permanent errors of TrimPools.
var (
	errNoHandler      = errors.New("worker does not handle the signal")
	errStderrMayBlock = errors.New("worker's standard error may block")
)

// HasNoCache reports whether err is the refusal of a worker without a TLS session cache.
func HasNoCache(err error) bool { return shctx.IsRefusal(err, shctx.NoCache) }

// Given is what a worker gave back: what it held before and after, in bytes. The action
// decides what is counted.
type Given struct{ Before, After uint64 }

// Freed returns the memory given back, in bytes. A worker that grew meanwhile has given
// nothing.
func (g Given) Freed() uint64 { return g.Before - min(g.Before, g.After) }
