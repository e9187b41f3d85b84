// Package policy decides what hapressure does about the memory of a HAProxy unit. It has
// no access to files, clocks or processes: time is an argument, so the same samples
// always lead to the same decisions, live or replayed.
//
// A policy is a ladder of tiers. Step takes one sample, moves up or down the ladder and
// returns the actions that are due. The caller performs them and reports the end of each
// with State.Done. Package language makes policies of YAML files.
package policy

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"time"
)

// Policy is a decoded policy. It must not change after it was passed to Step.
type Policy struct {
	Targets  []Target
	Tiers    []Tier // from the mildest to the harshest
	MakeRoom MakeRoom
	// Source is the policy as one YAML file: defaults are written out and each value has
	// its origin.
	Source string
}

// MakeRoom is what may be done for a client that waits for room for reloads, beside the
// actions that cut no connection.
type MakeRoom struct {
	// Drain permits the drains of the tiers' hard-stop-after, of workers that have been
	// stopping for any time.
	Drain bool
}

// Target selects what is guarded. Exactly one of Unit and Cgroup is set.
type Target struct {
	Unit     string // a systemd unit or a glob of units: haproxy@*.service
	Cgroup   string // the path of a cgroup below the mount, or a glob of paths
	Disabled bool   // not guarded, even if the glob of another target matches it

	Own *Policy // the policy with the target's overrides; nil = no overrides
}

// For returns the policy of one target, named by its unit or by the path of its cgroup: p
// itself, or the policy with the target's overrides. The result is the same pointer for
// the same name. It is nil for a name that no target selects or that is disabled. An
// exact name takes precedence over globs, the first glob over later ones.
func (p *Policy) For(name string) *Policy {
	var found *Target
	for i := range p.Targets {
		t, name := &p.Targets[i], name
		pattern := t.Unit
		if t.Cgroup != "" {
			pattern, name = path.Clean("/"+t.Cgroup), path.Clean("/"+name)
		}
		if pattern == name {
			found = t
			break
		}
		if ok, _ := path.Match(pattern, name); ok && found == nil { // decoding checked the pattern
			found = t
		}
	}
	switch {
	case found == nil || found.Disabled:
		return nil
	case found.Own != nil:
		return found.Own
	}
	return p
}

// Tier is one step of the ladder. A target in a tier is also in all tiers below it.
type Tier struct {
	Name  string
	Enter Condition
	Leave Condition // unset (Op "") if Enter is Always
	// While Urgent is true the tier waits only for the purges of the tiers below, not for
	// their other actions. Unset (Op "") = never.
	Urgent Condition
	// Settle is how long the tiers above wait for the actions of this one, and how long
	// after an effect the tier waits before it terminates a worker.
	Settle  time.Duration
	Actions []Action // at most one of each kind
	Hook    Hook
}

// cuts reports whether the tier has an action that cuts connections.
func (t *Tier) cuts() bool {
	return slices.ContainsFunc(t.Actions, func(a Action) bool { return kinds[a.Kind].cuts })
}

// confirms reports whether a second sample must confirm the tier's enter: it cuts
// connections, and readings decide about it.
func (t *Tier) confirms() bool { return t.cuts() && t.Enter.Op != Always }

// Hook is a command that the caller runs when a target enters or leaves the tier.
type Hook struct {
	Command []string      // the absolute path of the program and its arguments; empty = no hook
	Timeout time.Duration // the command is killed after this time
}

// The kinds of action.
const (
	Protect         = "protect"          // have the kernel kill stopping workers before others
	PurgeSSLCache   = "purge-ssl-cache"  // empty the TLS session cache of stopping workers
	PurgeHTTPCache  = "purge-http-cache" // empty the HTTP caches (cache) of stopping workers
	TrimPools       = "trim-pools"       // make stopping workers free unused pool memory
	Cold            = "cold"             // have the kernel reclaim from stopping workers first
	PageOut         = "page-out"         // move the memory of stopping workers to swap
	HardStopAfter   = "hard-stop-after"  // shorten the hard-stop-after of stopping workers
	TerminateOldest = "terminate-oldest" // terminate the oldest stopping generation
)

// kinds has the properties of each kind.
var kinds = map[string]struct {
	why  string // why a worker gets it, for the journal
	cuts bool   // it cuts connections: never done while memory is sufficient
}{
	Protect:         {why: "the kernel is to kill it before those that serve"},
	PurgeSSLCache:   {why: "its session cache holds memory"},
	PurgeHTTPCache:  {why: "its HTTP caches may hold memory"},
	TrimPools:       {why: "its memory pools may hold unused memory"},
	Cold:            {why: "the kernel is to reclaim its memory before that of those that serve"},
	PageOut:         {why: "there is room in swap for its memory"},
	HardStopAfter:   {cuts: true},
	TerminateOldest: {cuts: true},
}

// Permits reports whether actions of a kind are performed. An unknown mode permits none.
func (m Mode) Permits(kind string) bool {
	k, known := kinds[kind]
	switch m {
	case Full, "":
		return known
	case PurgeOnly:
		return known && !k.cuts
	}
	return false
}

// Kinds lists the kinds of action in alphabetical order.
var Kinds = slices.Sorted(maps.Keys(kinds))

// Action is one action of a tier. Of the settings, only those of its Kind are set.
type Action struct {
	Kind      string
	Only      Only
	HardStop  HardStop
	Terminate Terminate
	Paging    Paging
}

// Only restricts an action to the stopping workers that meet all of its conditions. A
// zero field is no condition.
type Only struct {
	StoppingAbove time.Duration // the worker has been stopping for longer
	CacheAbove    uint64        // its TLS session cache holds more, in bytes
	OlderThan     int           // at least this many younger generations are stopping
}

// HardStop has the settings of hard-stop-after. The action has the name of HAProxy's
// keyword, which HAProxy reads only once, when the soft stop begins, and therefore cannot
// shorten itself.
type HardStop struct {
	Limit      time.Duration // how long a worker may be stopping
	HalveEvery time.Duration // halve Limit after each such time in the tier; 0 = never
	Floor      time.Duration // never halve Limit below this
	Spread     time.Duration // shut down the sessions of a worker over this time
	PerSecond  int           // shut down at most this many sessions a second; 0 = no bound
	// ByCost takes the worker that holds the most bytes a connection first, so that the
	// fewest connections are cut for the memory. Otherwise the oldest is first.
	ByCost bool
	// Worth is the percentage of the limit that is short which stopping workers must
	// hold; 0 = any amount.
	Worth float64
}

// before reports whether a worker is drained before another one.
func (h HardStop) before(w, other *Worker) bool {
	order := 0
	if h.ByCost {
		order = cmp.Compare(other.bytesPerConnection(), w.bytesPerConnection())
	}
	return cmp.Or(order, cmp.Compare(w.Generation, other.Generation)) < 0
}

// limit returns the effective hard-stop-after after a time in the tier.
func (h HardStop) limit(passed time.Duration) time.Duration {
	if h.HalveEvery <= 0 {
		return h.Limit
	}
	return max(h.Limit>>max(passed/h.HalveEvery, 0), h.Floor)
}

// Terminate has the settings of terminate-oldest.
type Terminate struct {
	Grace  time.Duration // between SIGTERM and SIGKILL
	Settle time.Duration // between the end of one generation and the termination of the next
	Keep   int           // never terminate this many of the youngest stopping generations
	Limit  int           // terminate at most this many workers a minute
	Worth  float64       // as of HardStop
}

// Paging has the settings of page-out, which bound what it costs.
type Paging struct {
	PerSecond uint64  `json:"PerSecond"` // bytes moved to swap
	Busy      float64 `json:"Busy"`      // percent of one CPU that a worker may use
	// Stall is the percentage of a second that tasks may wait for memory in addition to
	// those that waited before.
	Stall float64 `json:"Stall"`
}
