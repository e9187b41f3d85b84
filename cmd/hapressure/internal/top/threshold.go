package top

import (
	"math"

	"hapressure/controller/status"
	"hapressure/policy"
)

// threshold is a value in a chart at which a tier is entered.
type threshold struct {
	tier int
	at   float64
}

// memoryThresholds returns for each tier the share of the nearest limit from which on it
// is entered, as far as usage and the room for reloads decide that.
func memoryThresholds(t status.Target) []threshold {
	return lowest(t, func(h status.Threshold) (share float64, ok bool) {
		switch {
		case h.Signal == policy.Usage && !h.Below:
			return h.Value / 100, t.UsageLimit.Name == t.Limit.Name
		case h.Signal == policy.ReloadRoom && h.Below:
			// The room is the headroom in footprints.
			headroom := float64(t.Limit.Bytes) - float64(t.Limit.Used)
			footprint := headroom / t.ReloadRoom.Value
			known := t.ReloadRoom.Absent == "" && headroom > 0 && t.ReloadRoom.Value > 0
			share = 1 - h.Value*footprint/float64(t.Limit.Bytes)
			return share, known && share > 0
		}
		return 0, false
	})
}

// pressureThresholds returns for each tier the percentage of some or full from which on
// it is entered. The policy measures it over its own time, the chart over 10 s.
func pressureThresholds(t status.Target, of string) []threshold {
	return lowest(t, func(h status.Threshold) (percent float64, ok bool) {
		return h.Value, h.Signal == policy.Pressure && h.Of == of
	})
}

// lowest returns one threshold for each tier: the lowest of those that are enough to
// enter it. If there is none, that is the highest of those that must be met together.
func lowest(t status.Target, place func(status.Threshold) (at float64, ok bool)) []threshold {
	var all []threshold
	for i := range t.Tiers {
		alone, together := math.Inf(1), math.Inf(-1)
		for _, h := range t.Thresholds {
			at, ok := place(h)
			switch {
			case !ok || h.Tier != i+1:
			case h.Alone:
				alone = min(alone, at)
			default:
				together = max(together, at)
			}
		}
		switch {
		case !math.IsInf(alone, 0):
			all = append(all, threshold{i + 1, alone})
		case !math.IsInf(together, 0):
			all = append(all, threshold{i + 1, together})
		}
	}
	return all
}
