package policy

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Reading is one sensed value, or the reason there is none. A reading that is not there is never taken for 0.
type Reading struct {
	Value  float64
	Absent string // not empty: why there is no value
}

// MarshalJSON writes the value as a number, or as a string why there is none. What JSON has no number for is a string, too: "NaN".
func (r Reading) MarshalJSON() ([]byte, error) {
	switch {
	case r.Absent != "":
		return json.Marshal(r.Absent)
	case math.IsNaN(r.Value) || math.IsInf(r.Value, 0):
		return json.Marshal(strconv.FormatFloat(r.Value, 'g', -1, 64))
	}
	return json.Marshal(r.Value)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Reading) UnmarshalJSON(b []byte) error {
	*r = Reading{}
	if err := json.Unmarshal(b, &r.Absent); err != nil {
		return json.Unmarshal(b, &r.Value)
	}
	if v, err := strconv.ParseFloat(r.Absent, 64); err == nil {
		*r = Reading{Value: v}
	}
	return nil
}

// NotRising is the Absent of Sample.LimitIn when usage does not rise. It is the one absence that is knowledge: the
// limit is then taken to be infinitely far away.
const NotRising = "not rising"

// Sample is what was sensed of one target in one tick.
type Sample struct {
	Now time.Duration `json:"Now"` // monotonic time since an arbitrary start

	Usage      Reading `json:"Usage"`            // percent of a limit: the largest of the group, its ancestors and the host
	ReloadRoom Reading `json:"ReloadRoom"`       // reloads that still fit under the limit
	LimitIn    Reading `json:"LimitIn"`          // seconds to the limit at the present slope; see NotRising
	UsageOf    Limit   `json:"UsageOf,omitzero"` // the limit that Usage is of: the one that is used most
	RoomOf     Limit   `json:"RoomOf,omitzero"`  // the limit that ReloadRoom and LimitIn are of: the one with the least headroom

	// PressureAt is when the totals had been read, on the clock of Now; 0 = at Now. They grew from one sample to the next in the time from
	// the Now of the first to the PressureAt of the second, at the most.
	PressureAt    time.Duration      `json:"PressureAt,omitzero"`
	SomeTotal     Reading            `json:"SomeTotal"` // total= of memory.pressure, microseconds
	FullTotal     Reading            `json:"FullTotal"`
	Some10        Reading            `json:"Some10"` // avg10=, avg60= and avg300= of memory.pressure's some line, percent
	Some60        Reading            `json:"Some60"`
	Some300       Reading            `json:"Some300"`
	Full10        Reading            `json:"Full10"` // the same of its full line
	Full60        Reading            `json:"Full60"`
	Full300       Reading            `json:"Full300"`
	Events        map[string]Reading `json:"Events"`        // memory.events by the kernel's key (high, max, oom, oom_kill), counts since the group was made
	Swap          Reading            `json:"Swap"`          // memory.swap.current, bytes
	SwapRoom      Reading            `json:"SwapRoom"`      // what could still be swapped out, bytes
	Shmem         Reading            `json:"Shmem"`         // shmem of memory.stat, bytes
	Workers       []Worker           `json:"Workers"`       // in any order
	WorkersAbsent string             `json:"WorkersAbsent"` // not empty: why the workers could not be listed; Workers then says nothing
}

// WorkerID names a process for good: a pid alone is reused.
type WorkerID struct {
	PID   int    `json:"PID"`
	Start uint64 `json:"Start"` // start time in clock ticks since boot, field 22 of /proc/PID/stat
}

// Worker is one HAProxy worker as sensed.
type Worker struct {
	ID          WorkerID      `json:"ID"`
	Generation  int           `json:"Generation"` // 1 is the oldest; the same generation keeps its number, and numbers are not reused
	State       WorkerState   `json:"State"`
	StoppingFor time.Duration `json:"StoppingFor"` // since it was first known to be stopping
	Cache       Cache         `json:"Cache"`
	// What it holds, in bytes and open files; 0 = not known. An action that gave nothing is done again when these have changed.
	Private    uint64 `json:"Private"`
	RAM        uint64 `json:"RAM"`
	Files      int    `json:"Files"`
	CacheBytes uint64 `json:"CacheBytes"` // what the cache holds; 0 while that is not known
}

// WorkerState is what is proven about a worker.
type WorkerState string

// Only a Stopping worker is ever given in a Due.
const (
	Unknown  WorkerState = "" // nothing is proven: left alone, like a current one
	Current  WorkerState = "current"
	Stopping WorkerState = "stopping"
)

// Cache is the state of a worker's TLS session cache.
type Cache string

const (
	CacheUnknown Cache = ""      // not looked at yet
	CacheFull    Cache = "full"  // holds memory and can be purged
	CacheEmpty   Cache = "empty" // nothing to free
)
