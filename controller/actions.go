package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hapressure/haproxy"
	"hapressure/policy"
)

// result is what came of an action.
type result struct {
	policy.Result
	freed    uint64 // bytes
	what     string // what was done, with its figures
	why      string // why it did not end with Done
	took     time.Duration
	held     time.Duration // how long the worker's threads were stopped
	stall    time.Duration // how long at most its first thread was away from its event loop; 0: it is not known
	sessions int           // shut down
	since    time.Duration // since the tick that found it due; 0 by hand
}

// act does one action on a worker: it checks it again, does it, waits for its end and measures what it freed.
// successor is whether a younger worker of its master is proven to be current.
func (g *guard) act(ctx context.Context, due policy.Due, w haproxy.Worker, successor bool) result {
	p, err := g.scanner.Recheck(ctx, w)
	if errors.Is(err, haproxy.ErrGone) {
		return result{Result: policy.Done, what: "it has ended by itself"}
	}
	if err != nil {
		return failure(err)
	}
	defer p.Close()
	if (due.Kind == policy.HardStopAfter || due.Kind == policy.TerminateOldest) && !successor {
		return failure(errLast)
	}
	if g.c.DryRun {
		return result{Result: policy.Skipped, what: "nothing done", why: "dry run"}
	}
	switch due.Kind {
	case policy.PurgeSSLCache:
		return g.purge(ctx, p.PurgeSSLCache)
	case policy.PurgeHTTPCache:
		return g.purge(ctx, p.PurgeHTTPCaches)
	case policy.TrimPools:
		return trimmed(p.TrimPools(ctx))
	case policy.PageOut:
		return relieved(p.PageOut(ctx))
	case policy.HardStopAfter:
		return g.hardStop(ctx, p, w, haproxy.Pace{Spread: due.Spread, PerSecond: due.PerSecond})
	case policy.TerminateOldest:
		return g.terminate(ctx, p, due.Grace)
	}
	return failure(fmt.Errorf("unknown action %q", due.Kind))
}

// failure is the result of an action that ended with an error: Refused if every further attempt
// would meet it, and Failed if it may pass.
func failure(err error) result {
	r := outcomeOf(err)
	return result{Result: r, what: string(r), why: err.Error()}
}

func outcomeOf(err error) policy.Result {
	if haproxy.Permanent(err) {
		return policy.Refused
	}
	return policy.Failed
}

// errLast says that a worker is all that its master has: when the last worker ends, so does the master.
var errLast = errors.New("no younger worker serves in its place")

func (g *guard) purge(ctx context.Context, do func(context.Context, []int) (haproxy.Purged, error)) result {
	pids, err := g.group.Procs()
	if err != nil {
		return failure(err)
	}
	done, err := do(ctx, pids)
	r := result{Result: policy.Done}
	if err != nil {
		r = failure(err)
	} else {
		r.what = fmt.Sprintf("freed %s; its threads stood still for %v", mib(done.Freed()), done.Held.Round(time.Microsecond))
	}
	r.freed, r.held = done.Freed(), done.Held
	return r
}

func relieved(g haproxy.Given, err error) result {
	if err != nil {
		return failure(err)
	}
	r := result{Result: policy.Done, freed: g.Freed(), what: "gave nothing"}
	if r.freed > 0 {
		r.what = fmt.Sprintf("gave %s of %s", mib(r.freed), mib(g.Before))
	}
	return r
}

func trimmed(done haproxy.Trimmed, err error) result {
	r := relieved(done.Given, err)
	r.stall = done.Stall
	switch {
	case err != nil:
	case done.Stall > 0:
		r.what += fmt.Sprintf("; its first thread waited for events again after %v", done.Stall.Round(100*time.Microsecond))
	default:
		r.what += fmt.Sprintf("; its first thread was not seen to wait for events within %v", haproxy.StallLimit)
	}
	return r
}

// hardStopGrace is what HAProxy's own hard stop leaves between shutting the streams down and the end (src/proxy.c, hard_stop).
const hardStopGrace = time.Second

// hardStop does what HAProxy's hard-stop-after does when its time has come, spread over time: the sessions are shut down, then the
// worker ends. A worker whose sessions cannot be reached at the moment is left for another try; where there is no CLI at all they end
// with it.
func (g *guard) hardStop(ctx context.Context, p *haproxy.Process, w haproxy.Worker, pace haproxy.Pace) result {
	freed := g.measure()
	d, err := haproxy.Drain(ctx, w, p, pace)
	noCLI := errors.Is(err, haproxy.ErrNoCLI)
	if err == nil || noCLI {
		_, err = p.Terminate(ctx, hardStopGrace)
	}
	if err != nil {
		r := failure(err)
		r.sessions = d.Sessions
		return r
	}
	r := result{Result: policy.Done, freed: freed(), sessions: d.Sessions}
	if noCLI {
		r.what = fmt.Sprintf("the worker ended with its sessions, which cannot be shut down one by one because there is no way to its CLI; freed %s", mib(r.freed))
		return r
	}
	r.what = fmt.Sprintf("%d sessions shut down and the worker ended, freed %s", d.Sessions, mib(r.freed))
	if d.Left {
		r.what += "; its last sessions ended with it"
	}
	return r
}

func (g *guard) terminate(ctx context.Context, p *haproxy.Process, grace time.Duration) result {
	freed := g.measure()
	killed, err := p.Terminate(ctx, grace)
	if err != nil {
		return failure(err)
	}
	how := "SIGTERM"
	if killed {
		how = fmt.Sprintf("SIGKILL %v after SIGTERM", grace)
	}
	r := result{Result: policy.Done, freed: freed()}
	r.what = fmt.Sprintf("ended by %s, freed %s", how, mib(r.freed))
	return r
}

// measure returns what tells how much less the group uses than now. Others in it may have grown meanwhile: then it is 0.
func (g *guard) measure() (freed func() uint64) {
	before, berr := g.group.MemoryCurrent()
	return func() uint64 {
		after, err := g.group.MemoryCurrent()
		if berr != nil || err != nil {
			return 0
		}
		return before - min(before, after)
	}
}
