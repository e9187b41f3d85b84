// Package status is the JSON that the daemon answers at its control socket and that
// "hapressure status --json" prints.
//
// Sizes are in bytes. A reading is a number, or a string that says why there is none.
// null means not known or not set. docs/status.md is generated from the comments of the
// fields.
package status

import (
	"fmt"
	"strings"
	"time"

	"hapressure/policy"
)

// Status is the state of all targets.
type Status struct {
	At      time.Time `json:"at"`      // when this was made
	Daemon  *Daemon   `json:"daemon"`  // null: hapressure inspected the host without a daemon
	Policy  Policy    `json:"policy"`  // the one in force
	Mode    Mode      `json:"mode"`    // of targets without a mode or a pause of their own
	Systemd Systemd   `json:"systemd"` // how units are found
	Targets []Target  `json:"targets"` // the policy's targets that run, by name
}

// Daemon describes the daemon itself.
type Daemon struct {
	Version string    `json:"version"` // of hapressure
	PID     int       `json:"pid"`     // its process
	Started time.Time `json:"started"` // when it started
	DryRun  bool      `json:"dry_run"` // it changes no worker
	// What the kernel must allow and does not, as the daemon found at its start in its
	// sandbox.
	MissingRights []Privilege `json:"missing_rights"`
	// Where it records samples, decisions and outcomes; null: nowhere.
	Recordings *Recordings `json:"recordings"`
}

// Privilege is something that the kernel must allow and does not.
type Privilege struct {
	Name    string   `json:"name"`    // a capability, a system call or a setting
	Actions []string `json:"actions"` // of policies that need it; none: all work without it
	Where   string   `json:"where"`   // they cannot be done; empty = everywhere
	Why     string   `json:"why"`     // it is needed
	Missing string   `json:"missing"` // what shows that it is missing
	Remedy  string   `json:"remedy"`  // what to do
}

// String says what is missing, and what is not possible without it.
func (p Privilege) String() string {
	lost := strings.Join(p.Actions, ", ") + " cannot be done"
	switch len(p.Actions) {
	case 0:
		lost = "every action can be done"
	case len(policy.Kinds):
		lost = "no action can be done"
	}
	text := fmt.Sprintf("%s: %s; needed to %s; %s %s", p.Name, p.Missing, p.Why, lost, p.Where)
	return strings.TrimSpace(text)
}

// Recordings describes where the daemon records, and how much.
type Recordings struct {
	Dir            string `json:"dir"`              // the folder, with a folder for each target
	BytesPerTarget int64  `json:"bytes_per_target"` // bound of each guarded target's recordings
}

// Systemd describes how units are found.
type Systemd struct {
	// D-Bus, systemd's private socket or the cgroup tree; empty if the policy names no
	// unit
	By    string `json:"by"`
	Lacks string `json:"lacks,omitempty"` // what is not possible that way
	Why   string `json:"why,omitempty"`   // why it is not D-Bus
}

// Policy describes the policy in force.
type Policy struct {
	Origin string    `json:"origin"` // its files, in words
	SHA256 string    `json:"sha256"` // of its source, drop-ins included
	Since  time.Time `json:"since"`  // when it came into force
	// The mistakes in the files as they are now, because of which an older policy is in
	// force
	Rejected string `json:"rejected,omitempty"`
}

// Mode is how much of the policy is performed.
type Mode struct {
	InForce policy.Mode `json:"in_force"` // observe, purge-only or full
	// By "hapressure mode"; in force unless why says otherwise
	Set    policy.Mode `json:"set"`
	Paused bool        `json:"paused"` // by "hapressure pause": then observe is in force
	// When the pause ends by itself; null: never, or there is none
	PausedUntil *time.Time `json:"paused_until"`
	Why         string     `json:"why"` // why that mode is in force
}

// Acts reports whether every action of the policy is performed. The zero Mode, of a
// daemon that does not report one, does.
func (m Mode) Acts() bool { return m.InForce == policy.Full || m.InForce == "" }

// Target is the state of one target.
type Target struct {
	Name   string    `json:"name"`   // its unit, or its cgroup's path
	Cgroup string    `json:"cgroup"` // path below the mount point of cgroup v2
	At     time.Time `json:"at"`     // of the last tick

	Mode Mode `json:"mode"` // how much of the policy is performed

	Tier  int      `json:"tier"`  // 0 = none, 1 = the first of tiers
	Tiers []string `json:"tiers"` // their names, the mildest first
	// Of the last change, also to none; null: there was none
	TierSince *time.Time `json:"tier_since"`
	TierWhy   string     `json:"tier_why"` // the values that decided it
	// The condition that leaves the tier, and the values now; left out: no tier, or one
	// without such a condition.
	TierLeave string     `json:"tier_leave,omitempty"`
	Withheld  []Withheld `json:"withheld"` // actions that would cut connections but free too little
	// The values at which the policy in force enters its tiers, the mildest tier first
	Thresholds []Threshold `json:"thresholds"`
	// Clients that wait for room for reloads, the oldest request first
	RoomRequests []RoomRequest `json:"room_requests"`

	Limit Limit `json:"limit"` // the one with the least headroom
	// The one of which the largest share is used
	UsageLimit Limit          `json:"usage_limit"`
	Usage      policy.Reading `json:"usage_percent"` // of usage_limit
	ReloadRoom policy.Reading `json:"reload_room"`   // how many more reloads fit under limit
	// Until limit is reached at the present slope
	LimitIn policy.Reading `json:"limit_in_seconds"`
	Some10  policy.Reading `json:"some_avg10_percent"` // of memory.pressure
	Some60  policy.Reading `json:"some_avg60_percent"` // of memory.pressure
	Full10  policy.Reading `json:"full_avg10_percent"` // of memory.pressure
	Full60  policy.Reading `json:"full_avg60_percent"` // of memory.pressure
	Swap    policy.Reading `json:"swap_bytes"`         // memory.swap.current
	// Of memory.stat: all caches, and other shared memory
	Shmem policy.Reading `json:"shmem_bytes"`
	// Of memory.stat: buffers of the group's sockets
	Sock policy.Reading `json:"sock_bytes"`

	// Counts of memory.events since the cgroup was made
	Events  map[string]policy.Reading `json:"events"`
	Missing map[string]string         `json:"missing"` // sensors that cannot be read, and why

	// The effective one of all tiers that the target is in
	HardStopAfter *float64 `json:"hard_stop_after_seconds"`
	Stopping      Memory   `json:"stopping"` // what all stopping workers hold
	Masters       []Master `json:"masters"`  // one, unless the cgroup holds several HAProxies
	// Why workers cannot be listed now; then these are of an earlier tick
	WorkersAbsent string   `json:"workers_absent,omitempty"`
	Actions       []Action `json:"actions"` // the last ones, the newest last
	History       []Moment `json:"history"` // the last minutes, the newest last
}

// Threshold is a value at which the policy in force enters a tier.
type Threshold struct {
	Tier   int     `json:"tier"`   // 1 = the first of tiers
	Signal string  `json:"signal"` // as the policy calls it
	Of     string  `json:"of"`     // pressure: some or full; events: the kernel's key
	Below  bool    `json:"below"`  // the tier is entered below the value, not above it
	Value  float64 `json:"value"`  // percent, reloads, seconds, bytes or a count, by signal
	Alone  bool    `json:"alone"`  // it is enough; false: another one must be met as well
	Text   string  `json:"text"`   // the comparison in words
}

// Withheld is an action that would cut connections but free too little, so it is not
// done.
type Withheld struct {
	Tier   string    `json:"tier"`       // whose action it is
	Action string    `json:"action"`     // as the policy calls it
	Since  time.Time `json:"since"`      // when it was first withheld
	Held   uint64    `json:"held_bytes"` // by the stopping workers of which that is known
	Why    string    `json:"why"`        // in words
}

// RoomRequest is a client that waits until reloads fit.
type RoomRequest struct {
	Since   time.Time `json:"since"`   // when it began
	Until   time.Time `json:"until"`   // when it ends at the latest
	Reloads float64   `json:"reloads"` // that are to fit
	By      string    `json:"by"`      // who asks
}

// Limit is a limit of memory.
type Limit struct {
	Name  string `json:"name"`       // cgroup and file, or MemAvailable for the host's memory
	Bytes uint64 `json:"bytes"`      // 0 if none can be read
	Used  uint64 `json:"used_bytes"` // of it, by all that it limits
}

// Action is an action that has ended.
type Action struct {
	At         time.Time     `json:"at"`              // when it ended
	Tier       string        `json:"tier"`            // whose action it is, or "by hand"
	Action     string        `json:"action"`          // as the policy calls it
	PID        int           `json:"pid"`             // of the worker
	Generation int           `json:"generation"`      // of the worker
	Result     policy.Result `json:"result"`          // done, refused, failed or skipped
	Freed      uint64        `json:"freed_bytes"`     // measured
	Seconds    float64       `json:"seconds"`         // that it took
	What       string        `json:"what"`            // what it did, in words
	Error      string        `json:"error,omitempty"` // why it was refused or failed
}

// Moment is one point of the history.
type Moment struct {
	// Of the tick: 2 s apart, 10 s while the target is quiet, and at each change of tier
	At    time.Time      `json:"at"`
	Used  uint64         `json:"used_bytes"`         // of the limit that was nearest then
	Limit uint64         `json:"limit_bytes"`        // its size
	Some  policy.Reading `json:"some_avg10_percent"` // of memory.pressure
	Full  policy.Reading `json:"full_avg10_percent"` // of memory.pressure
	Tier  int            `json:"tier"`               // 0 = none
}

// Master is a master and its workers, or the processes of a HAProxy without a master,
// which reloads by -sf have started. If a value of a Master or a Worker is null because
// it cannot be read, the field of the same name with _error says why.
type Master struct {
	PID int `json:"pid"` // of the master; 0 without one
	// Why a worker that may be stopping cannot be asked
	CLIError string `json:"cli_error,omitempty"`
	// Of HAProxy's configuration files as they are now
	HardStopAfter *float64 `json:"hard_stop_after_seconds"`
	HardStopError string   `json:"hard_stop_after_error,omitempty"` // why that is not known
	Workers       []Worker `json:"workers"`                         // the oldest first
}

// Worker is one worker of a Master.
type Worker struct {
	PID int `json:"pid"` // of the worker
	// 1 is the oldest that hapressure has seen
	Generation int    `json:"generation"`
	State      string `json:"state"` // current, stopping or unknown
	Proof      string `json:"proof"` // the evidence for that
	// The pid of the process that serves in its place, without a master; a current worker
	// that has one got the signal to stop, but still serves
	ReplacedBy int     `json:"replaced_by,omitempty"`
	Age        float64 `json:"age_seconds"` // since its process started
	// Since it was first known to be stopping
	StoppingFor *float64 `json:"stopping_for_seconds"`
	// By its own hard-stop-after or the policy's, whichever comes first
	HardStopIn *float64 `json:"hard_stop_in_seconds"`
	// Of clients, of a stopping worker; others are not asked
	Connections *int   `json:"connections"`
	ConnError   string `json:"connections_error,omitempty"` // why they are not known
	// The session cache of a stopping worker
	Cache      *uint64 `json:"cache_bytes"`
	CacheError string  `json:"cache_error,omitempty"` // why it is not known
	Private    *uint64 `json:"private_bytes"`         // memory of its own
	// Shared anonymous memory, the session cache included
	Shared *uint64 `json:"shared_bytes"`
	// Of private_bytes, what is swapped out
	Swapped *uint64 `json:"swapped_bytes"`
	// Mapped files in RAM: mostly the program, which all workers share
	MappedFiles *uint64 `json:"mapped_files_bytes"`
	// What the kernel holds for it: page tables and the table of descriptors
	Kernel    *uint64 `json:"kernel_bytes"`
	SizeError string  `json:"size_error,omitempty"` // why these five are not known
	// Open descriptors, most of which are connections
	OpenFiles *int `json:"open_files"`
	// What makes up the memory of a stopping worker; only if asked for
	Detail *Detail `json:"detail,omitempty"`
}

// Memory is what workers hold together, by kind.
type Memory struct {
	Workers     int    `json:"workers"`            // their number
	Cache       uint64 `json:"cache_bytes"`        // TLS session caches
	OtherShared uint64 `json:"other_shared_bytes"` // HTTP caches, unrecognised caches
	Private     uint64 `json:"private_bytes"`      // memory of their own
	Swapped     uint64 `json:"swapped_bytes"`      // of private_bytes, what is swapped out
	Kernel      uint64 `json:"kernel_bytes"`       // page tables and tables of descriptors
	OpenFiles   int    `json:"open_files"`         // descriptors
	Incomplete  bool   `json:"incomplete"`         // of some worker a value is not known
}

// Detail is what makes up the memory of a stopping worker.
type Detail struct {
	HTTPCaches  *uint64 `json:"http_caches_bytes"`      // of shared_bytes, that of cache sections
	HugePages   *uint64 `json:"huge_pages_bytes"`       // of private_bytes: transparent ones
	MemoryError string  `json:"memory_error,omitempty"` // why these two are not known
	PoolsHeld   *uint64 `json:"pools_held_bytes"`       // of private_bytes: HAProxy's pools
	PoolsUsed   *uint64 `json:"pools_used_bytes"`       // of that, used by objects
	// What the configuration holds
	Contents       *Contents `json:"contents"`
	QuestionsError string    `json:"questions_error,omitempty"` // why these three are not known
}

// Contents is what a worker's configuration holds, as the worker counts it.
type Contents struct {
	MapEntries     uint64 `json:"map_entries"`     // in all maps
	ACLEntries     uint64 `json:"acl_entries"`     // in all ACLs
	Largest        string `json:"largest"`         // file of the largest map or ACL; empty = none
	LargestEntries uint64 `json:"largest_entries"` // of that one
	Certificates   int    `json:"certificates"`    // loaded ones
	Backends       int    `json:"backends"`        // without those that HAProxy makes itself
	Servers        int    `json:"servers"`         // of these
}

// LeftOut is a process that resembles HAProxy, but is no part of a running one.
type LeftOut struct {
	PID     int    `json:"pid"`     // of the process
	Program string `json:"program"` // the path of its program
	Why     string `json:"why"`     // it is left out
}

// Purge is the outcome of a manual purge.
type Purge struct {
	PID        int `json:"pid"`        // of the worker
	Generation int `json:"generation"` // of the worker
	// purged, would purge, nothing to purge, refused or failed
	Result string  `json:"result"`
	Reason string  `json:"reason,omitempty"`  // why it was refused or failed
	Layout string  `json:"layout,omitempty"`  // the releases whose layout the cache has
	Before uint64  `json:"before_bytes"`      // what the cache held
	After  uint64  `json:"after_bytes"`       // what the cache holds now
	Held   float64 `json:"held_microseconds"` // how long the worker's threads were frozen
	Tries  int     `json:"tries"`             // how often the threads were frozen
}

// The results of a Purge. Refused and Failed are those of the policy's actions.
const (
	Purged     = "purged"
	WouldPurge = "would purge"
	NoCache    = "nothing to purge" // the worker has no TLS session cache in shared memory
	Refused    = string(policy.Refused)
	Failed     = string(policy.Failed)
)

// Workers is what "hapressure workers --json" prints.
type Workers struct {
	Masters  []Master  `json:"masters"`  // HAProxies of this host, or those chosen
	LeftOut  []LeftOut `json:"left_out"` // processes that resemble HAProxy and are none
	Stopping Memory    `json:"stopping"` // what all stopping workers hold
}

// Purges is what "hapressure purge --json" prints.
type Purges struct {
	Workers []Purge `json:"workers"` // that were purged or examined
}

// Room is the answer to a client that has waited until reloads fit.
type Room struct {
	Target     string         `json:"target"`          // its unit, or its cgroup's path
	Result     string         `json:"result"`          // room, no-room, unknown or no-daemon
	Reloads    float64        `json:"reloads"`         // that are to fit
	ReloadRoom policy.Reading `json:"reload_room"`     // that fit, under Limit
	Limit      Limit          `json:"limit"`           // the one with the least headroom
	Footprint  uint64         `json:"footprint_bytes"` // what a reload needs
	Missing    uint64         `json:"missing_bytes"`   // until they fit
	Freed      uint64         `json:"freed_bytes"`     // by actions on the target meanwhile
	Waited     float64        `json:"waited_seconds"`  // for room
	// Why there is no room, or why it is not known
	Reason string `json:"reason,omitempty"`
}

// The results of a Room.
const (
	RoomFound    = "room"
	NoRoom       = "no-room"
	RoomUnknown  = "unknown"
	RoomCanceled = "canceled"  // the client went away: no client gets this answer
	NoDaemon     = "no-daemon" // "hapressure make-room --json" prints it
)

// Steering is what is in force beside the policy.
type Steering struct {
	Mode    Mode         `json:"mode"`    // of targets without a mode or a pause of their own
	Targets []TargetMode `json:"targets"` // those that have one, by name
}

// TargetMode is the mode of one target.
type TargetMode struct {
	Target string `json:"target"` // its unit, or its cgroup's path
	Mode   Mode   `json:"mode"`   // that is in force for it
}
