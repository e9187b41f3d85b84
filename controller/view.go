package controller

import (
	"cmp"
	"fmt"

	"hapressure/cgroup"
	"hapressure/haproxy"
	"hapressure/policy"
)

// view is what one tick senses: the sample that the policy decides on, and what reports
// add to it.
type view struct {
	policy.Sample
	nearest cgroup.Limit   // the one with the least headroom
	most    cgroup.Limit   // the one of which the largest share is used
	sock    policy.Reading // of memory.stat
	// footprint is what the current worker holds, in bytes; 0 = not known.
	footprint uint64

	found   []haproxy.Instance
	workers []haproxy.Worker // of all of them
}

// line describes the target in one line, for systemctl status.
func (v view) line(name, tier string) string {
	stopping := 0
	for _, w := range v.workers {
		if w.State == haproxy.StateStopping {
			stopping++
		}
	}
	s := fmt.Sprintf("%s: tier %s, %.0f%% of %s used",
		name, cmp.Or(tier, none), v.nearest.Percent(), mib(v.nearest.Bytes))
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
