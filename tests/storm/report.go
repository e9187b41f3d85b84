package main

import (
	"encoding/json"
	"fmt"
)

// report is the damage: the JSON line. A pointer is null if the figure is not known.
type report struct {
	Kind               string         `json:"kind"`
	LimitBytes         *int64         `json:"limit_bytes"` // null: the unit has no limit
	Reloads            int            `json:"reloads"`
	ReloadsFailed      int            `json:"reloads_failed"`
	ReloadsBroken      int            `json:"reloads_broken_on_purpose"`
	ReloadErrors       []string       `json:"reload_errors"`
	OOMKills           *int64         `json:"oom_kills"`
	TunnelsOpened      int            `json:"tunnels_opened"`
	TunnelsAlive       int            `json:"tunnels_alive"`
	TunnelsBroken      int            `json:"tunnels_broken"`
	BrokenByGeneration map[int]int    `json:"broken_by_generation"`
	Broken             []brokenTunnel `json:"broken"`
	FreshOK            int            `json:"fresh_ok"`
	FreshFailed        int            `json:"fresh_failed"`
	FreshErrors        []string       `json:"fresh_errors"` // the first few
	FreshSlowestMs     int64          `json:"fresh_slowest_ms"`
	PeakBytes          *int64         `json:"peak_bytes"`
	EndBytes           *int64         `json:"end_bytes"`
	StallSomeUs        *int64         `json:"stall_some_us"`
	StallFullUs        *int64         `json:"stall_full_us"`
	WorkersEnd         *int           `json:"workers_end"`
	LiveWorkerKept     bool           `json:"live_worker_kept"`
	LiveWorkerLost     int            `json:"live_worker_lost"`
	Seconds            float64        `json:"seconds"`
	Notes              []string       `json:"notes"` // what the storm itself could not do or see
}

// newReport starts a report whose lists are empty and not null.
func newReport(s settings) report {
	return report{Kind: s.Kind, Reloads: s.Reloads, ReloadErrors: []string{}, Notes: []string{}}
}

func (r *report) line() ([]byte, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("writing the report: %w", err)
	}
	return append(line, '\n'), nil
}

// addMemory fills in what the meter has seen by now.
func (r *report) addMemory(m *meter) {
	if limit, err := m.bytes("memory.max"); err == nil {
		r.LimitBytes = &limit
	}
	if end, err := m.bytes("memory.current"); err == nil {
		r.EndBytes = &end
	}
	sum, peak := m.result()
	r.PeakBytes = peak
	if sum != nil {
		r.OOMKills = &sum.OOMKill
		if !sum.NoStalls {
			r.StallSomeUs, r.StallFullUs = &sum.StallSome, &sum.StallFull
		}
	}
}

func (r *report) addTunnels(t *tunnels) {
	r.TunnelsOpened, r.Broken = t.count()
	r.TunnelsBroken = len(r.Broken)
	r.TunnelsAlive = r.TunnelsOpened - r.TunnelsBroken
	r.BrokenByGeneration = map[int]int{}
	for _, b := range r.Broken {
		r.BrokenByGeneration[b.Generation]++
	}
}

func (r *report) addFresh(f *fresh) {
	stats := f.result()
	r.FreshOK, r.FreshFailed, r.FreshErrors = stats.ok, stats.failed, stats.errors
	r.FreshSlowestMs = stats.slowest.Milliseconds()
}
