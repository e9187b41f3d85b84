package policy

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Reading is one sensed value, or the reason why there is none. An absent reading is
// never taken for 0.
type Reading struct {
	Value  float64
	Absent string // why there is no value; "" = there is one
}

// MarshalJSON writes the value as a number, and the reason of an absence as a string.
// Values that JSON has no number for are strings as well: "NaN".
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

// NotRising is the Absent of Sample.LimitIn when usage does not rise. It is the only
// absence that is information: the limit counts as infinitely far away.
const NotRising = "not rising"

// Sample is what was sensed of one target in one tick.
type Sample struct {
	Now  time.Duration `json:"Now"`           // monotonic time since an arbitrary start
	Mode Mode          `json:"Mode,omitzero"` // what is performed of the actions that are due

	Usage      Reading `json:"Usage"`            // percent of UsageOf
	ReloadRoom Reading `json:"ReloadRoom"`       // how many more reloads fit under RoomOf
	LimitIn    Reading `json:"LimitIn"`          // seconds to RoomOf; see NotRising
	UsageOf    Limit   `json:"UsageOf,omitzero"` // the limit that is used most
	RoomOf     Limit   `json:"RoomOf,omitzero"`  // the limit with the least headroom
	// RoomWanted is how many reloads a client waits to fit; 0 = none waits.
	RoomWanted float64 `json:"RoomWanted,omitzero"`

	// PressureAt is when the totals had been read, on the clock of Now; 0 = at Now. From
	// one sample to the next the totals grew during the time from the first Now to the
	// second PressureAt, at most.
	PressureAt time.Duration `json:"PressureAt,omitzero"`
	SomeTotal  Reading       `json:"SomeTotal"` // total= of memory.pressure's some line, in µs
	FullTotal  Reading       `json:"FullTotal"` // total= of its full line, in µs
	Some10     Reading       `json:"Some10"`    // avg10= of its some line, percent
	Some60     Reading       `json:"Some60"`
	Some300    Reading       `json:"Some300"`
	Full10     Reading       `json:"Full10"` // avg10= of its full line, percent
	Full60     Reading       `json:"Full60"`
	Full300    Reading       `json:"Full300"`

	// Events holds the counts of memory.events since the cgroup was created, by the
	// kernel's key: high, max, oom, oom_kill.
	Events   map[string]Reading `json:"Events"`
	Swap     Reading            `json:"Swap"`     // memory.swap.current, bytes
	SwapRoom Reading            `json:"SwapRoom"` // what can still be swapped out, bytes
	Shmem    Reading            `json:"Shmem"`    // shmem of memory.stat, bytes

	Workers []Worker `json:"Workers"` // in any order
	// WorkersAbsent is why the workers could not be listed. Unless it is "", Workers has
	// no meaning.
	WorkersAbsent string `json:"WorkersAbsent"`
}

// WorkerID identifies a process uniquely. A pid alone is reused.
type WorkerID struct {
	PID   int    `json:"PID"`
	Start uint64 `json:"Start"` // field 22 of /proc/PID/stat, clock ticks since boot
}

// Worker is one HAProxy worker as sensed.
type Worker struct {
	ID          WorkerID      `json:"ID"`
	Generation  int           `json:"Generation"` // 1 is the oldest; numbers are not reused
	State       WorkerState   `json:"State"`
	StoppingFor time.Duration `json:"StoppingFor"` // since it was first known to be stopping
	Cache       Cache         `json:"Cache"`
	// What it holds; 0 = not known. An action without effect is repeated when these have
	// changed.
	Private    uint64 `json:"Private"`          // private memory in bytes, in RAM or swapped out
	Swapped    uint64 `json:"Swapped,omitzero"` // of Private, what is swapped out
	RAM        uint64 `json:"RAM"`              // private and shared memory in RAM, in bytes
	Files      int    `json:"Files"`            // open files
	CacheBytes uint64 `json:"CacheBytes"`
	// Connections are those of clients, of a stopping worker; nil = not known. They are
	// counted only for a policy that orders by them: see State.CountsConnections.
	Connections *int `json:"Connections,omitempty"`
	// OOMScoreAdj is its oom_score_adj; see Protect.
	OOMScoreAdj int `json:"OOMScoreAdj,omitzero"`
}

// WorkerState is what is proven about a worker.
type WorkerState string

// The states of a worker. A Due names Stopping workers only.
const (
	Unknown  WorkerState = "" // nothing is proven: left alone, like a current worker
	Current  WorkerState = "current"
	Stopping WorkerState = "stopping"
)

// Cache is the state of a worker's TLS session cache.
type Cache string

// The states of a cache.
const (
	CacheUnknown Cache = ""      // not read yet
	CacheFull    Cache = "full"  // holds memory and can be purged
	CacheEmpty   Cache = "empty" // nothing to free
)
