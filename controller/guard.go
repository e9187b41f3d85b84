package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/cgroup"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/policy/record"
)

const senseTime = 10 * time.Second // bound of one look

// guard looks after one target. Its run goroutine owns the state; all else only wakes it.
type guard struct {
	c       *Controller
	name    string // of the target
	cgroup  string // its path
	group   *cgroup.Group
	scanner *haproxy.Scanner
	stop    context.CancelFunc
	gone    <-chan struct{} // closed when it is told to stop, or has ended
	woken   chan struct{}
	ended   chan ended                    // of actions
	orders  chan order                    // by hand
	policy  atomic.Pointer[policy.Policy] // as it is for this target
	blind   atomic.Bool                   // not every event wakes us

	mu   sync.Mutex
	last glance

	// Owned by run.
	state  policy.State
	slope  slope
	pace   pace
	tidied time.Duration // the event after which memory was last given back
	// cliAnswered is when every worker that was asked last answered, or the guard began.
	cliAnswered time.Duration
	workers     []haproxy.Worker // as last sensed
	// footprint is what the last worker known to be current holds, in bytes; 0 = not known yet. It is kept while a reload makes
	// the workers' states unknown.
	footprint uint64
	missing   map[string]string // sensor to why, as last reported
	unstored  map[string]string // store to why, as last reported; no entry if its last file was written
	lanes     [lanes]lane
	tape      tape
}

// lane is a queue of actions that are done one after the other.
type lane struct {
	queue []queued
	busy  bool
}

// queued is an action and when the tick was that found it due.
type queued struct {
	policy.Due
	at time.Duration
}

// The lanes. A purge takes an instant, a drain takes its time, and a termination that is urgent must
// wait for neither.
const (
	purgeLane = iota
	reliefLane
	drainLane
	terminateLane

	lanes // how many there are
)

// laneOf returns the lane of a kind of action. A kind without a lane is an error of this program: no
// other lane may take it, because a drain among the purges would hold up every purge behind it.
func laneOf(kind string) int {
	switch kind {
	case policy.PurgeSSLCache, policy.PurgeHTTPCache:
		return purgeLane
	case policy.TrimPools, policy.PageOut:
		return reliefLane
	case policy.HardStopAfter:
		return drainLane
	case policy.TerminateOldest:
		return terminateLane
	}
	panic(fmt.Sprintf("the action %q has no lane", kind))
}

// ended is what became of an action.
type ended struct {
	lane   int
	due    policy.Due
	byHand bool
	result
}

func newGuard(c *Controller, name, at string, group *cgroup.Group, own *policy.Policy) *guard {
	g := &guard{
		c: c, name: name, cgroup: at, group: group,
		scanner: haproxy.NewScanner(c.Procfs),
		woken:   make(chan struct{}, 1),
		ended:   make(chan ended),
		orders:  make(chan order),
		missing: map[string]string{}, unstored: map[string]string{},
	}
	g.policy.Store(own)
	g.last.at = time.Now()
	g.cliAnswered = g.now()
	g.restore()
	return g
}

func (g *guard) wakeUp() {
	select {
	case g.woken <- struct{}{}:
	default:
	}
}

// now is the time since the machine was started, suspends included: the same clock for whoever goes on after us.
func (g *guard) now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // every Linux that has cgroup v2 has it
	}
	return time.Duration(ts.Nano())
}

// run guards until ctx ends or the cgroup is gone, and returns why it ended. It waits for the actions under way: each is bounded.
func (g *guard) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { g.watch(ctx) })
	defer g.endTape()
	defer g.keep()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C: // while all is still, a glance is enough
			if g.glanceIsEnough(g.now(), g.peek) {
				g.tidy()
				timer.Reset(tickStill)
				continue
			}
		case <-g.woken:
			g.pace.event = g.now()
		case e := <-g.ended:
			g.finish(e)
		case o := <-g.ordered():
			g.purgeByHand(ctx, &wg, o)
		}
		if err := g.tick(ctx, &wg); err != nil {
			return err
		}
		g.c.showStatus()
		if !g.rest(ctx) {
			return ctx.Err()
		}
		timer.Reset(g.pace.next(g.now()))
	}
}

// tidy gives back what the last event took of memory, once it is over: the next may be hours away.
func (g *guard) tidy() {
	if g.tidied != g.pace.event {
		g.tidied = g.pace.event
		debug.FreeOSMemory()
	}
}

// peek senses what may change without an event.
func (g *guard) peek() view {
	v := view{Sample: policy.Sample{Now: g.now()}}
	g.senseLimits(&v) // the slope goes on, too
	g.sensePressure(&v)
	return v
}

// rest keeps the pace: whatever wakes us meanwhile leads to one tick after it.
func (g *guard) rest(ctx context.Context) bool {
	pace := time.NewTimer(tickLeast)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-pace.C:
			return true
		case e := <-g.ended:
			g.finish(e)
			g.wakeUp()
		}
	}
}

func (g *guard) watch(ctx context.Context) {
	blindTo := map[string]bool{}
	missing := func(sensor string, err error) {
		// A glance sees pressure, and a group without a memory controller has no events.
		if sensor != "memory.pressure" && !errors.Is(err, cgroup.ErrAbsent) {
			blindTo[sensor] = true
			g.blind.Store(true)
		}
		g.c.events.SensorMissing(g.name, "wake-up by "+sensor, err)
	}
	err := g.group.Watch(ctx, missing, func(reason string) {
		delete(blindTo, reason) // it came after all
		g.blind.Store(len(blindTo) > 0)
		g.wakeUp()
	})
	if errors.Is(err, cgroup.ErrGone) {
		g.wakeUp() // the tick finds the same
	} else if err != nil && ctx.Err() == nil {
		g.c.events.SensorMissing(g.name, "wake-ups", err)
	}
}

// tick senses, decides and begins what is due.
func (g *guard) tick(ctx context.Context, wg *sync.WaitGroup) error {
	defer g.c.tallies.ticked(time.Now())
	short, cancel := context.WithTimeout(ctx, senseTime)
	defer cancel()
	v, err := g.sense(short)
	if err != nil {
		return err
	}
	if v.WorkersAbsent == "" {
		g.workers = v.workers
	}
	p := g.policy.Load()
	was := cmp.Or(g.tape.policy, p)
	if p != g.tape.policy {
		g.beginTape(p)
	}
	d, something := g.decide(p, v)
	if something {
		g.keep()
	}
	for _, ch := range d.Changes {
		g.c.events.tierChanged(g.name, ch, v)
		g.c.tallies.tierChanged(g.name, ch)
		g.c.tell(g.name, was, p, ch, v)
		was = p
	}
	for _, w := range d.Withheld {
		g.c.events.withheld(g.name, w, v)
	}
	for _, due := range d.Actions {
		l := laneOf(due.Kind)
		g.lanes[l].queue = append(g.lanes[l].queue, queued{due, v.Now})
	}
	for l := range g.lanes {
		g.next(ctx, wg, l)
	}
	l := v.nearest
	g.record(record.Event{Tick: &record.Tick{Sample: v.Sample, Decision: d, Used: l.Usage, Limit: l.Bytes, Nearest: l.String()}})
	g.publish(v)
	return nil
}

// endsSoon reports whether a worker's time is over before the next look, should all be still.
func (g *guard) endsSoon(p *policy.Policy, v view) bool {
	limit, ok := g.state.HardStopAfter(p)
	return ok && slices.ContainsFunc(v.Workers, func(w policy.Worker) bool {
		return w.State == policy.Stopping && w.StoppingFor < limit && w.StoppingFor > limit-lookStill-tickStill
	})
}

// next begins the next action of a lane that is idle.
func (g *guard) next(ctx context.Context, wg *sync.WaitGroup, l int) {
	ln := &g.lanes[l]
	if ln.busy || len(ln.queue) == 0 {
		return
	}
	due, at := ln.queue[0].Due, ln.queue[0].at
	ln.queue = ln.queue[1:]
	ln.busy = true
	w := haproxy.Worker{ID: haproxy.ID(due.Worker), Why: "it was not there at the last look"}
	if i := slices.IndexFunc(g.workers, func(w haproxy.Worker) bool { return policy.WorkerID(w.ID) == due.Worker }); i >= 0 {
		w = g.workers[i]
	}
	successor := slices.ContainsFunc(g.workers, func(o haproxy.Worker) bool {
		return o.Master == w.Master && o.Generation > w.Generation && o.State == haproxy.Current
	})
	wg.Go(func() {
		began := time.Now()
		r := g.act(ctx, due, w, successor)
		r.took, r.since = time.Since(began), g.now()-at
		select {
		case g.ended <- ended{l, due, false, r}:
		case <-ctx.Done():
			g.reportOutcome(due, r)
		}
	})
}

// finish takes note of an action's end. A tick follows, so that memory is measured anew before anything else is decided.
func (g *guard) finish(e ended) {
	g.lanes[e.lane].busy = false
	g.pace.event = g.now()
	g.reportOutcome(e.due, e.result)
	g.publishAction(e.due, e.result)
	if e.byHand {
		return // the policy sees what came of it
	}
	o := policy.Outcome{
		Tier: e.due.Tier, Kind: e.due.Kind, Worker: e.due.Worker, At: g.now(),
		Result: e.result.Result, FreedBytes: e.freed, Reason: e.why,
	}
	g.state.Done(o)
	g.keep()
	g.record(record.Event{Outcome: &o})
}

// reportOutcome logs an outcome and counts it.
func (g *guard) reportOutcome(due policy.Due, r result) {
	g.c.events.outcome(g.name, due, r)
	g.c.tallies.outcome(g.name, due, r)
}
