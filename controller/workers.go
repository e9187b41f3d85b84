package controller

import (
	"context"

	"hapressure/haproxy"
)

// Master and Worker are what people are told; null in JSON is what is not known or not set, and the field of the same name with _error says
// why.
type Master struct {
	PID           int      `json:"pid"`
	CLIError      string   `json:"cli_error,omitempty"`
	HardStopAfter *float64 `json:"hard_stop_after_seconds"`
	HardStopError string   `json:"hard_stop_after_error,omitempty"`
	Workers       []Worker `json:"workers"`
}

// Worker is one worker of a Master.
type Worker struct {
	PID         int      `json:"pid"`
	Generation  int      `json:"generation"`
	State       string   `json:"state"`
	Proof       string   `json:"proof"`
	Age         float64  `json:"age_seconds"`
	StoppingFor *float64 `json:"stopping_for_seconds"`
	HardStopIn  *float64 `json:"hard_stop_in_seconds"` // by its own hard-stop-after or the policy's, whichever comes first
	Connections *int     `json:"connections"`
	ConnError   string   `json:"connections_error,omitempty"`
	Cache       *uint64  `json:"cache_bytes"`
	CacheError  string   `json:"cache_error,omitempty"`
	Private     *uint64  `json:"private_bytes"`
	Shared      *uint64  `json:"shared_bytes"`
	SizeError   string   `json:"size_error,omitempty"`
}

// DescribeMasters asks the workers found for what a look in each tick leaves out. limit is the policy's effective hard-stop-after in
// seconds, nil for none.
func DescribeMasters(ctx context.Context, procfs string, found []haproxy.Instance, limit *float64) []Master {
	masters := []Master{}
	for _, in := range found {
		m := Master{PID: in.Master.PID, CLIError: text(in.CLIErr), Workers: []Worker{}}
		own, set, err := haproxy.NewScanner(procfs).HardStopAfter(in)
		m.HardStopError = text(err)
		if set {
			m.HardStopAfter = new(own.Seconds())
		}
		for _, w := range in.Workers {
			row := describeWorker(ctx, procfs, w)
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

func describeWorker(ctx context.Context, procfs string, w haproxy.Worker) Worker {
	row := Worker{PID: w.PID, Generation: w.Generation, State: w.State.String(), Proof: w.Why, Age: w.Age.Seconds()}
	if w.State == haproxy.Stopping {
		row.StoppingFor = new(w.StoppingFor.Seconds())
		if row.CacheError = text(w.CacheErr); w.CacheErr == nil {
			row.Cache = &w.Cache
		}
	}
	if w.State == haproxy.Stopping && w.SizeErr == nil {
		w.Shared, w.SizeErr = shared(procfs, w)
	}
	if row.SizeError = text(w.SizeErr); w.SizeErr == nil {
		row.Private, row.Shared = &w.Private, &w.Shared
	}
	if info, err := w.ShowInfo(ctx); err != nil {
		row.ConnError = err.Error()
	} else {
		row.Connections = &info.Connections
	}
	return row
}

// shared measures what a look in each tick leaves out.
func shared(procfs string, w haproxy.Worker) (uint64, error) {
	p, err := haproxy.OpenProcess(procfs, w.ID)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	return p.SharedMemory()
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
