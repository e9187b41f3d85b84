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
	"hapressure/haproxy"
)

func checkHAProxy(_ context.Context, e *exam) {
	for _, in := range e.found {
		name := fmt.Sprintf("master %d", in.Master.PID)
		if in.CLIErr != nil {
			e.say(warning, "", "%s: the CLI of a worker does not answer: %v", name, in.CLIErr)
		}
		switch limit, set, err := haproxy.HardStopAfter(e.procfs, in); {
		case err != nil:
			e.say(warning, "", "%s: %v", name, err)
		case set:
			e.say(fine, "", "%s has hard-stop-after %s", name, render.Span(limit.Seconds()))
		default:
			e.say(fine, "", "%s has no hard-stop-after: only the policy bounds how long stopping workers run", name)
		}
		for i, w := range in.Workers {
			if w.State == haproxy.StateCurrent && slices.ContainsFunc(in.Workers[i+1:], serves) {
				e.say(warning, "none within its grace time; after it, close that socket in the program that starts HAProxy",
					"worker %d is not proven to be stopping, although a younger worker is current: %s", w.PID, w.Why)
			}
			e.checkWorker(w)
		}
	}
}

func serves(w haproxy.Worker) bool { return w.State == haproxy.StateCurrent }

// checkWorker also checks the cache of a current worker: whether it can be purged once a
// reload has replaced the worker.
func (e *exam) checkWorker(w haproxy.Worker) {
	cache, err := w.CheckSSLCache(e.pids)
	if errors.Is(err, haproxy.ErrGone) {
		return
	}
	name := fmt.Sprintf("worker %d (%s)", w.PID, w.State)
	if w.State == haproxy.StateUnknown {
		e.say(warning, "", "%s: %s", name, w.Why)
	}
	switch {
	case err == nil:
		e.say(fine, "", "%s: its TLS session cache of %s is recognised (%s)", name,
			render.Size(cache.Before), cache.Layout)
	case haproxy.HasNoCache(err) && e.hasOneThread(w):
		e.say(warning, "set nbthread to 2 or more, or use HAProxy 2.9 or later",
			"%s: no TLS session cache was found. "+
				"Up to HAProxy 2.8 with one thread it is in private memory, and cannot be purged", name)
	case haproxy.HasNoCache(err):
		e.say(fine, "", "%s has no TLS session cache", name)
	case errors.Is(err, haproxy.ErrBusy):
		e.say(fine, "", "%s: its cache is in use and was not checked", name)
	default:
		e.say(warning, "see docs/compatibility.md; the other actions of the policy are still possible", "%s: its cache cannot be purged: %v", name, err)
	}
}

// hasOneThread reports whether a worker may have its cache in private memory: up to
// HAProxy 2.8 those with one thread do.
func (e *exam) hasOneThread(w haproxy.Worker) bool {
	threads, err := os.ReadDir(filepath.Join(e.procfs, strconv.Itoa(w.PID), "task"))
	return err == nil && len(threads) == 1
}
