package haproxy

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"hapressure/haproxy/shctx"
	"hapressure/tests/haproxytest"
)

// Nothing but a proof makes a Stopping: not what a caller writes into a Worker, and not a
// Worker whose program is not known.
func TestOnlyAProofChangesAWorker(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: 1000})
	s := NewScanner("/proc")
	h.Tunnel()
	old := reload(t, s, h)
	p, err := s.Recheck(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	made := Worker{ID: old.ID, Master: old.Master, Generation: old.Generation, State: StateStopping}
	without := old
	without.exe = ""
	unknown := old
	unknown.State = StateUnknown
	loading := old // as a Scan finds a worker that accepts nothing and that is not proven
	loading.proven = StateUnknown
	for name, w := range map[string]Worker{"made up": made, "without a program": without,
		"unknown": unknown, "said to be stopping": loading} {
		if p, err := s.Recheck(t.Context(), w); !errors.Is(err, ErrNotStopping) {
			t.Errorf("%s: %+v, %v, want ErrNotStopping", name, p, err)
		}
	}
}

// The last worker that serves is never drained or ended: its master would end with it.
func TestReplacedNeedsASuccessor(t *testing.T) {
	workers := []Worker{{State: StateStopping}, {State: StateStopping}, {State: StateCurrent},
		{State: StateUnknown}}
	markSuccessors(workers)
	for i, want := range []bool{true, true, false, false} {
		_, err := (&Stopping{w: workers[i]}).Replaced()
		if got := err == nil; got != want || !want && !errors.Is(err, ErrNoSuccessor) {
			t.Errorf("worker %d: %v, want a successor: %v", i, err, want)
		}
	}
}

func TestPermanent(t *testing.T) {
	vary := shctx.Refuse(shctx.VaryCache, "")
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{vary, true},
		{fmt.Errorf("purging: %w", vary), true},
		{errors.Join(vary, vary), true},
		{errNoHandler, true},
		{fmt.Errorf("%w: it is a terminal", errStderrMayBlock), true},
		{errors.Join(vary, ErrBusy), false},
		{errors.Join(vary, ErrCannotStop), false},
		{errors.Join(ErrManyOwners, vary), false},
		{fmt.Errorf("%w: pid 7 maps it too", ErrManyOwners), false},
		{ErrNotStopping, false},
		{ErrNoSuccessor, false},
		{ErrGone, false},
		{context.Canceled, false},
	} {
		if got := Permanent(tt.err); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
	}
}
