package top

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
	"hapressure/policy"
)

// byWorst is the column of targets that sorts the worst first.
const byWorst = "TIER"

// targetColumns returns the columns of targets at a time.
func targetColumns(at time.Time) []column[status.Target] {
	reading := func(
		name string, rank int, get func(status.Target) policy.Reading,
		format func(policy.Reading) string,
	) column[status.Target] {
		return column[status.Target]{
			name: name, rank: rank,
			cell:  func(t status.Target) string { return format(get(t)) },
			order: func(a, b status.Target) int { return descending(known(get(a)), known(get(b))) },
		}
	}
	size := func(name string, rank int, get func(status.Target) uint64) column[status.Target] {
		return column[status.Target]{
			name: name, rank: rank,
			cell:  func(t status.Target) string { return render.Size(get(t)) },
			order: func(a, b status.Target) int { return cmp.Compare(get(b), get(a)) },
		}
	}
	room := reading("ROOM", 0, func(t status.Target) policy.Reading { return t.ReloadRoom },
		func(r policy.Reading) string {
			return render.Known(known(r), func(v float64) string { return fmt.Sprintf("%.1f", v) })
		})
	room.order = leastRoom
	return []column[status.Target]{
		{name: "TARGET", left: true, cell: func(t status.Target) string { return t.Name }},
		{name: byWorst, left: true, cell: tierText, order: worse},
		{
			name: "FOR", rank: 3, cell: func(t status.Target) string {
				return render.Known(t.TierSince, func(since time.Time) string {
					return render.Since(at, since)
				})
			},
		},
		size("USED", 2, func(t status.Target) uint64 { return t.Limit.Used }),
		size("LIMIT", 2, func(t status.Target) uint64 { return t.Limit.Bytes }),
		reading("USAGE", 0, func(t status.Target) policy.Reading { return t.Usage },
			render.Percent),
		room,
		reading("SOME", 0, func(t status.Target) policy.Reading { return t.Some10 },
			render.Percent),
		reading("FULL", 0, func(t status.Target) policy.Reading { return t.Full10 },
			render.Percent),
		{
			name: "STOPPING", rank: 1,
			cell: func(t status.Target) string { return strconv.Itoa(t.Stopping.Workers) },
			order: func(a, b status.Target) int {
				return cmp.Compare(b.Stopping.Workers, a.Stopping.Workers)
			},
		},
		size("HELD", 1, func(t status.Target) uint64 {
			return t.Stopping.Cache + t.Stopping.OtherShared + t.Stopping.Private
		}),
		reading("SWAP", 3, func(t status.Target) policy.Reading { return t.Swap },
			func(r policy.Reading) string {
				return render.Known(known(r), func(v float64) string {
					return render.Size(uint64(v))
				})
			}),
		reading("OOM KILLS", 3, func(t status.Target) policy.Reading {
			return t.Events["oom_kill"]
		}, func(r policy.Reading) string {
			return render.Known(known(r), func(v float64) string { return fmt.Sprintf("%.0f", v) })
		}),
	}
}

// known returns the value of a reading, nil if it is absent.
func known(r policy.Reading) *float64 {
	if r.Absent != "" {
		return nil
	}
	return &r.Value
}

// tierText returns the number and the name of the tier of a target.
func tierText(t status.Target) string {
	if t.Tier < 1 || t.Tier > len(t.Tiers) {
		return "none"
	}
	return fmt.Sprintf("%d %s", t.Tier, t.Tiers[t.Tier-1])
}

// worse sorts the worst target first: the one in the highest tier, then the one with the
// least room.
func worse(a, b status.Target) int {
	return cmp.Or(cmp.Compare(b.Tier, a.Tier), leastRoom(a, b),
		descending(known(a.Usage), known(b.Usage)))
}

// leastRoom sorts the target with the least room for reloads first.
func leastRoom(a, b status.Target) int {
	x, y := known(a.ReloadRoom), known(b.ReloadRoom)
	if x == nil || y == nil {
		return descending(x, y)
	}
	return cmp.Compare(*x, *y)
}
