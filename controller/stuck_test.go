package controller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hapressure/haproxy"
	"hapressure/systemd"
	"hapressure/tests/haproxytest"
)

// A worker is reported once, after it had no traffic for as long as is needed. Traffic
// begins the time anew, an answer that is missing does not, and only old stopping workers
// are asked.
func TestStuckWorkerIsReportedOnce(t *testing.T) {
	journal := newRecorder()
	s := newStuck("haproxy.service", Events{journal})
	answers := map[int]string{1: "it idles", 2: "it idles", 3: ""}
	var missing error
	s.idle = func(_ context.Context, w haproxy.Worker) (string, error) {
		why, known := answers[w.PID]
		if !known {
			t.Errorf("worker %d was asked", w.PID)
		}
		return why, missing
	}
	worker := func(pid int, state haproxy.State, of time.Duration) haproxy.Worker {
		return haproxy.Worker{ID: haproxy.ID{PID: pid}, State: state, StoppingFor: of}
	}
	all := []haproxy.Worker{
		worker(1, haproxy.StateStopping, time.Hour), worker(2, haproxy.StateStopping, 2*time.Hour),
		worker(3, haproxy.StateStopping, 3*time.Hour), worker(4, haproxy.StateCurrent, 0),
		worker(5, haproxy.StateUnknown, 2*time.Hour), worker(6, haproxy.StateStopping, time.Hour-1),
	}
	at := func(now time.Duration, workers []haproxy.Worker, want string) {
		t.Helper()
		var got, reported []string
		found := s.examine(t.Context(), now, workers)
		for _, w := range all {
			if found[w.ID] {
				got = append(got, fmt.Sprint(w.PID))
			}
		}
		for _, e := range journal.all(func(systemd.Entry) bool { return true }) {
			reported = append(reported, e.PID)
		}
		if strings.Join(got, " ") != want ||
			strings.Join(reported, " ") != strings.Trim(want, " ") {
			t.Errorf("after %v: stuck are %q, reported %q, want %q", now, got, reported, want)
		}
	}
	at(0, all, "")
	answers[2] = ""
	at(20*time.Minute, all, "")
	answers[2] = "it idles"
	missing = errors.New("silent")
	at(30*time.Minute, all, "") // worker 1 is known, and worker 2 begins again later
	missing = nil
	at(40*time.Minute, all, "")
	at(time.Hour-1, all, "")
	at(time.Hour, all, "1")
	at(time.Hour+40*time.Minute, all, "1 2")
	at(3*time.Hour, all, "1 2")
	if found := s.examine(t.Context(), 4*time.Hour, all[1:]); len(found) != 1 {
		t.Errorf("after worker 1 has ended: %v", found)
	}
}

// The workers of the last tick are examined now and then, and not when they cannot be
// listed: then none would be left.
func TestStuckWorkersArePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStuck("haproxy.service", Events{newRecorder()})
		s.idle = func(context.Context, haproxy.Worker) (string, error) { return "it idles", nil }
		w := haproxy.Worker{ID: haproxy.ID{PID: 1}, State: haproxy.StateStopping,
			StoppingFor: time.Hour}
		var p published
		p.last.view.workers = []haproxy.Worker{w}
		s.found, s.since = map[haproxy.ID]bool{w.ID: true}, map[haproxy.ID]time.Duration{w.ID: 1}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.watch(ctx, &p); close(done) }()
		time.Sleep(stuckEvery)
		synctest.Wait()
		if got := p.get().stuck; !got[w.ID] {
			t.Errorf("stuck are %v", got)
		}
		p.mu.Lock()
		p.last.view.workers, p.last.view.WorkersAbsent = nil, "a reload"
		p.mu.Unlock()
		time.Sleep(stuckEvery)
		synctest.Wait()
		if got := p.get().stuck; !got[w.ID] {
			t.Errorf("while workers cannot be listed stuck are %v", got)
		}
		cancel()
		<-done
	})
}

// A real worker that a client of its stats socket keeps is stuck, and one with a tunnel
// is not.
func TestStuckWorkerOfARealHAProxy(t *testing.T) {
	defer func(after, every time.Duration) { stuckAfter, stuckEvery = after, every }(stuckAfter,
		stuckEvery)
	stuckAfter, stuckEvery = 10*time.Millisecond, 100*time.Millisecond
	stats := filepath.Join(t.TempDir(), "stats")
	w := newWorld(t, haproxytest.Config{Global: "stats socket " + stats}, nil)
	var idler net.Conn
	w.Eventually("the stats socket answers", func() (err error) {
		idler, err = net.Dial("unix", stats)
		return err
	})
	defer idler.Close()
	if _, err := idler.Write([]byte("prompt\n")); err != nil {
		t.Fatal(err)
	}
	old := w.Children()[0]
	w.Reload()
	busy := w.Children()[1]
	defer w.reload().Close()
	c := w.guard(purgeAlways, false)
	e := w.journal.wait(t, "the stuck worker", 1, kind(WorkerStuck))[0]
	if e.PID != fmt.Sprint(old) || !strings.Contains(e.Message, "it has no client connection") {
		t.Errorf("%+v, want worker %d and not %d", e, old, busy)
	}
	w.Eventually("the metric", func() error {
		if n := values(scrape(t, c))["hapressure_stuck_workers,target=haproxy.service"]; n != 1 {
			return fmt.Errorf("it is %v", n)
		}
		return nil
	})
}
