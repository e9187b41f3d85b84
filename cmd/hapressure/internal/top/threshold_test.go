package top

import (
	"fmt"
	"strings"
	"testing"

	"hapressure/cmd/hapressure/internal/statustest"
	"hapressure/controller/status"
	"hapressure/policy"
)

// lines returns thresholds as text.
func lines(all []threshold) string {
	var parts []string
	for _, h := range all {
		parts = append(parts, fmt.Sprintf("%d at %.2f", h.tier, h.at))
	}
	return strings.Join(parts, ", ")
}

func TestMemoryThresholds(t *testing.T) {
	usage := func(tier int, percent float64) status.Threshold {
		return status.Threshold{Tier: tier, Signal: policy.Usage, Value: percent, Alone: true}
	}
	room := func(tier int, reloads float64) status.Threshold {
		return status.Threshold{Tier: tier, Signal: policy.ReloadRoom, Below: true,
			Value: reloads, Alone: true}
	}
	together := func(h status.Threshold) status.Threshold {
		h.Alone = false
		return h
	}
	for name, tt := range map[string]struct {
		thresholds []status.Threshold
		change     func(*status.Target)
		want       string
	}{
		"none": {nil, func(*status.Target) {}, ""},
		"usage alone": {[]status.Threshold{usage(1, 70), usage(3, 95)}, func(*status.Target) {},
			"1 at 0.70, 3 at 0.95"},
		// 500 of 1000 bytes are free, which is room for two reloads.
		"the earlier one": {
			[]status.Threshold{usage(1, 70), room(1, 2), usage(2, 85), room(2, 0.4)},
			func(*status.Target) {}, "1 at 0.50, 2 at 0.85"},
		"both must be met": {
			[]status.Threshold{together(usage(1, 70)), together(room(1, 2))},
			func(*status.Target) {}, "1 at 0.70"},
		"one is enough": {
			[]status.Threshold{together(usage(1, 60)), usage(1, 70)},
			func(*status.Target) {}, "1 at 0.70"},
		"usage of another limit": {[]status.Threshold{usage(1, 70), room(2, 1)},
			func(t *status.Target) { t.UsageLimit.Name = "MemAvailable" }, "2 at 0.75"},
		"unknown footprint": {[]status.Threshold{usage(1, 70), room(1, 2)},
			func(t *status.Target) { t.ReloadRoom = policy.Reading{Absent: "unknown"} },
			"1 at 0.70"},
		"at the limit": {[]status.Threshold{room(1, 2)},
			func(t *status.Target) { t.Limit.Used = 1100 }, ""},
		"more room than the limit": {[]status.Threshold{room(1, 5)}, func(*status.Target) {}, ""},
		"other signals": {[]status.Threshold{
			{Tier: 1, Signal: policy.Swap, Value: 1, Alone: true},
			{Tier: 1, Signal: policy.Usage, Below: true, Value: 10, Alone: true}},
			func(*status.Target) {}, ""},
	} {
		target := status.Target{
			Tiers: []string{"a", "b", "c"}, Thresholds: tt.thresholds,
			Limit:      status.Limit{Name: "memory.max", Bytes: 1000, Used: 500},
			UsageLimit: status.Limit{Name: "memory.max"}, ReloadRoom: policy.Reading{Value: 2},
		}
		tt.change(&target)
		if got := lines(memoryThresholds(target)); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestPressureThresholds(t *testing.T) {
	storm := statustest.Storm("haproxy.service", 2)
	if got := lines(pressureThresholds(storm, "some")); got != "1 at 5.00" {
		t.Errorf("some: %q", got)
	}
	if got := lines(pressureThresholds(storm, "full")); got != "2 at 5.00, 3 at 20.00" {
		t.Errorf("full: %q", got)
	}
}

// A tier that is always entered is as calm as none, the last one is the worst.
func TestTierStyle(t *testing.T) {
	target := status.Target{Tiers: []string{"protect", "purge", "shorten", "terminate"},
		Thresholds: []status.Threshold{{Tier: 2}}}
	for tier, want := range []any{calm, calm, mild, harsh, worst, worst} {
		if got := tierStyle(target, tier); got != want {
			t.Errorf("tier %d: %v, want %v", tier, got, want)
		}
	}
}
