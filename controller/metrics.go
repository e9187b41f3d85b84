package controller

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// Metrics returns a handler for Prometheus. It answers with what the last tick of each
// target sensed and with counters, so a scrape asks no process. A reading that is absent
// has no sample.
func (c *Controller) Metrics() http.Handler {
	all := prometheus.NewRegistry()
	all.MustRegister(collector{c})
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 5 * time.Second, DisableCompression: true,
	})
}

// metrics are those that are read from the guards' snapshots: name, help and labels.
// Counters end in _total. docs/metrics.md is generated from them.
var metrics = describe([][]string{
	{"build_info", "Always 1, with the versions of hapressure and of Go that built it.",
		"version", "goversion"},
	{"resident_memory_bytes", "Memory of hapressure itself in RAM."},
	{"dry_run", "1 if no worker is changed, otherwise 0."},
	{"policy_info", "Always 1, with the files of the policy in force.", "origin"},
	{"policy_rejected",
		"1 if the policy's files have mistakes now, so an older policy is in force, otherwise 0."},

	{"mode", "1 for the mode in force (observe, purge-only or full), otherwise 0.",
		"target", "mode"},
	{"paused", "1 while no action is performed because of 'hapressure pause', otherwise 0.",
		"target"},
	{"pause_ends_timestamp_seconds", "When the pause ends by itself, in Unix time; no sample if " +
		"there is none, or if it never does.", "target"},
	{"last_tick_timestamp_seconds", "Time of the target's last tick, in Unix time.", "target"},
	{"tier",
		"Number of the tier that the target is in; 1 is the policy's first, 0 is none.", "target"},
	{"tier_info", "Always 1, with the name of the tier that the target is in, or none.",
		"target", "tier"},
	{"tier_active", "1 for the tier that the target is in and for each milder tier, otherwise 0.",
		"target", "tier"},
	{"memory_limit_bytes",
		"The limit with the least headroom: memory.high or memory.max of the group " +
			"or of an ancestor, or MemAvailable, the host's memory.", "target", "kind", "cgroup"},
	{"memory_used_bytes",
		"What is used of hapressure_memory_limit_bytes.", "target", "kind", "cgroup"},
	{"usage_ratio", "The policy's usage signal: the largest used share of any limit, " +
		"hapressure_usage_limit_bytes; above 1 if that is exceeded.", "target"},
	{"usage_limit_bytes",
		"The limit that hapressure_usage_ratio is measured against. Its cgroup is " +
			"empty for the host's memory.", "target", "kind", "cgroup"},
	{"reload_room", "The policy's reload-room signal: how many more reloads fit under " +
		"hapressure_memory_limit_bytes.", "target"},
	{"time_to_limit_seconds",
		"The policy's limit-in signal: time until hapressure_memory_limit_bytes " +
			"is reached at the slope of the last seconds; no sample while usage does not rise.",
		"target"},
	{"pressure_stall_seconds_total",
		"Time in which some or all (full) tasks of the group waited for " +
			"memory, from memory.pressure.", "target", "stall"},
	{"pressure_ratio",
		"Share of the window in which some or all (full) tasks of the group waited for " +
			"memory: the averages of memory.pressure.", "target", "stall", "window"},
	{"memory_events_total", "The group's memory.events since it was created, by the kernel's name.",
		"target", "event"},
	{"swap_bytes", "The group's memory.swap.current.", "target"},
	{"swap_room_bytes", "What the group can still swap out.", "target"},
	{"shmem_bytes",
		"Shared memory of the group, shmem of memory.stat: mostly session caches.", "target"},
	{"sock_bytes", "Buffers of the group's sockets, sock of memory.stat.", "target"},
	{"workers",
		"Workers by their proof: current, stopping or unknown. No sample while they cannot be " +
			"listed, as during a reload.", "target", "state"},
	{"worker_private_bytes",
		"Private memory of the workers, in RAM or swapped out, without workers " +
			"of which it is not known.", "target", "state"},
	{"worker_swapped_bytes",
		"Of hapressure_worker_private_bytes, what is swapped out.", "target", "state"},
	{"worker_kernel_bytes",
		"What the kernel holds for the workers: page tables and tables of descriptors.",
		"target", "state"},
	{"worker_open_files",
		"Open descriptors of the workers, most of which are connections.", "target", "state"},
	{"stopping_cache_bytes",
		"What the TLS session caches of stopping workers hold, without caches of " +
			"which it is not known.", "target"},
	{"stopping_caches_unknown",
		"Stopping workers that hapressure_stopping_cache_bytes does not count.",
		"target"},
	{"oldest_stopping_seconds",
		"How long the oldest stopping worker has been stopping; no sample if " +
			"there is none.", "target"},
	{"stuck_workers",
		"Stopping workers that have had no traffic for an hour: no client connection, or only " +
			"half-closed ones.", "target"},
	{"hard_stop_after_seconds",
		"The effective hard-stop-after of the tiers that the target is in; no " +
			"sample if they have none.", "target"},
	{"withheld",
		"1 while an action that cuts connections is withheld, because stopping workers hold " +
			"too little of the memory that is short.", "target", "tier", "action"},
	{"sensor_missing",
		"1 while a sensor cannot be read, 0 once it can be read again; no sample of one " +
			"that never failed.", "target", "sensor"},
})

func describe(rows [][]string) map[string]*prometheus.Desc {
	all := map[string]*prometheus.Desc{}
	for _, row := range rows {
		all[row[0]] = prometheus.NewDesc("hapressure_"+row[0], row[1], row[2:], nil)
	}
	return all
}

// samples is where they go.
type samples chan<- prometheus.Metric

func (ch samples) put(name string, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if strings.HasSuffix(name, "_total") {
		kind = prometheus.CounterValue
	}
	ch <- prometheus.MustNewConstMetric(metrics[name], kind, value, labels...)
}

// read puts a reading, which is in the unit-th part of the metric's unit, unless it is
// absent.
func (ch samples) read(name string, r policy.Reading, unit float64, labels ...string) {
	if r.Absent == "" {
		ch.put(name, r.Value/unit, labels...)
	}
}

func (ch samples) ofTarget(name string, l snapshot) {
	v := l.view
	ch.put("last_tick_timestamp_seconds", float64(l.at.UnixMilli())/1000, name)
	ch.put("tier", float64(l.tier), name)
	in := none
	if l.tier > 0 && l.tier <= len(l.policy.Tiers) {
		in = l.policy.Tiers[l.tier-1].Name
	}
	ch.put("tier_info", 1, name, in)
	for i, t := range l.policy.Tiers {
		ch.put("tier_active", truth(i < l.tier), name, t.Name)
	}
	if n := v.nearest; n.Kind != "" {
		ch.put("memory_limit_bytes", float64(n.Bytes), name, n.Kind, n.Group)
		ch.put("memory_used_bytes", float64(n.Usage), name, n.Kind, n.Group)
	}
	if m := v.most; m.Kind != "" {
		ch.put("usage_limit_bytes", float64(m.Bytes), name, m.Kind, m.Group)
	}
	for _, w := range l.withheld {
		ch.put("withheld", 1, name, w.Tier, w.Action)
	}
	ch.read("usage_ratio", v.Usage, 100, name)
	ch.read("reload_room", v.ReloadRoom, 1, name)
	ch.read("time_to_limit_seconds", v.LimitIn, 1, name)
	ch.read("pressure_stall_seconds_total", v.SomeTotal, 1e6, name, "some")
	ch.read("pressure_stall_seconds_total", v.FullTotal, 1e6, name, "full")
	for i, window := range []string{"10s", "60s", "300s"} {
		some := []policy.Reading{v.Some10, v.Some60, v.Some300}[i]
		full := []policy.Reading{v.Full10, v.Full60, v.Full300}[i]
		ch.read("pressure_ratio", some, 100, name, "some", window)
		ch.read("pressure_ratio", full, 100, name, "full", window)
	}
	for event, n := range v.Events {
		ch.read("memory_events_total", n, 1, name, event)
	}
	ch.read("swap_bytes", v.Swap, 1, name)
	ch.read("swap_room_bytes", v.SwapRoom, 1, name)
	ch.read("shmem_bytes", v.Shmem, 1, name)
	ch.read("sock_bytes", v.sock, 1, name)
	if v.WorkersAbsent == "" {
		ch.ofWorkers(name, v.workers, l.stuck)
	}
	if l.hardStop != nil {
		ch.put("hard_stop_after_seconds", *l.hardStop, name)
	}
	missing := map[string]bool{}
	for sensor, why := range l.missing {
		sensor, _, _ = strings.Cut(sensor, " of ") // the master's pid
		missing[sensor] = missing[sensor] || why != ""
	}
	for sensor, is := range missing {
		ch.put("sensor_missing", truth(is), name, sensor)
	}
}

func (ch samples) ofMode(name string, m status.Mode) {
	for _, mode := range policy.Modes {
		ch.put("mode", truth(mode == m.InForce), name, string(mode))
	}
	ch.put("paused", truth(m.Paused), name)
	if m.PausedUntil != nil {
		ch.put("pause_ends_timestamp_seconds", float64(m.PausedUntil.Unix()), name)
	}
}

func (ch samples) ofWorkers(name string, workers []haproxy.Worker, isStuck map[haproxy.ID]bool) {
	var count, private, swapped, kernel, files [3]float64 // by state
	var cache, unknown, oldest, stuck float64
	for _, w := range workers {
		count[w.State]++
		stuck += truth(isStuck[w.ID])
		if w.SizeErr == nil {
			private[w.State] += float64(w.Private)
			swapped[w.State] += float64(w.Swapped)
			kernel[w.State] += float64(w.Kernel)
		}
		files[w.State] += float64(w.Files)
		if w.State != haproxy.StateStopping {
			continue
		}
		oldest = max(oldest, w.StoppingFor.Seconds())
		if w.CacheErr == nil {
			cache += float64(w.Cache)
		} else if !haproxy.HasNoCache(w.CacheErr) {
			unknown++
		}
	}
	for _, state := range []haproxy.State{
		haproxy.StateUnknown, haproxy.StateCurrent, haproxy.StateStopping,
	} {
		ch.put("workers", count[state], name, state.String())
		ch.put("worker_private_bytes", private[state], name, state.String())
		ch.put("worker_swapped_bytes", swapped[state], name, state.String())
		ch.put("worker_kernel_bytes", kernel[state], name, state.String())
		ch.put("worker_open_files", files[state], name, state.String())
	}
	ch.put("stopping_cache_bytes", cache, name)
	ch.put("stopping_caches_unknown", unknown, name)
	ch.put("stuck_workers", stuck, name)
	if count[haproxy.StateStopping] > 0 {
		ch.put("oldest_stopping_seconds", oldest, name)
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// collector reads off the guards what they last sensed.
type collector struct{ c *Controller }

func (m collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range metrics {
		ch <- d
	}
	for _, t := range m.c.tallies.all() {
		t.Describe(ch)
	}
}

func (m collector) Collect(ch chan<- prometheus.Metric) {
	m.c.mu.Lock()
	inForce, guards := m.c.inForce, maps.Clone(m.c.guards)
	m.c.mu.Unlock()
	if rss, err := residentMemory(); err == nil {
		samples(ch).put("resident_memory_bytes", float64(rss))
	}
	if d := m.c.Daemon; d != nil {
		samples(ch).put("build_info", 1, d.Version, runtime.Version())
		samples(ch).put("dry_run", truth(d.DryRun))
	}
	samples(ch).put("policy_info", 1, inForce.Origin)
	samples(ch).put("policy_rejected", truth(inForce.Rejected != ""))
	for name, g := range guards {
		if l := g.published.get(); l.policy != nil { // it had a tick
			samples(ch).ofTarget(name, l)
			samples(ch).ofMode(name, m.c.steered.mode(name))
		}
	}
	for _, t := range m.c.tallies.all() {
		t.Collect(ch)
	}
}

// residentMemory returns what this process has in RAM, in bytes: the second number of
// /proc/self/statm is in pages (proc_pid_statm(5)).
func residentMemory() (int, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, resident int
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("reading /proc/self/statm: %w", err)
	}
	return resident * os.Getpagesize(), nil
}
