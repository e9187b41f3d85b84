package haproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// How a worker's state is proven.
//
// What can be seen is seen first, and asks HAProxy for nothing: the sockets on which each worker accepts connections
// (accepting.go), and that it runs its event loop (eventloop.go). A worker with both is current. One that accepts nothing may be
// stopping, but it may as well be loading its configuration, or be paused. It is asked whether it is stopping only if a younger
// worker of its master accepts connections: the youngest worker, which may be loading, is never asked, nor is one that accepts,
// and a silent one is not asked again soon (cli.go). It is stopping if it says so and counts no listener that still accepts.
//
// What a master lists is no part of the proof, and the master's CLI is not used. After a failed reload several releases list
// the worker that serves under "old workers" (src/mworker.c, cli_io_handler_show_proc).

// prove decides the state of every worker in found. Nothing makes a stopping worker serve again (src/proxy.c, the variable
// stopping is only ever set), so that proof is kept.
func (s *Scanner) prove(ctx context.Context, found []Instance) {
	ctx, cancel := context.WithTimeoutCause(ctx, proofTime, errNoProofTime)
	defer cancel()
	seen := map[ID]sockets{}
	for _, w := range s.unproven(found) {
		seen[w.ID] = s.proveCurrent(ctx, w)
	}
	for i := range found {
		s.proveStopping(ctx, &found[i], seen)
	}
	now := bootTicks()
	for _, in := range found {
		s.sinceWhen(now, in.Workers)
	}
}

// unproven takes up what is proven of workers, and returns the others, those first whose turn was longest ago.
func (s *Scanner) unproven(found []Instance) []*Worker {
	var rest []*Worker
	for _, in := range found {
		for i := range in.Workers {
			w := &in.Workers[i]
			switch m := s.workers[w.ID]; {
			case m.stopping != "":
				w.State, w.Why = Stopping, m.stopping
			case w.cli != nil: // else Why says why there is nothing to examine
				rest = append(rest, w)
			}
		}
	}
	slices.SortStableFunc(rest, func(a, b *Worker) int {
		return cmp.Compare(s.workers[a.ID].turn, s.workers[b.ID].turn)
	})
	return rest
}

// sockets is what is known of a worker's sockets. The zero value is that nothing is.
type sockets int

const (
	notExamined sockets = iota
	acceptNothing
	accept
)

// proveCurrent decides whether a worker is current, and returns what it found of its sockets.
func (s *Scanner) proveCurrent(ctx context.Context, w *Worker) sockets {
	m := s.workers[w.ID]
	if ctx.Err() != nil {
		w.Why = context.Cause(ctx).Error()
		return notExamined
	}
	m.turn = s.scans
	p, err := OpenProcess(s.procfs, w.ID)
	if err != nil {
		w.Why = err.Error()
		return notExamined
	}
	defer p.Close()
	l, err := p.accepting(ctx, m.listener)
	m.listener = l
	if err == nil && l.socket != "" && !m.started {
		m.started, err = p.inEventLoop()
	}
	switch {
	case err != nil:
		w.Why = err.Error()
		return notExamined
	case l.socket == "":
		w.Why = "it accepts no connection"
		return acceptNothing
	case !m.started:
		w.Why = "it may be loading: it has a listener on " + l.socket + ", but was not yet seen waiting for events"
		return accept
	}
	w.State, w.Why = Current, "it accepts connections on "+l.socket
	return accept
}

// proveStopping asks those workers of an instance that may be stopping, the oldest first.
func (s *Scanner) proveStopping(ctx context.Context, in *Instance, seen map[ID]sockets) {
	accepts := func(o Worker) bool { return seen[o.ID] == accept }
	for i := range in.Workers {
		w := &in.Workers[i]
		switch {
		case seen[w.ID] != acceptNothing:
		case !slices.ContainsFunc(in.Workers[i+1:], accepts):
			w.Why = "it accepts no connection, and no younger worker does: it may be loading"
		case ctx.Err() != nil:
			w.Why = context.Cause(ctx).Error()
		default:
			info, err := w.cli.showInfo(ctx)
			if w.State, w.Why = judge(info, err); err != nil {
				in.CLIErr = err
			}
			if w.State == Stopping {
				s.workers[w.ID].stopping = w.Why
			}
		}
	}
}

// judge decides the state of a worker that accepts no connection and has a younger sibling that does, by what it says.
func judge(info Info, err error) (State, string) {
	switch {
	case err != nil:
		return Unknown, fmt.Sprintf("it accepts no connection, and cannot be asked whether it is stopping: %v", err)
	case !info.Stopping:
		return Unknown, "it accepts no connection, but says Stopping: 0: it may be paused"
	case info.Listeners > info.Unstoppable:
		// In its `grace` time, with a listener that no socket of its own shows, such as sockpair@.
		return Unknown, fmt.Sprintf("it says Stopping: 1, but counts %d listeners", info.Listeners-info.Unstoppable)
	}
	return Stopping, "it accepts no connection, says Stopping: 1, and a younger worker accepts"
}

// sinceWhen finds out for how long the stopping workers among those of an instance have been stopping.
func (s *Scanner) sinceWhen(now uint64, workers []Worker) {
	for i := range workers {
		w, m := &workers[i], s.workers[workers[i].ID]
		if w.State != Stopping {
			continue
		}
		since := now
		if i+1 < len(workers) {
			since = workers[i+1].Start
		}
		if m.since == 0 {
			m.since = since
		}
		m.since = min(m.since, since) // the younger one may be gone by now
		w.StoppingFor = ticks(now, m.since)
	}
}

// Recheck checks again, right before an action, what a Scan has found: that w is proven to be stopping, that it is still the same
// process and program, and that it accepts no connection. It is not asked again: HAProxy never takes a stop back, and a question
// has its cost. The process is returned pinned.
func (s *Scanner) Recheck(ctx context.Context, w Worker) (*Process, error) {
	p, err := OpenProcess(s.procfs, w.ID)
	if err != nil {
		return nil, err
	}
	if err := p.recheck(ctx, w); err != nil {
		p.Close()
		return nil, err
	}
	p.shared = w.shared
	return p, nil
}

func (p *Process) recheck(ctx context.Context, w Worker) error {
	if w.State != Stopping {
		return fmt.Errorf("%w: %s", ErrNotStopping, w.Why)
	}
	p.exe = w.exe
	l, err := p.accepting(ctx, listener{})
	if err == nil && l.socket != "" {
		err = fmt.Errorf("%w: it accepts connections on %s", ErrNotStopping, l.socket)
	}
	return errors.Join(err, p.sameProgram())
}
