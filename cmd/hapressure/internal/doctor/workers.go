package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller"
	"hapressure/haproxy"
)

func (e *exam) checkWorkers(ctx context.Context, in haproxy.Instance) {
	for i, w := range in.Workers {
		e.checkState(w, in.Workers[i+1:])
		e.checkTraffic(ctx, w)
		e.checkCache(w)
	}
}

// checkState finds a worker that should be stopping, and is not proven to be.
func (e *exam) checkState(w haproxy.Worker, younger []haproxy.Worker) {
	switch {
	case w.State == haproxy.StateUnknown:
		e.say(warning, "", "%s: %s", nameOf(w), w.Why)
	case w.State == haproxy.StateCurrent && w.ReplacedBy != 0:
		e.say(warning, fmt.Sprintf("kill -USR1 %d has it stop and serve its connections to "+
			"their end",
			w.PID), "process %d is stranded: %s", w.PID, w.Why)
	case w.State == haproxy.StateCurrent && slices.ContainsFunc(younger, serves):
		e.say(warning, "none within its grace time; after it, close that socket in the program "+
			"that starts HAProxy",
			"worker %d is not proven to be stopping, although a younger worker is current: %s",
			w.PID, w.Why)
	}
}

func serves(w haproxy.Worker) bool { return w.State == haproxy.StateCurrent }

func nameOf(w haproxy.Worker) string { return fmt.Sprintf("worker %d (%s)", w.PID, w.State) }

// checkTraffic finds a stopping worker that has been without traffic for long, or may
// have been: it has none now.
func (e *exam) checkTraffic(ctx context.Context, w haproxy.Worker) {
	if w.StoppingFor < controller.StuckAfter {
		return
	}
	if why, err := w.Idle(ctx); err == nil && why != "" {
		e.say(warning, "upgrade HAProxy, close clients of its stats socket, and set timeout "+
			"client-fin and hard-stop-after",
			"%s has been stopping for %s and does not end, although %s: a bug in HAProxy may "+
				"keep it",
			nameOf(w), render.Span(w.StoppingFor.Seconds()), why)
	}
}

// checkCache also checks the cache of a current worker: whether it can be purged once a
// reload has replaced the worker.
func (e *exam) checkCache(w haproxy.Worker) {
	switch cache, err := w.CheckSSLCache(e.pids); {
	case errors.Is(err, haproxy.ErrGone):
	case err == nil:
		e.say(fine, "", "%s: its TLS session cache of %s is recognised (%s)", nameOf(w),
			render.Size(cache.Before), cache.Layout)
	case haproxy.HasNoCache(err) && e.hasOneThread(w):
		e.say(warning, "set nbthread to 2 or more, or use HAProxy 2.9 or later",
			"%s has no TLS session cache in shared memory. Up to HAProxy 2.8 with one thread the "+
				"cache is a part of its private memory, %s in all, and cannot be purged; "+
				"page-out, "+
				"hard-stop-after and terminate-oldest can "+
				"free it", nameOf(w), render.Size(w.Private))
	case haproxy.HasNoCache(err):
		e.say(fine, "", "%s has no TLS session cache", nameOf(w))
	case errors.Is(err, haproxy.ErrBusy):
		e.say(fine, "", "%s: its cache is in use and was not checked", nameOf(w))
	default:
		e.say(warning, "see docs/compatibility.md; the other actions of the policy are still "+
			"possible",
			"%s: its cache cannot be purged: %v", nameOf(w), err)
	}
}

// hasOneThread reports whether a worker may have its cache in private memory: up to
// HAProxy 2.8 those with one thread do.
func (e *exam) hasOneThread(w haproxy.Worker) bool {
	threads, err := os.ReadDir(filepath.Join(e.procfs, strconv.Itoa(w.PID), "task"))
	return err == nil && len(threads) == 1
}
