package controller

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/policy/record"
)

// guard watches one target. The goroutine of run owns the state and the parts below it.
// Other goroutines only wake the guard, change its policy, send it orders, request room
// and read its snapshot.
type guard struct {
	target
	events   Events
	tallies  tallies
	notifier *notifier // of all guards
	steered  *steered  // as all guards
	ticked   func()    // called after each tick

	policy    atomic.Pointer[policy.Policy] // as it is for this target
	stop      context.CancelFunc
	gone      <-chan struct{} // closed when the guard was stopped, or has ended
	orders    chan order      // manual purges
	wakeups   wakeups
	published published
	rooms     rooms
	stuck     stuck

	state     policy.State
	stepped   *policy.Policy // the policy of the last tick; nil before the first
	tidied    time.Duration  // the event after which memory was last freed
	sensor    sensor
	schedule  schedule
	queue     queue
	actions   *actions
	recording recording
	persist   persist
}

func newGuard(conf Config, t target, own *policy.Policy) *guard {
	events := Events{conf.Journal}
	g := &guard{target: t, events: events, steered: conf.steered, orders: make(chan order)}
	g.policy.Store(own)
	g.wakeups = wakeups{target: t, events: events, woken: make(chan struct{}, 1)}
	g.sensor = newSensor(t, events, conf.Procfs)
	g.stuck = newStuck(t.name, events)
	g.actions = &actions{
		group: t.group, procfs: conf.Procfs, scanner: g.sensor.scanner, dryRun: conf.DryRun,
		mode:  func() status.Mode { return g.steered.mode(t.name) },
		ended: make(chan ended), report: g.report,
	}
	storage := newStorage(t.name, events)
	g.recording = recording{
		target: t.name, open: conf.Record, size: conf.RecordSize, storage: storage,
	}
	g.persist = newPersist(conf.StateDir, t.name, storage)
	g.published.last.at = time.Now()
	g.sensor.scanner.Recall(conf.Known[t.name])
	if state, known, found := g.persist.restore(own); found {
		state.Interrupted(sinceBoot())
		g.state = state
		g.sensor.scanner.Recall(known)
	}
	return g
}

// run guards the target until ctx ends or the cgroup is gone, and returns why it ended.
// Then, in this order: the state is persisted; the recording is closed; ctx ends for the
// actions that run, each of which is bounded, for the wake-ups and for the search for
// stuck workers; run waits for them. Outcomes of these actions are only logged: the next
// daemon treats them as interrupted.
func (g *guard) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { g.wakeups.watch(ctx) })
	watching.Go(func() { g.stuck.watch(ctx, &g.published) })
	why := g.loop(ctx, g.tick)
	g.save()
	g.recording.close(sinceBoot())
	cancel()
	g.actions.running.Wait()
	watching.Wait()
	return why
}

// loop ticks at once, when the schedule says so, and after each wake-up, outcome and
// order. After a tick it rests for tickLeast: wake-ups and outcomes of that time lead to
// one tick together.
func (g *guard) loop(ctx context.Context, tick func(context.Context) error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	resting := false
	for {
		woken, orders := g.wakeups.woken, g.orders
		if resting {
			woken, orders = nil, nil
		} else if g.queue.busy(purgeLane) {
			orders = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			if resting {
				resting = false
				timer.Reset(g.schedule.next(sinceBoot()))
				continue
			}
			if g.probeIsEnough(sinceBoot(), g.sensor.probe) {
				g.tidy()
				timer.Reset(probeEvery)
				continue
			}
		case <-woken:
			g.schedule.event = sinceBoot()
		case e := <-g.actions.ended:
			g.finish(e)
			if resting {
				g.wakeups.wake()
				continue
			}
		case o := <-orders:
			g.obey(ctx, o)
		}
		if err := tick(ctx); err != nil {
			return err
		}
		resting = true
		timer.Reset(tickLeast)
	}
}

// tick senses, decides and starts what is due.
func (g *guard) tick(ctx context.Context) error {
	began := time.Now()
	defer func() { g.tallies.tick.Observe(time.Since(began).Seconds()) }()
	waiting := g.rooms.waiting()
	g.sensor.counting = g.state.CountsConnections(g.policy.Load())
	numbered := g.sensor.scanner.Last()
	v, err := g.sensor.sense(ctx, sinceBoot())
	if err != nil {
		return err
	}
	p := g.policy.Load() // sensing takes time, and a replaced policy must not act
	v.RoomWanted, v.Mode = mostReloads(waiting), g.actions.mode().InForce
	was := g.stepped
	if g.stepped = p; p != was {
		g.recording.begin(p, g.state, v.Now)
	}
	if was == nil {
		was = p
	}
	d, changed := g.decide(p, v)
	if changed || g.sensor.scanner.Last() != numbered {
		g.save()
	}
	for _, ch := range d.Changes {
		g.events.tierChanged(g.name, ch, v)
		g.tallies.tierChanged(g.name, ch)
		g.notifier.tierChanged(g.name, was, p, ch, v)
		was = p
	}
	for _, w := range d.Withheld {
		g.events.withheld(g.name, w, v)
	}
	for _, due := range d.Actions {
		g.queue.add(queued{due, v.Now})
	}
	g.startNext(ctx)
	l := v.nearest
	g.recording.write(v.Now, record.Event{Tick: &record.Tick{
		Sample: v.Sample, Decision: d, Used: l.Usage, Limit: l.Bytes, Nearest: l.String(),
	}})
	if g.recording.full() {
		g.recording.begin(p, g.state, sinceBoot())
	}
	g.published.tick(g.name, v, p, &g.state, g.sensor.gaps.why)
	for _, w := range waiting {
		w.decide(v, g.cgroup)
	}
	g.ticked()
	return nil
}

// decide steps the policy and the schedule. changed means that the state has changed in a
// way that a restart must not lose.
func (g *guard) decide(p *policy.Policy, v view) (d policy.Decision, changed bool) {
	known := len(g.state.Workers)
	d = policy.Step(p, &g.state, v.Sample)
	if d.Confirm {
		g.wakeups.wake() // the next sample, tickLeast from now, decides
	}
	changed = len(d.Changes)+len(d.Actions)+len(d.Withheld) > 0 || len(g.state.Workers) != known
	held := d.Tier > 0 && p.Tiers[d.Tier-1].Enter.Op != policy.Always
	soon := v.RoomWanted > 0 || g.state.Pending(p) || g.endsSoon(p, v)
	g.schedule.tick(v, d.Tier, held, changed || soon)
	return d, changed
}

// endsSoon reports whether a worker's hard-stop-after ends before the next tick of a
// quiet target.
func (g *guard) endsSoon(p *policy.Policy, v view) bool {
	limit, ok := g.state.HardStopAfter(p)
	return ok && slices.ContainsFunc(v.Workers, func(w policy.Worker) bool {
		return w.State == policy.Stopping &&
			w.StoppingFor < limit && w.StoppingFor > limit-tickQuiet-probeEvery
	})
}

// probeIsEnough reports whether a probe replaces the tick that is due. It probes only if
// nothing has happened for long enough, and every event would wake the guard.
func (g *guard) probeIsEnough(now time.Duration, probe func(now time.Duration) view) bool {
	return g.schedule.quiet(now) && !g.wakeups.blind.Load() && !g.schedule.moved(probe(now))
}

// tidy frees the memory that the last event took, once it is over: the next may be hours
// away.
func (g *guard) tidy() {
	if g.tidied != g.schedule.event {
		g.tidied = g.schedule.event
		debug.FreeOSMemory()
	}
}

// startNext starts the next action of each idle lane.
func (g *guard) startNext(ctx context.Context) {
	for l := range g.queue {
		due, found := g.queue.next(lane(l))
		if !found {
			continue
		}
		w := g.sensor.worker(due.Worker)
		g.actions.start(ctx, ended{lane: lane(l), due: due}, func() result {
			return g.actions.perform(ctx, due.Due, w)
		})
	}
}

// finish records an outcome. A tick follows, so memory is measured before the next
// decision.
func (g *guard) finish(e ended) {
	g.queue.done(e.lane)
	now := sinceBoot()
	g.schedule.event = now
	g.report(e)
	g.published.action(e)
	g.rooms.acted(e.freed)
	if e.manual {
		return // the policy sees the effect in the next sample
	}
	o := policy.Outcome{
		Tier: e.due.Tier, Kind: e.due.Kind, Worker: e.due.Worker, At: now,
		Result: e.result.Result, FreedBytes: e.result.freed, More: e.result.more,
		Reason: e.result.why,
	}
	g.state.Done(o)
	g.save()
	g.recording.write(now, record.Event{Outcome: &o})
}

// report logs and counts an outcome. It may be called by any goroutine.
func (g *guard) report(e ended) {
	g.events.outcome(g.name, e.due.Due, e.result)
	g.tallies.outcome(g.name, e.due.Due, e.result)
}

func (g *guard) save() { g.persist.save(g.policy.Load(), g.state, g.sensor.scanner.Known()) }

// obey starts a manual purge of a worker.
func (g *guard) obey(ctx context.Context, o order) {
	w, found := g.sensor.workerOfPID(o.pid)
	pids, err := g.group.Procs()
	if !found || err != nil {
		close(o.done)
		return
	}
	g.queue.take(purgeLane)
	due := policy.Due{
		Tier: "by hand", Kind: policy.PurgeSSLCache,
		Worker: policy.WorkerID(w.ID), Generation: w.Generation, Why: o.why,
	}
	e := ended{lane: purgeLane, due: queued{Due: due}, manual: true}
	g.actions.start(ctx, e, func() result {
		p := ManualPurge(ctx, g.sensor.scanner, w, pids, o.dryRun || g.actions.dryRun)
		o.done <- p
		return manualResult(p)
	})
}
