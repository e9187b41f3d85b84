// Package policy decides what hapressure does about a HAProxy unit's memory. It touches nothing: no file, no clock and
// no process. Time is an argument, so the same samples always lead to the same decisions, live or replayed.
//
// A policy is a ladder of tiers. Step takes what was sensed in one tick, moves up or down the ladder, and says which
// actions are due; the caller does them and reports each one's end with State.Done.
package policy

import (
	"maps"
	"path"
	"slices"
	"time"
)

// Policy is one decoded policy file. It must not be changed once it was given to Step.
type Policy struct {
	Targets []Target
	Tiers   []Tier // from the mildest to the harshest
	Source  string // it as one YAML file, with defaults written out and where each value is from
}

// Target names what is watched, by exactly one of Unit and Cgroup.
type Target struct {
	Unit     string // a systemd unit, or a glob of them: haproxy@*.service
	Cgroup   string // a cgroup's path below the cgroup mount, or a glob of them
	Disabled bool   // not watched, also where the glob of another target matches it

	Own *Policy // with the tiers as this target changes them; nil = it changes none
}

// For returns the policy that Step takes for one target, named by its unit or its cgroup's path: p itself, or one with the tiers as
// the target changes them. It is the same for the same name, and nil for what is disabled or not a target.
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
		if ok, _ := path.Match(pattern, name); ok && found == nil { // decoding found the pattern good
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

// Tier is one step of the ladder. To be in a tier is to be in all below it.
type Tier struct {
	Name   string
	Enter  Condition
	Leave  Condition     // unset (Op "") where Enter is Always
	Urgent Condition     // while it is true the tier does not wait for the tiers below, but for their purges; unset (Op "") = never
	Settle time.Duration // how long the tiers above wait for this one's actions, and how long after an effect it looks again before it terminates
	// Actions has at most one action of a kind.
	Actions []Action
	Hook    Hook
}

// cuts reports whether the tier has an action that costs connections.
func (t *Tier) cuts() bool {
	return slices.ContainsFunc(t.Actions, func(a Action) bool { return kinds[a.Kind].cuts })
}

// confirms reports whether the tier is entered only by a second sample: it costs connections, and rests on readings.
func (t *Tier) confirms() bool { return t.cuts() && t.Enter.Op != Always }

// Hook is a command that is run when its tier is entered and when it is left. Who decides does not run it.
type Hook struct {
	Command []string      // the program's absolute path and its arguments; none = no hook
	Timeout time.Duration // after which it is ended
}

// The kinds of action.
const (
	PurgeSSLCache   = "purge-ssl-cache"  // empty the TLS session cache of stopping workers
	PurgeHTTPCache  = "purge-http-cache" // empty the HTTP caches (cache sections) of stopping workers
	TrimPools       = "trim-pools"       // have stopping workers return what their memory pools keep for later
	PageOut         = "page-out"         // move stopping workers' memory to swap
	HardStopAfter   = "hard-stop-after"  // shorten the effective hard-stop-after of stopping workers
	TerminateOldest = "terminate-oldest" // terminate the oldest stopping generation
)

// kinds is what is known of each of them.
var kinds = map[string]struct {
	why  string // a worker may be given it, for the journal
	cuts bool   // it costs connections: not while memory is well
}{
	PurgeSSLCache:   {why: "its session cache holds memory"},
	PurgeHTTPCache:  {why: "its HTTP caches may hold memory"},
	TrimPools:       {why: "its memory pools may keep what they no longer need"},
	PageOut:         {why: "there is room in swap for its memory"},
	HardStopAfter:   {cuts: true},
	TerminateOldest: {cuts: true},
}

// Kinds are the kinds of action.
var Kinds = slices.Sorted(maps.Keys(kinds))

// Action is something a tier does. Only the field that belongs to Kind is set.
type Action struct {
	Kind      string
	Only      Only
	HardStop  HardStop
	Terminate Terminate
}

// Only tells which stopping workers an action is for: those to which all that is set applies.
type Only struct {
	StoppingAbove time.Duration // it has been stopping for longer
	CacheAbove    uint64        // its TLS session cache holds more, in bytes
	OlderThan     int           // so many younger generations are stopping, at least
}

// HardStop are the settings of hard-stop-after, called like HAProxy's own keyword, which is read only once, when the
// soft stop begins, and so cannot be shortened in HAProxy itself.
type HardStop struct {
	Limit      time.Duration // how long a worker may be stopping
	HalveEvery time.Duration // the limit is halved each time the tier was held this long; 0 = never
	Floor      time.Duration // the limit is not halved below this
	Spread     time.Duration // the worker's sessions are shut down over this time, not all at once
	PerSecond  int           // and never more of them in a second; 0 = no bound
	Worth      float64       // percent of the limit that is short which stopping workers must hold; 0 = whatever they hold
}

// limit is the effective hard-stop-after once the tier has been held for a time.
func (h HardStop) limit(held time.Duration) time.Duration {
	if h.HalveEvery <= 0 {
		return h.Limit
	}
	return max(h.Limit>>max(held/h.HalveEvery, 0), h.Floor)
}

// Terminate are the settings of terminate-oldest.
type Terminate struct {
	Grace  time.Duration // between SIGTERM and SIGKILL
	Settle time.Duration // between the end of one generation and the next one's turn
	Keep   int           // this many of the youngest stopping generations are never terminated
	Limit  int           // never more workers than this in a minute
	Worth  float64       // as of HardStop
}
