package haproxy

import (
	"errors"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"hapressure/tests/haproxytest"
)

// HAProxy without a master: processes that reloads by -sf start one after another.

// TestReloadsWithoutMaster: three generations, the oldest with a tunnel, are one
// instance, of which the youngest is current. What may be done to a stopping worker works,
// except that there is no CLI.
func TestReloadsWithoutMaster(t *testing.T) {
	for _, release := range haproxytest.Releases() {
		t.Run(release, func(t *testing.T) {
			h := haproxytest.StartAlone(t, haproxytest.Config{Release: release, CacheSize: cacheSize})
			s := NewScanner("/proc")
			in := scan(t, s, h, "one current process", hasStates(StateCurrent))
			if in.Master != (ID{}) || in.Workers[0].Generation != 1 {
				t.Errorf("%+v, want no master and generation 1", in)
			}
			tunnel := h.Tunnel()
			h.LaunchInstead()
			scan(t, s, h, "the first is stopping", hasStates(StateStopping, StateCurrent))
			second := h.Tunnel()
			h.LaunchInstead()
			in = scan(t, s, h, "two are stopping", hasStates(StateStopping, StateStopping,
				StateCurrent))
			for i, w := range in.Workers {
				if w.Generation != i+1 {
					t.Errorf("worker %d has generation %d", i, w.Generation)
				}
			}
			p := wantStopping(t, s, in.Workers[0])
			done, err := purge(t.Context(), p, h.Pids())
			if err != nil || done.Before < cacheSize*248 || done.After != pageSize {
				t.Errorf("purge: %+v, %v", done, err)
			}
			if _, err := p.TrimPools(t.Context()); err != nil {
				t.Errorf("trim: %v", err)
			}
			r, err := p.Replaced()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Drain(t.Context(), Pace{}); !errors.Is(err, ErrNoCLI) || !Permanent(err) {
				t.Errorf("drain: %v, want that it has no CLI, for good", err)
			}
			for _, c := range []haproxytest.Tunnel{tunnel, second} {
				if err := haproxytest.Echo(c); err != nil {
					t.Errorf("a tunnel: %v", err)
				}
			}
			if _, err := r.Terminate(t.Context(), time.Minute); err != nil || p.p.Alive() {
				t.Errorf("terminate: %v", err)
			}
			scan(t, s, h, "the others are as before", hasStates(StateStopping, StateCurrent))
			if err := haproxytest.Echo(second); err != nil {
				t.Error(err)
			}
		})
	}
}

// wantStopping proves again that a worker is stopping.
func wantStopping(t *testing.T, s *Scanner, w Worker) *Stopping {
	t.Helper()
	p, err := s.Recheck(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestLineageOutlivesItsLinks: C names B, and B named A. When B has ended A is stopping all
// the same, also for a Scanner that has only read what an earlier one knew.
func TestLineageOutlivesItsLinks(t *testing.T) {
	h := haproxytest.StartAlone(t, haproxytest.Config{})
	s := NewScanner("/proc")
	h.Tunnel()
	a := h.Pids()[0]
	b, err := h.Launch("-sf", strconv.Itoa(a))
	if err != nil {
		t.Fatal(err)
	}
	scan(t, s, h, "A is stopping", hasStates(StateStopping, StateCurrent))
	if _, err := h.Launch("-sf", strconv.Itoa(b)); err != nil {
		t.Fatal(err)
	}
	scan(t, s, h, "B has ended", hasStates(StateStopping, StateCurrent))
	again := NewScanner("/proc")
	again.Recall(s.Known())
	scan(t, again, h, "A is stopping for a Scanner that remembers", hasStates(StateStopping,
		StateCurrent))
	found, err := NewScanner("/proc").Scan(t.Context(), h.Pids())
	if err != nil || len(found) != 2 {
		t.Errorf("%+v, %v, want two instances for a Scanner that does not", found, err)
	}
}

// TestPausedProcessIsNotStopping: a process is paused by one that cannot bind its sockets
// and gives up, and serves again.
func TestPausedProcessIsNotStopping(t *testing.T) {
	h := haproxytest.StartAlone(t, haproxytest.Config{})
	s := NewScanner("/proc")
	scan(t, s, h, "it serves", hasStates(StateCurrent))
	pid := h.Pids()[0]
	syscall.Kill(pid, syscall.SIGTTOU)
	in := scan(t, s, h, "it is paused", hasStates(StateUnknown))
	if _, err := s.Recheck(t.Context(), in.Workers[0]); !errors.Is(err, ErrNotStopping) {
		t.Errorf("%v, want %v", err, ErrNotStopping)
	}
	syscall.Kill(pid, syscall.SIGTTIN)
	scan(t, s, h, "it serves again", hasStates(StateCurrent))
}

// TestFailedReloadWithoutMaster: while a new process tries in vain to bind a port, the old
// one is paused. It is never taken for a stopping one, and serves again.
func TestFailedReloadWithoutMaster(t *testing.T) {
	h := haproxytest.StartAlone(t, haproxytest.Config{})
	taken := haproxytest.TakenAddr(t)
	s := NewScanner("/proc")
	scan(t, s, h, "it serves", hasStates(StateCurrent))
	old := h.Pids()[0]
	h.WriteConfig("listen taken\n    bind " + taken + "\n")
	ended := make(chan error)
	go func() {
		_, err := h.Launch("-sf", strconv.Itoa(old))
		ended <- err
	}()
	paused := false
	for end := false; !end; {
		select {
		case err := <-ended:
			if end = true; err == nil {
				t.Error("a process was started although a port of it is taken")
			}
		default:
		}
		found, err := s.Scan(t.Context(), h.Pids())
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range found {
			for _, w := range in.Workers {
				if w.State == StateStopping {
					t.Errorf("%+v", w)
				}
				paused = paused || w.PID == old && w.State == StateUnknown
			}
		}
	}
	if !paused {
		t.Error("it was never paused")
	}
	scan(t, s, h, "it serves again", hasStates(StateCurrent))
}

// TestStrandedProcessIsCurrent: a process that a younger one names, but that still
// accepts, serves.
func TestStrandedProcessIsCurrent(t *testing.T) {
	h := haproxytest.StartAlone(t, haproxytest.Config{})
	s := NewScanner("/proc")
	old := h.Pids()[0]
	syscall.Kill(old, syscall.SIGSTOP)
	t.Cleanup(func() { syscall.Kill(old, syscall.SIGCONT) })
	young := h.LaunchInstead()
	in := scan(t, s, h, "both accept, one is replaced", func(in Instance) bool {
		return len(in.Workers) == 2 && in.Workers[0].ReplacedBy == young &&
			in.Workers[1].State == StateCurrent
	})
	if in.Workers[0].State == StateStopping {
		t.Errorf("%+v", in.Workers[0])
	}
	if _, err := s.Recheck(t.Context(), in.Workers[0]); !errors.Is(err, ErrNotStopping) {
		t.Errorf("%v, want %v", err, ErrNotStopping)
	}
}

// TestTwoHAProxiesInOneCgroup are two instances, whichever is reloaded.
func TestTwoHAProxiesInOneCgroup(t *testing.T) {
	a := haproxytest.StartAlone(t, haproxytest.Config{})
	b := haproxytest.StartAlone(t, haproxytest.Config{})
	a.Tunnel()
	a.LaunchInstead()
	s := NewScanner("/proc")
	a.Eventually("there are two instances", func() error {
		found, err := s.Scan(t.Context(), slices.Concat(a.Pids(), b.Pids()))
		if err == nil && !(len(found) == 2 && hasStates(StateStopping, StateCurrent)(found[0]) &&
			hasStates(StateCurrent)(found[1])) {
			err = errors.New("not yet")
		}
		return err
	})
}
