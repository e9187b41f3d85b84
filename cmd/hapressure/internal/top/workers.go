package top

import (
	"cmp"
	"slices"
	"strconv"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
)

// The columns of workers that have a key of their own.
const (
	byGeneration  = "GEN"
	byCache       = "CACHE"
	byConnections = "CONNS"
	byAge         = "AGE"
)

// ofStates and ofKinds are the columns of workers that give way last.
var (
	ofStates = []string{byAge, "STOPPING", byConnections, byCache, "PRIVATE", "HARD STOP"}
	ofKinds  = []string{byCache, "SHARED", "PRIVATE", "SWAPPED", "KERNEL", "FILES"}
)

// workerColumns returns the columns of workers, and those named first if not all fit.
func workerColumns(first []string) []column[status.Worker] {
	pointer := func(name string, get func(status.Worker) *uint64) column[status.Worker] {
		return column[status.Worker]{
			name: name,
			cell: func(w status.Worker) string { return render.Known(get(w), render.Size) },
			order: func(a, b status.Worker) int {
				return descending(get(a), get(b))
			},
		}
	}
	seconds := func(name string, get func(status.Worker) *float64) column[status.Worker] {
		return column[status.Worker]{
			name: name,
			cell: func(w status.Worker) string { return render.Known(get(w), render.Span) },
			order: func(a, b status.Worker) int {
				return descending(get(a), get(b))
			},
		}
	}
	count := func(name string, get func(status.Worker) *int) column[status.Worker] {
		return column[status.Worker]{
			name: name,
			cell: func(w status.Worker) string { return render.Known(get(w), strconv.Itoa) },
			order: func(a, b status.Worker) int {
				return descending(get(a), get(b))
			},
		}
	}
	hardStop := seconds("HARD STOP", func(w status.Worker) *float64 { return w.HardStopIn })
	hardStop.order = func(a, b status.Worker) int { // the soonest first
		if a.HardStopIn == nil || b.HardStopIn == nil {
			return descending(a.HardStopIn, b.HardStopIn)
		}
		return cmp.Compare(*a.HardStopIn, *b.HardStopIn)
	}
	all := []column[status.Worker]{
		{
			name: byGeneration,
			cell: func(w status.Worker) string { return strconv.Itoa(w.Generation) },
			order: func(a, b status.Worker) int {
				return cmp.Compare(a.Generation, b.Generation)
			},
		},
		{name: "PID", cell: func(w status.Worker) string { return strconv.Itoa(w.PID) }},
		{name: "STATE", cell: func(w status.Worker) string { return w.State }},
		{
			name:  byAge,
			cell:  func(w status.Worker) string { return render.Span(w.Age) },
			order: func(a, b status.Worker) int { return cmp.Compare(b.Age, a.Age) },
		},
		seconds("STOPPING", func(w status.Worker) *float64 { return w.StoppingFor }),
		count(byConnections, func(w status.Worker) *int { return w.Connections }),
		pointer(byCache, func(w status.Worker) *uint64 { return w.Cache }),
		pointer("SHARED", func(w status.Worker) *uint64 { return w.Shared }),
		pointer("PRIVATE", func(w status.Worker) *uint64 { return w.Private }),
		pointer("SWAPPED", func(w status.Worker) *uint64 { return w.Swapped }),
		pointer("KERNEL", func(w status.Worker) *uint64 { return w.Kernel }),
		count("FILES", func(w status.Worker) *int { return w.OpenFiles }),
		hardStop,
	}
	for i := range all {
		switch c := &all[i]; {
		case i < 3:
		case slices.Contains(first, c.name):
			c.rank = 1
		default:
			c.rank = 2
		}
	}
	return append(all, column[status.Worker]{
		name: "PROOF", rank: 3, left: true, cell: func(w status.Worker) string { return w.Proof },
	})
}
