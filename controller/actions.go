package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hapressure/cgroup"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// actions performs actions on the workers of one target, each in a goroutine of its own.
type actions struct {
	group   *cgroup.Group
	procfs  string
	scanner *haproxy.Scanner
	dryRun  bool               // of manual purges
	mode    func() status.Mode // that is in force
	stoppable
	running sync.WaitGroup
	ended   chan ended
	report  func(ended) // gets what ended receives no more
}

// start performs an action by do and sends its outcome to ended. Once ctx has ended, as
// no goroutine may receive it then, the outcome is only reported.
func (a *actions) start(ctx context.Context, e ended, do func() result) {
	a.running.Go(func() {
		began := time.Now()
		e.result = do()
		e.took = time.Since(began)
		if !e.manual {
			e.since = sinceBoot() - e.due.at
		}
		select {
		case a.ended <- e:
		case <-ctx.Done():
			a.report(e)
		}
	})
}

// failure is the result of an action that ended with an error.
func failure(err error) result {
	r := resultOf(err)
	return result{Result: r, what: string(r), why: err.Error()}
}

func (a *actions) purge(
	ctx context.Context, do func(context.Context, []int) (haproxy.Purged, error),
) result {
	pids, err := a.group.Procs()
	if err != nil {
		return failure(err)
	}
	done, err := do(ctx, pids)
	r := result{Result: policy.Done}
	if err != nil {
		r = failure(err)
	} else {
		r.what = fmt.Sprintf("freed %s; its threads were frozen for %v",
			mib(done.Freed()), done.Held.Round(time.Microsecond))
	}
	r.freed, r.held = done.Freed(), done.Held
	return r
}

func protected(done haproxy.Protected, err error) result {
	if err != nil {
		return failure(err)
	}
	return result{Result: policy.Done, what: fmt.Sprintf("raised its oom_score_adj from %d to %d: "+
		"if memory runs out, the kernel kills it before those that serve", done.Before, done.After)}
}

func marked(err error) result {
	if err != nil {
		return failure(err)
	}
	return result{Result: policy.Done, what: "marked its memory as not used lately: " +
		"if memory is short, the kernel swaps it out before that of those that serve"}
}

func relieved(g haproxy.Given, err error) result {
	if err != nil {
		return failure(err)
	}
	r := result{Result: policy.Done, freed: g.Freed(), what: "freed nothing"}
	if r.freed > 0 {
		r.what = fmt.Sprintf("freed %s of %s", mib(r.freed), mib(g.Before))
	}
	return r
}

func trimmed(done haproxy.Trimmed, err error) result {
	r := relieved(done.Given, err)
	r.stall = done.Stall
	switch {
	case err != nil:
	case done.Stall > 0:
		r.what += fmt.Sprintf("; its first thread waited for events again after %v",
			done.Stall.Round(100*time.Microsecond))
	default:
		r.what += fmt.Sprintf("; its first thread was not seen to wait for events within %v",
			haproxy.StallLimit)
	}
	return r
}

// hardStopGrace is the pause of HAProxy's own hard stop between shutting the streams down
// and the exit (src/proxy.c, hard_stop).
const hardStopGrace = time.Second

// hardStop does what HAProxy's hard-stop-after does, but spread over time: it shuts the
// sessions down, then terminates the worker. If the CLI does not answer now, it fails and
// is retried. If the worker has no CLI, the sessions end with it.
func (a *actions) hardStop(ctx context.Context, w haproxy.Replaced, pace haproxy.Pace) result {
	freed := a.measure()
	d, err := w.Drain(ctx, pace)
	noCLI := errors.Is(err, haproxy.ErrNoCLI) && !haproxy.Permanent(err)
	if err == nil || noCLI {
		if err = context.Cause(ctx); err == nil {
			_, err = w.Terminate(ctx, hardStopGrace)
		}
	}
	if err != nil {
		r := failure(err)
		r.sessions = d.Sessions
		return r
	}
	r := result{Result: policy.Done, freed: freed(), sessions: d.Sessions}
	if noCLI {
		r.what = "the worker ended with its sessions, which cannot be shut down one by one " +
			"because there is no way to its CLI; freed " + mib(r.freed)
		return r
	}
	r.what = fmt.Sprintf("%s shut down and the worker ended, freed %s",
		policy.Count(d.Sessions, "session"), mib(r.freed))
	if d.Left {
		r.what += "; its last sessions ended with it"
	}
	return r
}

func (a *actions) terminate(ctx context.Context, w haproxy.Replaced, grace time.Duration) result {
	freed := a.measure()
	killed, err := w.Terminate(ctx, grace)
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

// measure returns a function that returns how many bytes less the group uses than now; 0
// if it uses more, because others in it have grown.
func (a *actions) measure() (freed func() uint64) {
	before, berr := a.group.MemoryCurrent()
	return func() uint64 {
		after, err := a.group.MemoryCurrent()
		if berr != nil || err != nil {
			return 0
		}
		return before - min(before, after)
	}
}
