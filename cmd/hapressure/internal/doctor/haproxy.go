package doctor

import (
	"context"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/haproxy"
)

func checkHAProxy(ctx context.Context, e *exam) {
	for _, in := range e.found {
		name := in.String()
		if in.CLIErr != nil {
			e.say(warning, "", "%s: the CLI of a worker does not answer: %v", name, in.CLIErr)
		}
		e.checkHardStopAfter(name, in)
		if in.Master != (haproxy.ID{}) {
			e.checkMaxReloads(name, in)
		}
		e.checkWorkers(ctx, in)
	}
}

func (e *exam) checkHardStopAfter(name string, in haproxy.Instance) {
	switch limit, set, err := haproxy.HardStopAfter(e.procfs, in); {
	case err != nil:
		e.say(warning, "", "%s: hard-stop-after is not known: %v", name, err)
	case set:
		e.say(fine, "", "%s has hard-stop-after %s", name, render.Span(limit.Seconds()))
	default:
		e.say(fine, "", "%s has no hard-stop-after: only the policy bounds how long stopping "+
			"workers run", name)
	}
}

// manyReloads is the bound that HAProxy itself considers safe: its default.
const manyReloads = 50

func (e *exam) checkMaxReloads(name string, in haproxy.Instance) {
	switch n, set, err := haproxy.MaxReloads(e.procfs, in); {
	case err != nil:
		e.say(warning, "", "%s: mworker-max-reloads is not known: %v", name, err)
	case set && n < manyReloads:
		e.say(warning, "raise mworker-max-reloads: the policy ends workers when memory is short",
			"%s has mworker-max-reloads %d: HAProxy ends a worker and all its connections after "+
				"so many reloads, also while memory is plentiful", name, n)
	case set:
		e.say(fine, "", "%s has mworker-max-reloads %d: HAProxy ends a worker after so many "+
			"reloads",
			name, n)
	default:
		e.say(fine, "", "%s has no mworker-max-reloads: from HAProxy 3.3 on, HAProxy ends a "+
			"worker after %d reloads",
			name, manyReloads)
	}
}
