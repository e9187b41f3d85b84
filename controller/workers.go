package controller

import (
	"context"
	"fmt"
	"time"

	"hapressure/haproxy"
)

// Master and Worker are what people are told; null in JSON is what is not known or not set, and the field of the same name with _error says
// why.
type Master struct {
	PID           int      `json:"pid"`                             // of the master
	CLIError      string   `json:"cli_error,omitempty"`             // why a worker that may be stopping cannot be asked
	HardStopAfter *float64 `json:"hard_stop_after_seconds"`         // of HAProxy's configuration files as they are now
	HardStopError string   `json:"hard_stop_after_error,omitempty"` // why that is not known
	Workers       []Worker `json:"workers"`                         // the oldest first
}

// Worker is one worker of a Master.
type Worker struct {
	PID         int      `json:"pid"`                         // of the worker
	Generation  int      `json:"generation"`                  // 1 is the oldest since the daemon began
	State       string   `json:"state"`                       // current, stopping or unknown
	Proof       string   `json:"proof"`                       // what that rests on
	Age         float64  `json:"age_seconds"`                 // since its process began
	StoppingFor *float64 `json:"stopping_for_seconds"`        // since it was first known to be stopping
	HardStopIn  *float64 `json:"hard_stop_in_seconds"`        // by its own hard-stop-after or the policy's, whichever comes first
	Connections *int     `json:"connections"`                 // open ones of clients of one that is stopping; others are not asked
	ConnError   string   `json:"connections_error,omitempty"` // why they are not known
	Cache       *uint64  `json:"cache_bytes"`                 // the TLS session cache of one that is stopping
	CacheError  string   `json:"cache_error,omitempty"`       // why it is not known
	Private     *uint64  `json:"private_bytes"`               // memory of its own
	Shared      *uint64  `json:"shared_bytes"`                // shared anonymous memory, the cache with it
	SizeError   string   `json:"size_error,omitempty"`        // why these two are not known
}

// describeTime bounds the questions of one DescribeMasters. A worker that does not answer takes 2 s of it.
const describeTime = 3 * time.Second

var errNoDescribeTime = fmt.Errorf("not asked: other workers took more than %v to answer", describeTime)

// DescribeMasters asks the workers found for what a look in each tick leaves out, for describeTime at most. limit is the policy's
// effective hard-stop-after in seconds, nil for none.
func DescribeMasters(ctx context.Context, procfs string, found []haproxy.Instance, limit *float64) []Master {
	ctx, cancel := context.WithTimeoutCause(ctx, describeTime, errNoDescribeTime)
	defer cancel()
	masters := []Master{}
	for _, in := range found {
		m := Master{PID: in.Master.PID, CLIError: text(in.CLIErr), Workers: []Worker{}}
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
				if in := max(0, *limit-*row.StoppingFor); row.HardStopIn == nil || in < *row.HardStopIn {
					row.HardStopIn = &in
				}
			}
			m.Workers = append(m.Workers, row)
		}
		masters = append(masters, m)
	}
	return masters
}

func describeWorker(ctx context.Context, w haproxy.Worker) Worker {
	row := Worker{PID: w.PID, Generation: w.Generation, State: w.State.String(), Proof: w.Why, Age: w.Age.Seconds()}
	if w.State == haproxy.Stopping {
		row.StoppingFor = new(w.StoppingFor.Seconds())
		if row.CacheError = text(w.CacheErr); w.CacheErr == nil {
			row.Cache = &w.Cache
		}
	}
	if w.State == haproxy.Stopping && w.SizeErr == nil {
		w.Shared, w.SizeErr = w.SharedMemory(ctx)
	}
	if row.SizeError = text(w.SizeErr); w.SizeErr == nil {
		row.Private, row.Shared = &w.Private, &w.Shared
	}
	if n, err := w.Connections(ctx); err != nil {
		row.ConnError = err.Error()
	} else {
		row.Connections = &n
	}
	return row
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
