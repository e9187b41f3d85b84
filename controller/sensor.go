package controller

import (
	"cmp"
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

// view is one look at a target: the sample that the policy decides on, and what people want to know beside it.
type view struct {
	policy.Sample
	nearest cgroup.Limit // the one with the least headroom
	most    cgroup.Limit // the one that is used most
	found   []haproxy.Instance
	workers []haproxy.Worker // of all of them
}

// sense reads everything anew. Only the end of the cgroup is an error: any other reading that fails is absent, says why, and
// the others go on.
func (g *guard) sense(ctx context.Context) (view, error) {
	v := view{}
	v.Now = g.now()
	if err := g.group.Alive(); err != nil {
		return v, err
	}
	g.sensePressure(&v) // right after the clock: workers that hang take seconds
	v.PressureAt = g.now()
	g.senseWorkers(ctx, &v)
	g.senseLimits(&v)
	events, err := g.group.Events()
	g.note("memory.events", err)
	v.Events = map[string]policy.Reading{}
	for _, key := range []string{"low", "high", "max", "oom", "oom_kill"} {
		n, ok := events[key]
		if v.Events[key] = reading(float64(n), err); err == nil && !ok {
			v.Events[key] = absent("memory.events has no " + key)
		}
	}
	swap, err := g.group.SwapCurrent()
	g.note("memory.swap.current", err)
	v.Swap = reading(float64(swap), err)
	stat, err := g.group.Stat()
	g.note("memory.stat", err)
	v.Shmem = reading(float64(stat["shmem"]), err)
	held := stat["anon"] + stat["shmem"] // page cache is not held: the kernel drops it
	v.UsageOf, v.RoomOf = g.limitOf(v.most, held), g.limitOf(v.nearest, held)
	return v, nil
}

// limitOf describes a limit to the policy. It is the target's own, too, if the target holds at least half of what is used of it.
func (g *guard) limitOf(l cgroup.Limit, held uint64) policy.Limit {
	if l.Kind == "" {
		return policy.Limit{} // none is known
	}
	return policy.Limit{Name: limitName(l, g.cgroup), Bytes: l.Bytes, Own: l.Group == g.cgroup || held >= l.Usage-l.Usage/2}
}

// limitName names a limit for people: the kind alone is that of the target's own cgroup.
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
			return absent(known.Error()) // the rest is told once, by note
		}
	}
	if err != nil {
		return absent(err.Error())
	}
	return policy.Reading{Value: value}
}

func absent(why string) policy.Reading { return policy.Reading{Absent: why} }

// note reports a sensor that has gone, or has another reason for it than last time.
func (g *guard) note(sensor string, err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if g.missing[sensor] == why || errors.Is(err, cgroup.ErrGone) { // that the cgroup has gone is told once, by its end
		return
	}
	g.missing[sensor] = why
	if err != nil {
		g.c.events.SensorMissing(g.name, sensor, err)
	}
}

// senseLimits reads usage against every limit, the room for reloads and the time to the limit.
func (g *guard) senseLimits(v *view) {
	host, err := cgroup.Host(g.c.Procfs)
	if err == nil && host.Total == 0 {
		err = errors.New("MemTotal is 0")
	}
	g.note("/proc/meminfo", err)
	var limits []cgroup.Limit
	if err == nil {
		// Without the memory controller the host's own memory is still a limit.
		limits, err = g.limits(host)
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
	v.Usage = policy.Reading{Value: v.most.Percent()}
	switch {
	case g.footprint == 0:
		v.ReloadRoom = absent("the current worker's memory is not known")
	case g.footprint > host.Total:
		v.ReloadRoom = absent(fmt.Sprintf("the current worker's memory reads as %s, more than the host has", mib(g.footprint)))
	default:
		v.ReloadRoom = policy.Reading{Value: float64(v.nearest.Headroom()) / float64(g.footprint)}
	}
	v.LimitIn = g.slope.limitIn(v.Now, v.nearest)
	v.SwapRoom = g.swapRoom(host)
}

// limits reads the limits that bind the group. A limit of 0 is left out and reported: not even the current worker fits under it, so nothing
// that hapressure could free or end would help. If one cannot be read, or is used more than the host has memory, that is the error: what the
// others say would look like calm.
func (g *guard) limits(host cgroup.HostMemory) ([]cgroup.Limit, error) {
	limits, err := g.group.Limits()
	g.note("memory.max", err)
	if err != nil && !errors.Is(err, cgroup.ErrAbsent) { // without the memory controller there are none
		return nil, err
	}
	var zero, wrong error
	limits = slices.DeleteFunc(limits, func(l cgroup.Limit) bool {
		if l.Bytes == 0 {
			zero = errors.Join(zero, fmt.Errorf("%s is 0: nothing fits under it, so it is left out", l))
		}
		if l.Usage > host.Total {
			wrong = fmt.Errorf("memory.current of %s is %s, more than the host has", l.Group, mib(l.Usage))
		}
		return l.Bytes == 0
	})
	g.note("limits of 0", zero)
	g.note("memory.current", wrong)
	return limits, wrong
}

// swapRoom is what the group may still swap out: the host's free swap, or less where the group or an ancestor has a limit of its own.
func (g *guard) swapRoom(host cgroup.HostMemory) policy.Reading {
	room := host.SwapFree
	limits, err := g.group.SwapLimits()
	if err != nil && !errors.Is(err, cgroup.ErrAbsent) { // a kernel that does not count swap does not limit it either
		return absent(err.Error())
	}
	for _, l := range limits {
		room = min(room, l.Headroom())
	}
	return policy.Reading{Value: float64(room)}
}

// slope remembers usage over the last seconds.
type slope struct {
	limit  string
	points []point
}

type point struct {
	at    time.Duration
	usage uint64
}

const slopeOver = 3 * time.Second

// limitIn returns the seconds until usage is at the limit if it goes on as over the last slopeOver.
func (s *slope) limitIn(now time.Duration, l cgroup.Limit) policy.Reading {
	if s.limit != l.String() {
		s.limit, s.points = l.String(), s.points[:0] // another limit's usage says nothing about this one's
	}
	s.points = append(s.points, point{now, l.Usage})
	for len(s.points) > 2 && now-s.points[1].at >= slopeOver {
		s.points = s.points[1:]
	}
	first := s.points[0]
	over := now - first.at
	switch {
	case over < slopeOver:
		return absent("usage has not been watched for long enough")
	case l.Usage <= first.usage:
		return absent(policy.NotRising)
	}
	rate := float64(l.Usage-first.usage) / over.Seconds()
	return policy.Reading{Value: float64(l.Headroom()) / rate}
}

func (g *guard) sensePressure(v *view) {
	p, err := g.group.Pressure()
	g.note("memory.pressure", err)
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	v.SomeTotal = reading(us(p.Some.Total), err)
	v.Some10, v.Some60, v.Some300 = reading(p.Some.Avg10, err), reading(p.Some.Avg60, err), reading(p.Some.Avg300, err)
	full := cgroup.Stall{}
	if p.Full != nil {
		full = *p.Full
	} else if err == nil {
		err = errors.New("memory.pressure has no full line")
	}
	v.FullTotal = reading(us(full.Total), err)
	v.Full10, v.Full60, v.Full300 = reading(full.Avg10, err), reading(full.Avg60, err), reading(full.Avg300, err)
}

// senseWorkers finds the workers and what they hold.
func (g *guard) senseWorkers(ctx context.Context, v *view) {
	pids, err := g.group.Procs()
	var found []haproxy.Instance
	if err == nil {
		found, err = g.scanner.Scan(ctx, pids)
	}
	g.note("workers", err)
	if err != nil {
		v.WorkersAbsent = err.Error()
		return
	}
	v.found = found
	g.noteCLIs(v.Now, found)
	for _, in := range found {
		v.workers = append(v.workers, in.Workers...)
	}
	for _, w := range v.workers {
		if w.State == haproxy.Current && w.SizeErr == nil {
			g.footprint = w.Shared + w.Private // the youngest comes last
		}
		v.Workers = append(v.Workers, policy.Worker{
			ID: policy.WorkerID(w.ID), Generation: w.Generation,
			State: proven[w.State], StoppingFor: w.StoppingFor, Cache: cacheOf(w), CacheBytes: w.Cache,
			Private: w.Private, RAM: w.RAM, Files: w.Files,
		})
	}
}

// cliPatience is how long workers may leave questions unanswered before that is reported: a busy one does for a while.
const cliPatience = time.Minute

func (g *guard) noteCLIs(now time.Duration, found []haproxy.Instance) {
	const cliOf = "worker CLI of "
	there := map[string]bool{}
	for _, in := range found {
		sensor := cliOf + strconv.Itoa(in.Master.PID)
		there[sensor] = true
		if in.CLIErr == nil {
			g.cliAnswered = now
		}
		if in.CLIErr == nil || errors.Is(in.CLIErr, haproxy.ErrNoCLI) || now-g.cliAnswered > cliPatience {
			g.note(sensor, in.CLIErr)
		}
	}
	maps.DeleteFunc(g.missing, func(sensor, _ string) bool { return strings.HasPrefix(sensor, cliOf) && !there[sensor] })
}

// proven is what the policy calls the states; any other is unknown to it.
var proven = map[haproxy.State]policy.WorkerState{haproxy.Current: policy.Current, haproxy.Stopping: policy.Stopping}

// emptyCache is what an emptied cache may still hold: its first page, of 64 KiB at the most.
const emptyCache = 64 << 10

// cacheOf tells what there is to purge. A cache that is not recognised counts as full: the attempt to purge it is refused with the
// reason, once, and the policy remembers.
func cacheOf(w haproxy.Worker) policy.Cache {
	switch {
	case w.State != haproxy.Stopping:
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

// line is the target in one line, for systemctl status.
func (v view) line(name, tier string) string {
	stopping := 0
	for _, w := range v.workers {
		if w.State == haproxy.Stopping {
			stopping++
		}
	}
	s := fmt.Sprintf("%s: tier %s, %.0f%% of %s used", name, cmp.Or(tier, "none"), v.nearest.Percent(), mib(v.nearest.Bytes))
	if v.RoomOf.Name != "" {
		s += " (" + v.RoomOf.Name + ")"
	}
	if v.UsageOf.Name != v.RoomOf.Name {
		s += fmt.Sprintf(", %.0f%% of %s", v.Usage.Value, v.UsageOf.Name)
	}
	if v.ReloadRoom.Absent == "" {
		s += fmt.Sprintf(", room for %.1f reloads", v.ReloadRoom.Value)
	}
	return s + fmt.Sprintf(", %d of %d workers stopping", stopping, len(v.workers))
}

func mib(b uint64) string { return fmt.Sprintf("%.0f MiB", float64(b)/(1<<20)) }
