package controller

import (
	"context"
	"fmt"
	"time"

	"hapressure/cgroup"
	"hapressure/controller/status"
	"hapressure/haproxy"
)

func limitStatus(l cgroup.Limit) status.Limit {
	return status.Limit{Name: l.String(), Bytes: l.Bytes, Used: l.Usage}
}

// describeTime bounds one DescribeMasters. A silent worker takes 2 s of it.
const describeTime = 3 * time.Second

var errNoDescribeTime = fmt.Errorf("not asked: other workers took more than %v to answer",
	describeTime)

// DescribeMasters describes instances, and asks their stopping workers for what a scan
// does not ask, for describeTime at most. limit is the policy's effective hard-stop-after
// in seconds, nil for none.
func DescribeMasters(
	ctx context.Context, procfs string, found []haproxy.Instance, limit *float64,
) []status.Master {
	ctx, cancel := context.WithTimeoutCause(ctx, describeTime, errNoDescribeTime)
	defer cancel()
	masters := []status.Master{}
	for _, in := range found {
		m := status.Master{
			PID: in.Master.PID, CLIError: text(in.CLIErr), Workers: []status.Worker{},
		}
		own, set, err := haproxy.HardStopAfter(procfs, in)
		m.HardStopError = text(err)
		if set {
			m.HardStopAfter = new(own.Seconds())
		}
		for _, w := range in.Workers {
			row := describeWorker(ctx, w)
			for _, limit := range []*float64{m.HardStopAfter, limit} {
				if limit == nil || row.StoppingFor == nil {
					continue
				}
				in := max(0, *limit-*row.StoppingFor)
				if row.HardStopIn == nil || in < *row.HardStopIn {
					row.HardStopIn = &in
				}
			}
			m.Workers = append(m.Workers, row)
		}
		masters = append(masters, m)
	}
	return masters
}

// DescribeLeftOut describes the processes that a scan has left out.
func DescribeLeftOut(leftOut []haproxy.LeftOut) []status.LeftOut {
	all := []status.LeftOut{}
	for _, p := range leftOut {
		all = append(all, status.LeftOut(p))
	}
	return all
}

func describeWorker(ctx context.Context, w haproxy.Worker) status.Worker {
	row := status.Worker{
		PID: w.PID, Generation: w.Generation, State: w.State.String(), Proof: w.Why,
		ReplacedBy: w.ReplacedBy, Age: w.Age.Seconds(),
	}
	if w.State == haproxy.StateStopping {
		row.StoppingFor = new(w.StoppingFor.Seconds())
		if row.CacheError = text(w.CacheErr); w.CacheErr == nil {
			row.Cache = &w.Cache
		}
	}
	if w.State == haproxy.StateStopping && w.SizeErr == nil {
		w.Shared, w.SizeErr = w.SharedMemory(ctx)
	}
	if row.SizeError = text(w.SizeErr); w.SizeErr == nil {
		row.Private, row.Shared = &w.Private, &w.Shared
		row.Swapped, row.MappedFiles, row.Kernel = &w.Swapped, &w.Mapped, &w.Kernel
	}
	if w.Files > 0 {
		row.OpenFiles = &w.Files
	}
	if n, err := w.Connections(ctx); err != nil {
		row.ConnError = err.Error()
	} else {
		row.Connections = &n
	}
	return row
}
