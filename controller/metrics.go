package controller

import (
	"errors"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hapressure/haproxy"
	"hapressure/policy"
)

// Metrics answers with what Prometheus scrapes: what the last tick of each target sensed, so that a scrape asks nobody, and what was counted
// since. A reading that is absent has no sample.
func (c *Controller) Metrics() http.Handler {
	all := prometheus.NewPedanticRegistry()
	all.MustRegister(collector{c}, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 5 * time.Second, DisableCompression: true})
}

// put gives a sample, with the values of its labels after the target's.
type put func(value float64, labels ...string)

// metric is a metric that is read when it is asked for, from a T.
type metric[T any] struct {
	name string
	kind prometheus.ValueType
	help string
	read func(T, put)
	also []string // labels
}

func (m metric[T]) desc(labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("hapressure_"+m.name, m.help, append(labels, m.also...), nil)
}

func (m metric[T]) collect(ch chan<- prometheus.Metric, desc *prometheus.Desc, of T, labels ...string) {
	m.read(of, func(value float64, more ...string) {
		ch <- prometheus.MustNewConstMetric(desc, m.kind, value, slices.Concat(labels, more)...)
	})
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// daemonMetrics are about the program.
var daemonMetrics = []metric[Status]{
	{"build_info", gauge, "Always 1, with the versions of hapressure and of Go that built it.", func(s Status, put put) {
		if s.Daemon != nil {
			put(1, s.Daemon.Version, runtime.Version())
		}
	}, []string{"version", "goversion"}},
	{"dry_run", gauge, "1 if no worker is touched, else 0.", func(s Status, put put) {
		if s.Daemon != nil {
			put(truth(s.Daemon.DryRun))
		}
	}, nil},
	{"policy_info", gauge, "Always 1, with where the policy in force is from.",
		func(s Status, put put) { put(1, s.Policy.Origin) }, []string{"origin"}},
	{"policy_loaded_timestamp_seconds", gauge, "When the policy in force was loaded, in Unix time.",
		func(s Status, put put) { put(epoch(s.Policy.Since)) }, nil},
	{"policy_rejected", gauge, "1 if the policy's files have mistakes as they are now, so that an older policy is in force, else 0.",
		func(s Status, put put) { put(truth(s.Policy.Rejected != "")) }, nil},
	{"targets", gauge, "Targets of the policy that are there and looked after.",
		func(s Status, put put) { put(float64(len(s.Targets))) }, nil},
}

// targetMetrics are about one target each, which is their first label.
var targetMetrics = []metric[glance]{
	{"last_tick_timestamp_seconds", gauge, "When the target was last looked at, in Unix time.",
		func(l glance, put put) { put(epoch(l.at)) }, nil},
	{"tier", gauge, "Number of the tier that the target is in; 1 is the policy's first, 0 is none.",
		func(l glance, put put) { put(float64(l.tier)) }, nil},
	{"tier_active", gauge, "1 for the tier that the target is in and for each below it, 0 for the others.", func(l glance, put put) {
		for i, t := range l.policy.Tiers {
			put(truth(i < l.tier), t.Name)
		}
	}, []string{"tier"}},
	{"tier_changed_timestamp_seconds", gauge, "When the tier last changed, in Unix time; no sample if it never did.", func(l glance, put put) {
		if !l.changed.IsZero() {
			put(epoch(l.changed))
		}
	}, nil},
	{"memory_limit_bytes", gauge, "The limit with the least headroom: memory.high or memory.max of the group or of one above it, or MemAvailable, the host's memory.",
		func(l glance, put put) {
			if n := l.view.nearest; n.Kind != "" {
				put(float64(n.Bytes), n.Kind)
			}
		}, []string{"kind"}},
	{"memory_used_bytes", gauge, "What is used of hapressure_memory_limit_bytes.", func(l glance, put put) {
		if n := l.view.nearest; n.Kind != "" {
			put(float64(n.Usage), n.Kind)
		}
	}, []string{"kind"}},
	{"usage_ratio", gauge, "The policy's usage signal: the largest share used of any limit; above 1 where memory.high is exceeded.",
		func(l glance, put put) { given(l.view.Usage, 100, put) }, nil},
	{"reload_room", gauge, "The policy's reload-room signal: how many more reloads fit under the limit with the least headroom.",
		func(l glance, put put) { given(l.view.ReloadRoom, 1, put) }, nil},
	{"time_to_limit_seconds", gauge, "The policy's limit-in signal: time until the limit is reached at the slope of the last seconds; no sample while usage does not rise.",
		func(l glance, put put) { given(l.view.LimitIn, 1, put) }, nil},
	{"pressure_stall_seconds_total", counter, "Time in which some or all (full) tasks of the group waited for memory, of memory.pressure.", func(l glance, put put) {
		given(l.view.SomeTotal, 1e6, put, "some")
		given(l.view.FullTotal, 1e6, put, "full")
	}, []string{"stall"}},
	{"pressure_ratio", gauge, "Share of the window in which some or all (full) tasks of the group waited for memory: the averages of memory.pressure.",
		func(l glance, put put) {
			v := l.view
			for i, window := range []string{"10s", "60s", "300s"} {
				given([]policy.Reading{v.Some10, v.Some60, v.Some300}[i], 100, put, "some", window)
				given([]policy.Reading{v.Full10, v.Full60, v.Full300}[i], 100, put, "full", window)
			}
		}, []string{"stall", "window"}},
	{"memory_events_total", counter, "The group's memory.events since it was made, by the kernel's name.", func(l glance, put put) {
		for event, n := range l.view.Events {
			given(n, 1, put, event)
		}
	}, []string{"event"}},
	{"swap_bytes", gauge, "The group's memory.swap.current.", func(l glance, put put) { given(l.view.Swap, 1, put) }, nil},
	{"swap_room_bytes", gauge, "What the group could still swap out.", func(l glance, put put) { given(l.view.SwapRoom, 1, put) }, nil},
	{"shmem_bytes", gauge, "Shared memory of the group, shmem of memory.stat: session caches are most of it.",
		func(l glance, put put) { given(l.view.Shmem, 1, put) }, nil},
	{"workers", gauge, "Workers by what is proven of them: current, stopping or unknown. No sample while they cannot be listed, as during a reload.",
		func(l glance, put put) { eachState(l, put, func(haproxy.Worker) (float64, bool) { return 1, true }) }, []string{"state"}},
	{"worker_private_bytes", gauge, "Private memory of the workers, in RAM or swapped out. Workers of which it is not known are left out.",
		func(l glance, put put) {
			eachState(l, put, func(w haproxy.Worker) (float64, bool) { return float64(w.Private), w.SizeErr == nil })
		}, []string{"state"}},
	{"stopping_cache_bytes", gauge, "What the TLS session caches of stopping workers hold. Caches of which it is not known are left out.",
		func(l glance, put put) {
			if l.view.WorkersAbsent == "" {
				held, _ := stoppingCaches(l)
				put(held)
			}
		}, nil},
	{"stopping_caches_unknown", gauge, "Stopping workers left out of hapressure_stopping_cache_bytes.", func(l glance, put put) {
		if l.view.WorkersAbsent == "" {
			_, unknown := stoppingCaches(l)
			put(unknown)
		}
	}, nil},
	{"oldest_stopping_seconds", gauge, "For how long the oldest stopping worker has been stopping; no sample where none is.", func(l glance, put put) {
		oldest := time.Duration(-1)
		for _, w := range l.view.workers {
			if w.State == haproxy.Stopping {
				oldest = max(oldest, w.StoppingFor)
			}
		}
		if oldest >= 0 {
			put(oldest.Seconds())
		}
	}, nil},
	{"hard_stop_after_seconds", gauge, "The effective hard-stop-after that the tiers held give stopping workers; no sample where none gives one.", func(l glance, put put) {
		if l.hardStop != nil {
			put(*l.hardStop)
		}
	}, nil},
	{"sensor_missing", gauge, "1 while a sensor cannot be read, 0 once it can be again; no sample of one that never failed.", func(l glance, put put) {
		missing := map[string]bool{}
		for sensor, why := range l.missing {
			sensor, _, _ = strings.Cut(sensor, " of ") // the master CLI's pid
			missing[sensor] = missing[sensor] || why != ""
		}
		for sensor, is := range missing {
			put(truth(is), sensor)
		}
	}, []string{"sensor"}},
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// given puts a reading, in units of so many of its own, unless it is absent.
func given(r policy.Reading, unit float64, put put, labels ...string) {
	if r.Absent == "" {
		put(r.Value/unit, labels...)
	}
}

// eachState sums up a figure of the workers in each state.
func eachState(l glance, put put, of func(haproxy.Worker) (float64, bool)) {
	if l.view.WorkersAbsent != "" {
		return
	}
	sums := map[haproxy.State]float64{haproxy.Unknown: 0, haproxy.Current: 0, haproxy.Stopping: 0}
	for _, w := range l.view.workers {
		if n, ok := of(w); ok {
			sums[w.State] += n
		}
	}
	for state, sum := range sums {
		put(sum, state.String())
	}
}

func stoppingCaches(l glance) (held, unknown float64) {
	for _, w := range l.view.workers {
		var r *haproxy.Refusal
		switch {
		case w.State != haproxy.Stopping:
		case w.CacheErr == nil:
			held += float64(w.Cache)
		case !errors.As(w.CacheErr, &r) || r.Reason != haproxy.NoCache:
			unknown++
		}
	}
	return held, unknown
}

// collector reads off the guards what they last sensed.
type collector struct{ c *Controller }

func (m collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range daemonMetrics {
		ch <- d.desc()
	}
	for _, d := range targetMetrics {
		ch <- d.desc("target")
	}
	for _, t := range m.c.report.tallies.all() {
		t.Describe(ch)
	}
}

func (m collector) Collect(ch chan<- prometheus.Metric) {
	m.c.mu.Lock()
	s, glances := Status{Daemon: m.c.Daemon, Policy: m.c.inForce}, map[string]glance{}
	for name, g := range m.c.guards {
		if l := g.glance(); l.policy != nil { // it has looked
			glances[name] = l
			m.c.report.tallies.expect(name, l.policy)
		}
	}
	m.c.mu.Unlock()
	s.Targets = make([]TargetStatus, len(glances))
	for _, d := range daemonMetrics {
		d.collect(ch, d.desc(), s)
	}
	for _, d := range targetMetrics {
		desc := d.desc("target")
		for _, name := range slices.Sorted(maps.Keys(glances)) {
			d.collect(ch, desc, glances[name], name)
		}
	}
	for _, t := range m.c.report.tallies.all() {
		t.Collect(ch)
	}
}
