package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"hapressure/controller/status"
	"hapressure/policy"
)

// stoppable are the actions of a target that run, each with its kind and the function
// that stops it.
type stoppable struct {
	mu   sync.Mutex
	next int
	runs map[int]running
}

type running struct {
	kind string
	stop context.CancelCauseFunc
}

// stoppedBy is the cause of the end of an action's context if a mode ends it.
type stoppedBy struct{ status.Mode }

func (s stoppedBy) Error() string { return s.Why }

// add makes an action stoppable until done is called.
func (s *stoppable) add(ctx context.Context, kind string) (_ context.Context, done func()) {
	ctx, stop := context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs == nil {
		s.runs = map[int]running{}
	}
	n := s.next
	s.next++
	s.runs[n] = running{kind, stop}
	return ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.runs, n)
		stop(nil)
	}
}

// stop stops the actions that a mode does not permit. An action that begins after it
// finds that mode in force.
func (s *stoppable) stop(m status.Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		if !m.InForce.Permits(r.kind) {
			r.stop(stoppedBy{m})
		}
	}
}

// skipped is the result of an action that a mode does not permit.
func skipped(m status.Mode) result {
	return result{Result: policy.Skipped, what: "nothing done", why: m.Why}
}

// ifStopped returns the result of an action: if a mode has stopped it before its end, it
// counts as skipped, so that it is given again when the mode permits it.
func ifStopped(ctx context.Context, r result) result {
	var by stoppedBy
	if r.Result == policy.Done || !errors.As(context.Cause(ctx), &by) {
		return r
	}
	if r.what == string(r.Result) { // nothing is known of what it has done
		r.what = "stopped"
	}
	if r.sessions > 0 {
		r.what = fmt.Sprintf("stopped after %d sessions were shut down", r.sessions)
	}
	r.Result, r.why = policy.Skipped, by.Why
	return r
}
