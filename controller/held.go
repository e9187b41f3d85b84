package controller

import (
	"context"
	"fmt"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
)

// HeldByStopping sums up what the stopping workers of masters hold.
func HeldByStopping(masters []status.Master) (sum status.Memory) {
	for _, m := range masters {
		for _, w := range m.Workers {
			if w.State == haproxy.StateStopping.String() {
				add(&sum, w)
			}
		}
	}
	return sum
}

func add(sum *status.Memory, w status.Worker) {
	sum.Workers++
	if w.OpenFiles != nil {
		sum.OpenFiles += *w.OpenFiles
	}
	if w.Private == nil {
		sum.Incomplete = true
		return
	}
	var cache uint64
	if w.Cache != nil {
		cache = *w.Cache
	}
	sum.Cache += cache
	sum.OtherShared += *w.Shared - min(*w.Shared, cache) // a cache that is not recognised, too
	sum.Private += *w.Private
	sum.Swapped += *w.Swapped
	sum.Kernel += *w.Kernel
}

// detailTime bounds one AddDetail. A silent worker takes 2 s of it.
const detailTime = 30 * time.Second

var errNoDetailTime = fmt.Errorf("not asked: other workers took more than %v to answer",
	detailTime)

// AddDetail enters what makes up the memory of the stopping workers that were found into
// their descriptions. It asks each of them, for detailTime at most, and calls progress
// before each.
func AddDetail(
	ctx context.Context, masters []status.Master, found []haproxy.Instance,
	progress func(done, of int),
) {
	ctx, cancel := context.WithTimeoutCause(ctx, detailTime, errNoDetailTime)
	defer cancel()
	of := HeldByStopping(masters).Workers
	done := 0
	for i, in := range found {
		for j, w := range in.Workers {
			if w.State == haproxy.StateStopping {
				progress(done, of)
				masters[i].Workers[j].Detail = describeDetail(w.Detail(ctx))
				done++
			}
		}
	}
}

func describeDetail(d haproxy.Detail) *status.Detail {
	row := &status.Detail{MemoryError: text(d.MemoryErr), QuestionsError: text(d.QuestionsErr)}
	if d.MemoryErr == nil {
		row.HTTPCaches, row.HugePages = &d.HTTPCaches, &d.HugePages
	}
	if d.QuestionsErr == nil {
		row.PoolsHeld, row.PoolsUsed = &d.PoolsHeld, &d.PoolsUsed
		row.Contents = &status.Contents{
			MapEntries: d.Contents.MapEntries, ACLEntries: d.Contents.ACLEntries,
			Largest: d.Contents.Largest.File, LargestEntries: d.Contents.Largest.Entries,
			Certificates: d.Contents.Certificates, Backends: d.Contents.Backends,
			Servers: d.Contents.Servers,
		}
	}
	return row
}
