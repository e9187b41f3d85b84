package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hapressure/cgroup"
	"hapressure/haproxy"
	"hapressure/policy"
)

// senseTime bounds the readings of one tick.
const senseTime = 10 * time.Second

// sensor reads everything of one target.
type sensor struct {
	target
	procfs  string
	scanner *haproxy.Scanner
	gaps    gaps
	slope   slope

	// footprint is what the last worker known to be current holds, in bytes; 0 = not
	// known yet. It stays while a reload makes the workers' states unknown.
	footprint   uint64
	workers     []haproxy.Worker // as last sensed
	counting    bool             // the next decision may depend on connections
	cliAnswered time.Duration    // when every worker that was asked last answered, or the start
}

func newSensor(t target, events Events, procfs string) sensor {
	return sensor{
		target: t, procfs: procfs, scanner: haproxy.NewScanner(procfs),
		gaps: gaps{t.name, events, map[string]string{}}, cliAnswered: sinceBoot(),
	}
}

// gaps reports sensors of one target that cannot be read.
type gaps struct {
	target string
	events Events
	why    map[string]string // by sensor: the reason as last reported; "" if it can be read again
}

// note reports a sensor that cannot be read, if that is new or has a new reason.
func (g gaps) note(sensor string, err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if g.why[sensor] == why || errors.Is(err, cgroup.ErrGone) { // the guard's end reports that
		return
	}
	g.why[sensor] = why
	if err != nil {
		g.events.SensorMissing(g.target, sensor, err)
	}
}

// sense reads everything, for senseTime at most. Only the end of the cgroup and that of
// ctx are errors: every other reading that fails is absent and says why.
func (s *sensor) sense(ctx context.Context, now time.Duration) (view, error) {
	bounded, cancel := context.WithTimeout(ctx, senseTime)
	defer cancel()
	v := view{}
	v.Now = now
	if err := s.group.Alive(); err != nil {
		return v, err
	}
	s.pressure(&v) // right after the clock: workers that hang take seconds
	v.PressureAt = sinceBoot()
	found, err := s.scan(bounded)
	if ctx.Err() != nil { // what failed, failed because hapressure stops
		return v, ctx.Err()
	}
	s.workersFound(bounded, &v, found, err)
	s.limits(&v)
	events, err := s.group.Events()
	s.gaps.note("memory.events", err)
	v.Events = map[string]policy.Reading{}
	for _, key := range []string{"low", "high", "max", "oom", "oom_kill"} {
		n, ok := events[key]
		if v.Events[key] = reading(float64(n), err); err == nil && !ok {
			v.Events[key] = absent("memory.events has no " + key)
		}
	}
	swap, err := s.group.SwapCurrent()
	s.gaps.note("memory.swap.current", err)
	v.Swap = reading(float64(swap), err)
	stat, err := s.group.Stat()
	s.gaps.note("memory.stat", err)
	v.Shmem, v.sock = reading(float64(stat["shmem"]), err), reading(float64(stat["sock"]), err)
	held := stat["anon"] + stat["shmem"] // without page cache, which the kernel drops
	v.UsageOf, v.RoomOf = s.limitOf(v.most, held), s.limitOf(v.nearest, held)
	return v, nil
}

// probe reads only what may change without an event: usage and pressure. The slope
// continues.
func (s *sensor) probe(now time.Duration) view {
	v := view{Sample: policy.Sample{Now: now}}
	s.limits(&v)
	s.pressure(&v)
	return v
}

// worker returns a worker as last sensed.
func (s *sensor) worker(id policy.WorkerID) haproxy.Worker {
	i := slices.IndexFunc(s.workers, func(w haproxy.Worker) bool {
		return policy.WorkerID(w.ID) == id
	})
	if i < 0 {
		return haproxy.Worker{ID: haproxy.ID(id), Why: "the last tick did not find it"}
	}
	return s.workers[i]
}

// workerOfPID returns a worker as last sensed.
func (s *sensor) workerOfPID(pid int) (w haproxy.Worker, found bool) {
	i := slices.IndexFunc(s.workers, func(w haproxy.Worker) bool { return w.PID == pid })
	if i < 0 {
		return w, false
	}
	return s.workers[i], true
}

// limitOf describes a limit to the policy. The limit counts as the target's own also if
// the target holds at least half of what is used of it.
func (s *sensor) limitOf(l cgroup.Limit, held uint64) policy.Limit {
	if l.Kind == "" {
		return policy.Limit{} // none is known
	}
	own := l.Group == s.cgroup || held >= l.Usage-l.Usage/2
	return policy.Limit{Name: limitName(l, s.cgroup), Bytes: l.Bytes, Own: own}
}

// limitName names a limit in messages. The kind alone means the limit of the target's own
// cgroup.
func limitName(l cgroup.Limit, own string) string {
	switch l.Group {
	case "":
		return "the host's memory"
	case own:
		return l.Kind
	}
	return l.Kind + " of " + l.Group
}

func reading(value float64, err error) policy.Reading {
	for _, known := range []error{cgroup.ErrPSIOff, cgroup.ErrAbsent} {
		if errors.Is(err, known) {
			return absent(known.Error()) // the whole error is reported once, by note
		}
	}
	if err != nil {
		return absent(err.Error())
	}
	return policy.Reading{Value: value}
}

// limits reads usage against every limit, reload-room, limit-in and the room in swap.
func (s *sensor) limits(v *view) {
	host, err := cgroup.Host(s.procfs)
	if err == nil && host.Total == 0 {
		err = errors.New("MemTotal is 0")
	}
	s.gaps.note("/proc/meminfo", err)
	var limits []cgroup.Limit
	if err == nil {
		// Without the memory controller the host's own memory is still a limit.
		limits, err = s.bindingLimits(host)
	}
	if err != nil {
		for _, r := range []*policy.Reading{&v.Usage, &v.ReloadRoom, &v.LimitIn, &v.SwapRoom} {
			*r = absent(err.Error())
		}
		return
	}
	v.nearest = cgroup.Nearest(host, limits)
	v.most = host.Limit()
	for _, l := range limits {
		if l.Percent() > v.most.Percent() {
			v.most = l
		}
	}
	v.Usage, v.footprint = policy.Reading{Value: v.most.Percent()}, s.footprint
	switch {
	case s.footprint == 0:
		v.ReloadRoom = absent("the current worker's memory is not known")
	case s.footprint > host.Total:
		v.ReloadRoom = absent("the current worker's memory reads as " + mib(s.footprint) +
			", more than the host has")
	default:
		v.ReloadRoom = policy.Reading{Value: float64(v.nearest.Headroom()) / float64(s.footprint)}
	}
	v.LimitIn = s.slope.limitIn(v.Now, v.nearest)
	v.SwapRoom = swapRoom(s.group, host)
}

// bindingLimits reads the limits that bind the group. It skips and reports a limit of 0:
// not even the current worker fits under it, so nothing that hapressure could free would
// help. It fails if one limit cannot be read, or is used more than the host has memory:
// the others would look like calm.
func (s *sensor) bindingLimits(host cgroup.HostMemory) ([]cgroup.Limit, error) {
	limits, err := s.group.Limits()
	s.gaps.note("memory.max", err)
	if err != nil && !errors.Is(err, cgroup.ErrAbsent) { // no memory controller has no limits
		return nil, err
	}
	var zero, wrong error
	limits = slices.DeleteFunc(limits, func(l cgroup.Limit) bool {
		if l.Bytes == 0 {
			zero = errors.Join(zero,
				fmt.Errorf("%s is 0: nothing fits under it, so it is ignored", l))
		}
		if l.Usage > host.Total {
			wrong = fmt.Errorf("memory.current of %s is %s, more than the host has",
				l.Group, mib(l.Usage))
		}
		return l.Bytes == 0
	})
	s.gaps.note("limits of 0", zero)
	s.gaps.note("memory.current", wrong)
	return limits, wrong
}

// swapRoom returns how many bytes the group can still swap out: the host's free swap, or
// less if the group or an ancestor has a limit.
func swapRoom(group *cgroup.Group, host cgroup.HostMemory) policy.Reading {
	room := host.SwapFree
	limits, err := group.SwapLimits()
	if err != nil && !errors.Is(err, cgroup.ErrAbsent) { // no swap accounting has no limits
		return absent(err.Error())
	}
	for _, l := range limits {
		room = min(room, l.Headroom())
	}
	return policy.Reading{Value: float64(room)}
}

func (s *sensor) pressure(v *view) {
	p, err := s.group.Pressure()
	s.gaps.note("memory.pressure", err)
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	v.SomeTotal = reading(us(p.Some.Total), err)
	v.Some10, v.Some60 = reading(p.Some.Avg10, err), reading(p.Some.Avg60, err)
	v.Some300 = reading(p.Some.Avg300, err)
	full := cgroup.Stall{}
	if p.Full != nil {
		full = *p.Full
	} else if err == nil {
		err = errors.New("memory.pressure has no full line")
	}
	v.FullTotal = reading(us(full.Total), err)
	v.Full10, v.Full60 = reading(full.Avg10, err), reading(full.Avg60, err)
	v.Full300 = reading(full.Avg300, err)
}

// scan finds the workers and measures what they hold.
func (s *sensor) scan(ctx context.Context) ([]haproxy.Instance, error) {
	pids, err := s.group.Procs()
	if err != nil {
		return nil, err
	}
	return s.scanner.Scan(ctx, pids)
}

// workersFound enters what a scan found into the view.
func (s *sensor) workersFound(ctx context.Context, v *view, found []haproxy.Instance, err error) {
	s.gaps.note("workers", err)
	if err != nil {
		v.WorkersAbsent = err.Error()
		return
	}
	v.found = found
	s.noteCLIs(v.Now, found)
	for _, in := range found {
		v.workers = append(v.workers, in.Workers...)
	}
	var connections map[policy.WorkerID]*int
	if s.counting {
		connections = countConnections(ctx, v.workers)
	}
	for _, w := range v.workers {
		if w.State == haproxy.StateCurrent && w.SizeErr == nil {
			s.footprint = w.Shared + w.Private // the youngest comes last
		}
		v.Workers = append(v.Workers, policy.Worker{
			ID: policy.WorkerID(w.ID), Generation: w.Generation,
			State: proven[w.State], StoppingFor: w.StoppingFor,
			Cache: cacheOf(w), CacheBytes: w.Cache, Private: w.Private, Swapped: w.Swapped,
			RAM: w.RAM, Files: w.Files, OOMScoreAdj: w.OOMScoreAdj,
			Connections: connections[policy.WorkerID(w.ID)],
		})
	}
	s.workers = v.workers
}

// cliPatience is how long workers may not answer before that is reported: a busy worker
// does not answer for a while.
const cliPatience = time.Minute

// noteCLIs reports the workers' CLIs that do not answer, and forgets those of masters
// that have exited.
func (s *sensor) noteCLIs(now time.Duration, found []haproxy.Instance) {
	const cliOf = "worker CLI of "
	there := map[string]bool{}
	for _, in := range found {
		sensor := cliOf + strconv.Itoa(in.Master.PID)
		there[sensor] = true
		if in.CLIErr == nil {
			s.cliAnswered = now
		}
		if in.CLIErr == nil || errors.Is(in.CLIErr, haproxy.ErrNoCLI) ||
			now-s.cliAnswered > cliPatience {
			s.gaps.note(sensor, in.CLIErr)
		}
	}
	maps.DeleteFunc(s.gaps.why, func(sensor, _ string) bool {
		return strings.HasPrefix(sensor, cliOf) && !there[sensor]
	})
}

// proven has the policy's names of the states; to the policy all others are unknown.
var proven = map[haproxy.State]policy.WorkerState{
	haproxy.StateCurrent: policy.Current, haproxy.StateStopping: policy.Stopping,
}

// emptyCache is what an emptied cache may still hold: its first page, of at most 64 KiB.
const emptyCache = 64 << 10

// cacheOf returns what there is to purge. A cache that is not recognised counts as full:
// a purge of it is refused once, with the reason, and the policy remembers that.
func cacheOf(w haproxy.Worker) policy.Cache {
	switch {
	case w.State != haproxy.StateStopping:
		return policy.CacheUnknown
	case haproxy.HasNoCache(w.CacheErr):
		return policy.CacheEmpty
	case errors.As(w.CacheErr, new(*haproxy.Refusal)):
		return policy.CacheFull
	case w.CacheErr != nil:
		return policy.CacheUnknown
	case w.Cache <= emptyCache:
		return policy.CacheEmpty
	}
	return policy.CacheFull
}
