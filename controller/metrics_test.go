package controller

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"hapressure/cgroup"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/haproxy/shctx"
	"hapressure/policy"
	"hapressure/tests/cgrouptest"
	"hapressure/tests/golden"
	"hapressure/tests/haproxytest"
)

const twoTiers = `version: 1
targets: [{unit: haproxy.service}]
tiers:
  - name: purge
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}}
    actions: [purge-ssl-cache: {}]
  - name: shorten
    enter: {usage: {above: 85%}}
    leave: {usage: {below: 75%}}
    actions: [hard-stop-after: {limit: 5m}]
  - name: terminate
    enter: {usage: {above: 95%}}
    leave: {usage: {below: 85%}}
    actions: [terminate-oldest: {}]
`

// busy is a controller of one target of which everything is known, and to which
// everything has happened.
func busy(t *testing.T) (*Controller, view) {
	t.Helper()
	p := decode(t, twoTiers)
	c := New(Config{
		Policy: p, Origin: "the policy test.yaml", Journal: newRecorder(),
		Daemon: &status.Daemon{Version: "1.2.3", PID: 7, DryRun: false},
		Steering: Steering{
			Modes:  map[string]policy.Mode{"": policy.PurgeOnly},
			Pauses: map[string]Pause{"haproxy.service": {Until: sinceBoot() + time.Hour}},
		},
	})
	missing := map[string]string{"memory.stat": "", "master CLI " +
		"of 4711": "it is gone", "master CLI of 4712": ""}
	g := &guard{target: target{name: "haproxy.service"}}
	g.policy.Store(p)
	g.state = policy.State{Tier: 2, TierName: "shorten", Why: "usage", Entered: make([]time.Duration, 3),
		Withheld: []policy.Withheld{{Tier: "shorten", Kind: policy.HardStopAfter, Gain: 1 << 20, Worth: 5}}}
	r := func(value float64) policy.Reading { return policy.Reading{Value: value} }
	v := view{
		Sample: policy.Sample{
			Usage: r(88), ReloadRoom: r(1.5), LimitIn: r(12), Swap: r(4096), SwapRoom: r(8192), Shmem: r(500 << 20),
			SomeTotal: r(2_500_000), FullTotal: r(1_500_000), Some10: r(4), Some60: r(3), Some300: r(2), Full10: r(1), Full60: r(0.5), Full300: r(0.25),
			Events: map[string]policy.Reading{"high": r(5), "max": r(0), "oom": r(0), "oom_kill": r(1), "low": r(0)},
		},
		nearest: cgroup.Limit{Group: "/system.slice", Kind: "memory.max", Bytes: 1000 << 20, Usage: 880 << 20},
		most:    cgroup.Limit{Group: "/system.slice", Kind: "memory.high", Bytes: 1000 << 20, Usage: 880 << 20},
		sock:    r(3 << 20),
		workers: []haproxy.Worker{
			{ID: haproxy.ID{PID: 4711}, State: haproxy.StateStopping,
				StoppingFor: 90 * time.Second, Cache: 200 << 20, Private: 30 << 20,
				Swapped: 8 << 20, Kernel: 2 << 20, Files: 20},
			{State: haproxy.StateStopping, StoppingFor: 60 * time.Second, Cache: 100 << 20, Private: 20 << 20},
			{State: haproxy.StateStopping, CacheErr: &haproxy.Refusal{Reason: shctx.NoCache}, SizeErr: fmt.Errorf("gone")},
			{State: haproxy.StateStopping, CacheErr: fmt.Errorf("not readable")},
			{State: haproxy.StateCurrent, Private: 40 << 20},
		},
	}
	g.published.tick(g.name, v, p, &g.state, missing)
	// The second has ended.
	g.published.stuck(map[haproxy.ID]bool{{PID: 4711}: true, {PID: 1}: true})
	c.guards[g.name] = g
	c.tallies.expect(g.name, p)
	c.tallies.tierChanged(g.name, policy.Change{From: 0, To: 2, ToName: "shorten"})
	c.tallies.tierChanged(g.name, policy.Change{From: 2, FromName: "shorten", To: 1, ToName: "purge"})
	c.tallies.tick.Observe(0.1)
	c.tallies.roomAnswered(status.Room{Target: g.name, Result: status.RoomFound, Waited: 3})
	for _, kind := range []string{policy.PurgeSSLCache, policy.HardStopAfter, policy.TerminateOldest} {
		tier := map[string]string{policy.PurgeSSLCache: "purge", policy.HardStopAfter: "shorten", policy.TerminateOldest: "terminate"}[kind]
		due := policy.Due{Tier: tier, Kind: kind, Worker: policy.WorkerID{PID: 4711}}
		c.tallies.outcome(g.name, due, result{
			Result: policy.Done, freed: 100 << 20, took: 20 * time.Millisecond, since: 40 * time.Millisecond, held: 300 * time.Microsecond, sessions: 3,
		})
		c.tallies.outcome(g.name, due, result{Result: policy.Failed, took: time.Second, since: time.Second})
	}
	return c, v
}

// scrape returns what Prometheus would get.
func scrape(t *testing.T, c *Controller) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	c.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("answered %d: %s", w.Code, w.Body)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// values are the values by name and labels; of a histogram, its count.
func values(families map[string]*dto.MetricFamily) map[string]float64 {
	all := map[string]float64{}
	for name, f := range families {
		for _, m := range f.Metric {
			key := name
			for _, l := range m.Label {
				key += "," + l.GetName() + "=" + l.GetValue()
			}
			switch {
			case m.Histogram != nil:
				all[key] = float64(m.Histogram.GetSampleCount())
			case m.Counter != nil:
				all[key] = m.Counter.GetValue()
			default:
				all[key] = m.Gauge.GetValue()
			}
		}
	}
	return all
}

func TestMetricsTellWhatWasSensedAndDone(t *testing.T) {
	c, _ := busy(t)
	got := values(scrape(t, c))
	const target = ",target=haproxy.service"
	for key, want := range map[string]float64{
		"hapressure_policy_rejected":                                                              0,
		"hapressure_tier" + target:                                                                2,
		"hapressure_tier_info" + target + ",tier=shorten":                                         1,
		"hapressure_tier_active" + target + ",tier=purge":                                         1,
		"hapressure_tier_active" + target + ",tier=shorten":                                       1,
		"hapressure_tier_active" + target + ",tier=terminate":                                     0,
		"hapressure_memory_limit_bytes,cgroup=/system.slice,kind=memory.max" + target:             1000 << 20,
		"hapressure_usage_limit_bytes,cgroup=/system.slice,kind=memory.high" + target:             1000 << 20,
		"hapressure_withheld,action=hard-stop-after" + target + ",tier=shorten":                   1,
		"hapressure_memory_used_bytes,cgroup=/system.slice,kind=memory.max" + target:              880 << 20,
		"hapressure_usage_ratio" + target:                                                         0.88,
		"hapressure_reload_room" + target:                                                         1.5,
		"hapressure_time_to_limit_seconds" + target:                                               12,
		"hapressure_pressure_stall_seconds_total,stall=some" + target:                             2.5,
		"hapressure_pressure_stall_seconds_total,stall=full" + target:                             1.5,
		"hapressure_pressure_ratio,stall=some" + target + ",window=10s":                           0.04,
		"hapressure_pressure_ratio,stall=full" + target + ",window=300s":                          0.0025,
		"hapressure_memory_events_total,event=oom_kill" + target:                                  1,
		"hapressure_workers,state=stopping" + target:                                              4,
		"hapressure_workers,state=current" + target:                                               1,
		"hapressure_workers,state=unknown" + target:                                               0,
		"hapressure_worker_private_bytes,state=stopping" + target:                                 50 << 20,
		"hapressure_worker_swapped_bytes,state=stopping" + target:                                 8 << 20,
		"hapressure_worker_kernel_bytes,state=stopping" + target:                                  2 << 20,
		"hapressure_worker_open_files,state=stopping" + target:                                    20,
		"hapressure_sock_bytes" + target:                                                          3 << 20,
		"hapressure_stopping_cache_bytes" + target:                                                300 << 20,
		"hapressure_stopping_caches_unknown" + target:                                             1,
		"hapressure_stuck_workers" + target:                                                       1,
		"hapressure_oldest_stopping_seconds" + target:                                             90,
		"hapressure_hard_stop_after_seconds" + target:                                             300,
		"hapressure_sensor_missing,sensor=master CLI" + target:                                    1,
		"hapressure_sensor_missing,sensor=memory.stat" + target:                                   0,
		"hapressure_tier_changes_total,direction=up" + target + ",tier=shorten":                   1,
		"hapressure_tier_changes_total,direction=down" + target + ",tier=purge":                   1,
		"hapressure_tier_changes_total,direction=up" + target + ",tier=terminate":                 0,
		"hapressure_actions_total,action=purge-ssl-cache,result=done" + target + ",tier=purge":    1,
		"hapressure_actions_total,action=purge-ssl-cache,result=refused" + target + ",tier=purge": 0,
		"hapressure_freed_bytes_total,action=purge-ssl-cache" + target:                            100 << 20,
		"hapressure_sessions_shut_down_total" + target:                                            9,
		"hapressure_worker_held_seconds":                                                          3,
		"hapressure_action_duration_seconds,action=purge-ssl-cache":                               2,
		"hapressure_reaction_seconds,action=purge-ssl-cache":                                      1, // not of what failed
		"hapressure_tick_duration_seconds":                                                        1,
	} {
		if value, there := got[key]; !there || value != want {
			t.Errorf("%s is %v (there: %v), want %v", key, value, there, want)
		}
	}
	for key := range got {
		if strings.Contains(key, "4711") {
			t.Errorf("%s tells a pid", key)
		}
	}
	c.KeepPolicy(fmt.Errorf("a mistake"))
	if values(scrape(t, c))["hapressure_policy_rejected"] != 1 {
		t.Error("the metrics do not show that the policy was rejected")
	}
}

// What is not known has no sample: a 0 would be a lie.
func TestAbsentReadingHasNoSample(t *testing.T) {
	c, v := busy(t)
	g := c.guards["haproxy.service"]
	no := absent("it cannot be read")
	v.Sample = policy.Sample{
		Usage: no, ReloadRoom: no, LimitIn: absent(policy.NotRising), Swap: no, SwapRoom: no, Shmem: no, SomeTotal: no, FullTotal: no,
		Some10: no, Some60: no, Some300: no, Full10: no, Full60: no, Full300: no, Events: map[string]policy.Reading{"high": no}, WorkersAbsent: "a reload",
	}
	v.sock, v.workers, v.nearest, v.most = no, nil, cgroup.Limit{}, cgroup.Limit{}
	g.state = policy.State{}
	g.published.tick(g.name, v, g.policy.Load(), &g.state, g.published.last.missing)
	var left []string
	for name := range scrape(t, c) {
		left = append(left, strings.TrimPrefix(name, "hapressure_"))
	}
	slices.Sort(left)
	want := []string{
		"action_duration_seconds", "actions_total", "build_info", "dry_run",
		"freed_bytes_total", "last_tick_timestamp_seconds", "make_room_requests_total",
		"make_room_wait_seconds", "mode", "pause_ends_timestamp_seconds", "paused",
		"policy_info", "policy_rejected", "reaction_seconds", "resident_memory_bytes",
		"sensor_missing", "sessions_shut_down_total", "tick_duration_seconds", "tier",
		"tier_active", "tier_changes_total", "tier_info", "worker_held_seconds",
	}
	if !slices.Equal(left, want) {
		t.Errorf("there are %q, want %q", left, want)
	}
}

func TestSeriesEndWithTheirTarget(t *testing.T) {
	w := &world{t: t, tree: cgrouptest.New(t), journal: newRecorder(), units: &fakeUnits{changes: make(chan string)}}
	w.tree.Group("/lb", nil)
	c := w.guard("version: 1\ntargets: [{cgroup: lb}]\ntiers: [{name: purge, enter: always, "+
		"actions: [purge-ssl-cache: {}]}]\n", false)
	ofTarget := func() (n int) {
		for key := range values(scrape(t, c)) {
			if strings.Contains(key, "target=/lb") {
				n++
			}
		}
		return n
	}
	w.journal.wait(t, "change of tier", 1, kind(TierChanged))
	if ofTarget() == 0 {
		t.Error("there are no series of it")
	}
	w.tree.Remove("/lb")
	w.journal.wait(t, "end of the target", 1, kind(TargetLost))
	if n := ofTarget(); n != 0 {
		t.Errorf("%d series are left", n)
	}
}

// The counters of a target begin when it is found and when its policy changes. A scrape
// makes none.
func TestCountersBeginWithTheirTarget(t *testing.T) {
	w := &world{t: t, tree: cgrouptest.New(t), journal: newRecorder(), units: &fakeUnits{changes: make(chan string)}}
	w.tree.Group("/lb", nil)
	doing := func(action string) string {
		return "version: 1\ntargets: [{cgroup: lb}]\ntiers: [{name: hold, enter: always, " +
			"actions: [" + action + ": {}]}]\n"
	}
	c := w.guard(doing(policy.PurgeSSLCache), false)
	counted := func() (actions []string) {
		counters := prometheus.NewRegistry()
		counters.MustRegister(c.tallies.freed)
		families, err := counters.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.Metric {
				actions = append(actions, m.Label[0].GetValue()) // the labels are sorted, and so are the metrics
			}
		}
		return actions
	}
	w.journal.wait(t, "the target", 1, kind(TargetFound))
	want := []string{policy.PurgeSSLCache}
	if got := counted(); !slices.Equal(got, want) {
		t.Errorf("after the target was found there are counters of %q, want %q", got, want)
	}
	c.SetPolicy(decode(t, doing(policy.TrimPools)), "")
	want = append(want, policy.TrimPools)
	if got := counted(); !slices.Equal(got, want) {
		t.Errorf("after the policy changed there are counters of %q, want %q", got, want)
	}
	c.tallies.forget("/lb")
	scrape(t, c)
	if got := counted(); len(got) != 0 {
		t.Errorf("a scrape made counters of %q", got)
	}
}

func TestMetricsOfARealPurge(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	w.reload()
	c := w.guard(purgeAlways, false)
	w.journal.wait(t, "purge", 1, action(policy.PurgeSSLCache))
	got := values(scrape(t, c))
	const target = ",target=haproxy.service"
	for key, least := range map[string]float64{
		"hapressure_actions_total,action=purge-ssl-cache,result=done" + target + ",tier=purge": 1,
		"hapressure_freed_bytes_total,action=purge-ssl-cache" + target:                         10 << 20,
		"hapressure_worker_held_seconds":                                                       1,
		"hapressure_reaction_seconds,action=purge-ssl-cache":                                   1,
		"hapressure_action_duration_seconds,action=purge-ssl-cache":                            1,
	} {
		if got[key] < least {
			t.Errorf("%s is %v, want %v at least", key, got[key], least)
		}
	}
}

func TestMetricsPassLint(t *testing.T) {
	c, _ := busy(t)
	all := prometheus.NewPedanticRegistry() // fails where Describe and Collect differ
	all.MustRegister(collector{c})
	families, err := all.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
}

const reference = "../docs/metrics.md"

// TestReferenceIsCurrent holds that docs/metrics.md tells of each metric that there is,
// with its labels.
func TestReferenceIsCurrent(t *testing.T) {
	c, _ := busy(t)
	families := scrape(t, c)
	described := make(chan *prometheus.Desc)
	go func() { collector{c}.Describe(described); close(described) }()
	n := 0
	for range described {
		n++
	}
	if n != len(families) {
		t.Errorf("%d metrics are described, and %d have samples", n, len(families))
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(families)) {
		f := families[name]
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		fmt.Fprintf(&b, "| %s | %s | %s | "+
			"%s |\n", name, strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	const rule = "|---|---|---|---|\n"
	head, _, found := strings.Cut(string(text), rule)
	if !found {
		t.Fatalf("%s has no table", reference)
	}
	golden.Check(t, reference, head+rule+b.String())
}
