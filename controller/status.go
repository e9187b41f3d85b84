package controller

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"hapressure/haproxy"
	"hapressure/policy"
)

// Status is what a controller knows, as the control socket tells it. Sizes are in bytes. A reading is a number, or a string that says why
// there is none; null is what is not known or not set.
type Status struct {
	At      time.Time      `json:"at"`      // when this was told
	Daemon  *DaemonStatus  `json:"daemon"`  // null: no daemon told this, it was looked up
	Policy  PolicyStatus   `json:"policy"`  // the one in force
	Systemd SystemdStatus  `json:"systemd"` // how units are found
	Targets []TargetStatus `json:"targets"` // by name; those of the policy that run
}

// DaemonStatus is about the program itself.
type DaemonStatus struct {
	Version string    `json:"version"` // of hapressure
	PID     int       `json:"pid"`     // its process
	Started time.Time `json:"started"` // when it was
	DryRun  bool      `json:"dry_run"` // it touches no worker
	// What it needs of the kernel and has not, as it found at its start in its own sandbox.
	MissingRights []haproxy.Right `json:"missing_rights"`
	// Where it records what is sensed, decided and done; null: nowhere.
	Recordings *RecordingsStatus `json:"recordings"`
}

// RecordingsStatus is where the daemon records, and how much.
type RecordingsStatus struct {
	Dir            string `json:"dir"`              // the folder, with a folder for each target
	BytesPerTarget int64  `json:"bytes_per_target"` // bound of the recordings of each target that is guarded
}

// SystemdStatus is how units are found.
type SystemdStatus struct {
	By    string `json:"by"`              // D-Bus, systemd's private socket or the cgroup tree; empty if the policy names no unit
	Lacks string `json:"lacks,omitempty"` // what cannot be had by it
	Why   string `json:"why,omitempty"`   // why it is not D-Bus
}

// PolicyStatus is about the policy in force.
type PolicyStatus struct {
	Origin   string    `json:"origin"`             // where it is from, in words
	SHA256   string    `json:"sha256"`             // of what the files come to
	Since    time.Time `json:"since"`              // in force since then
	Rejected string    `json:"rejected,omitempty"` // what is wrong with the files as they are now, which is why an older policy is in force
}

// Digest is by what policies are told from one another.
func Digest(p *policy.Policy) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(p.Source))) }

// TargetStatus is one target.
type TargetStatus struct {
	Name   string    `json:"name"`   // its unit, or its cgroup's path
	Cgroup string    `json:"cgroup"` // path below the mount of cgroup v2
	At     time.Time `json:"at"`     // of the last look

	Tier      int        `json:"tier"`       // 0 = none, 1 = the first of tiers
	Tiers     []string   `json:"tiers"`      // their names, the mildest first
	TierSince *time.Time `json:"tier_since"` // of the last change, also to none; null: there was none
	TierWhy   string     `json:"tier_why"`   // the values that decided it
	// What would leave the tier, and the values now; left out: no tier, or one that is always held.
	TierLeave string           `json:"tier_leave,omitempty"`
	Withheld  []WithheldStatus `json:"withheld"` // actions that are not done, because too little is to be gained by cutting connections

	Limit      LimitStatus    `json:"limit"`              // the one with the least headroom
	UsageLimit LimitStatus    `json:"usage_limit"`        // the one that is used most
	Usage      policy.Reading `json:"usage_percent"`      // of usage_limit
	ReloadRoom policy.Reading `json:"reload_room"`        // how many more reloads fit under limit
	LimitIn    policy.Reading `json:"limit_in_seconds"`   // until limit is reached at the present slope
	Some10     policy.Reading `json:"some_avg10_percent"` // of memory.pressure
	Some60     policy.Reading `json:"some_avg60_percent"` // of memory.pressure
	Full10     policy.Reading `json:"full_avg10_percent"` // of memory.pressure
	Full60     policy.Reading `json:"full_avg60_percent"` // of memory.pressure
	Swap       policy.Reading `json:"swap_bytes"`         // memory.swap.current
	Shmem      policy.Reading `json:"shmem_bytes"`        // of memory.stat: all caches, and other shared memory

	Events  map[string]policy.Reading `json:"events"`  // counts of memory.events since the cgroup was made
	Missing map[string]string         `json:"missing"` // sensors that cannot be read, and why

	HardStopAfter *float64       `json:"hard_stop_after_seconds"`  // the effective one of the tiers held
	Masters       []Master       `json:"masters"`                  // one, unless the cgroup holds several
	WorkersAbsent string         `json:"workers_absent,omitempty"` // why they cannot be listed now; then these are of an earlier look
	Actions       []ActionStatus `json:"actions"`                  // the last ones, the newest last
	History       []Moment       `json:"history"`                  // the last minutes, the newest last
}

// WithheldStatus is an action that costs connections and is withheld.
type WithheldStatus struct {
	Tier   string    `json:"tier"`       // whose action it is
	Action string    `json:"action"`     // as the policy calls it
	Since  time.Time `json:"since"`      // when it would have been done for the first time
	Held   uint64    `json:"held_bytes"` // by the stopping workers of which that is known
	Why    string    `json:"why"`        // in words
}

// LimitStatus is a limit on memory.
type LimitStatus struct {
	Name  string `json:"name"`       // cgroup and file, or MemAvailable for the host's memory
	Bytes uint64 `json:"bytes"`      // 0 if none can be read
	Used  uint64 `json:"used_bytes"` // of it, by all that it limits
}

// ActionStatus is an action that has ended.
type ActionStatus struct {
	At         time.Time     `json:"at"`              // when it ended
	Tier       string        `json:"tier"`            // whose action it is, or "by hand"
	Action     string        `json:"action"`          // as the policy calls it
	PID        int           `json:"pid"`             // of the worker
	Generation int           `json:"generation"`      // of the worker
	Result     policy.Result `json:"result"`          // done, refused, failed or skipped
	Freed      uint64        `json:"freed_bytes"`     // measured
	Seconds    float64       `json:"seconds"`         // that it took
	What       string        `json:"what"`            // came of it, in words
	Error      string        `json:"error,omitempty"` // why it was refused or failed
}

// Moment is one point of the history.
type Moment struct {
	At    time.Time      `json:"at"`                 // of the look: 2 s apart, 10 s while all is still, and at each change of tier
	Used  uint64         `json:"used_bytes"`         // of the limit that was nearest then
	Limit uint64         `json:"limit_bytes"`        // its size
	Some  policy.Reading `json:"some_avg10_percent"` // of memory.pressure
	Full  policy.Reading `json:"full_avg10_percent"` // of memory.pressure
	Tier  int            `json:"tier"`               // 0 = none
}

const (
	historyEvery = 2 * time.Second
	historySize  = 300
	actionsSize  = 20
)

// glance is what others may know of a guard. Its parts are replaced or appended to, never changed.
type glance struct {
	at      time.Time
	line    string
	view    view
	found   []haproxy.Instance // as last found
	missing map[string]string
	actions []ActionStatus
	history []Moment

	policy   *policy.Policy
	tier     int
	changed  time.Time // zero if never
	why      string
	hardStop *float64
	leave    string
	withheld []WithheldStatus
}

// publish takes down what the last tick came to.
func (g *guard) publish(v view) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, p := &g.state, g.policy.Load()
	l := &g.last
	l.at, l.line, l.view, l.policy = time.Now(), v.line(g.name, s.TierName), v, p
	if v.WorkersAbsent == "" {
		l.found = v.found
	}
	if !maps.Equal(l.missing, g.missing) {
		l.missing = maps.Clone(g.missing)
	}
	l.tier, l.why, l.changed, l.hardStop = s.Tier, s.Why, time.Time{}, nil
	if s.Why != "" {
		l.changed = l.at.Add(s.Changed - v.Now)
	}
	if limit, ok := s.HardStopAfter(p); ok {
		l.hardStop = new(limit.Seconds())
	}
	l.leave, l.withheld = "", []WithheldStatus{}
	if s.Under(p) {
		l.leave = s.Leaving(p, &v.Sample)
	}
	for _, w := range s.Withheld {
		l.withheld = append(l.withheld, WithheldStatus{w.Tier, w.Kind, l.at.Add(w.Since - v.Now), w.Gain, w.String()})
	}
	if n := len(l.history); n == 0 || l.at.Sub(l.history[n-1].At) >= historyEvery || l.history[n-1].Tier != s.Tier {
		l.history = last(historySize, l.history, Moment{l.at, v.nearest.Usage, v.nearest.Bytes, v.Some10, v.Full10, s.Tier})
	}
}

// last appends an element, and lets go of the oldest from time to time, so that there are n at least and twice as many at most.
func last[T any](n int, all []T, e T) []T {
	if len(all) >= 2*n {
		all = slices.Clone(all[n:])
	}
	return append(all, e)
}

func (g *guard) publishAction(due policy.Due, r result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last.actions = last(actionsSize, g.last.actions, ActionStatus{
		At: time.Now(), Tier: due.Tier, Action: due.Kind, PID: due.Worker.PID, Generation: due.Generation,
		Result: r.Result, Freed: r.freed, Seconds: r.took.Seconds(), What: r.what, Error: r.why,
	})
}

func (g *guard) glance() glance {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// status tells how the target is, and asks its workers for what a tick leaves out.
func (g *guard) status(ctx context.Context) TargetStatus {
	l := g.glance()
	v, n := l.view, l.view.nearest
	t := TargetStatus{
		Name: g.name, Cgroup: g.cgroup, At: l.at, Tier: l.tier, TierWhy: l.why,
		TierLeave: l.leave, Withheld: l.withheld,
		Limit: LimitStatus{n.String(), n.Bytes, n.Usage}, UsageLimit: LimitStatus{v.most.String(), v.most.Bytes, v.most.Usage},
		Usage: v.Usage, ReloadRoom: v.ReloadRoom, LimitIn: v.LimitIn,
		Some10: v.Some10, Some60: v.Some60, Full10: v.Full10, Full60: v.Full60, Swap: v.Swap, Shmem: v.Shmem, Events: v.Events,
		Missing: map[string]string{}, HardStopAfter: l.hardStop, WorkersAbsent: v.WorkersAbsent,
		Masters: DescribeMasters(ctx, g.c.Procfs, l.found, l.hardStop),
		Actions: append([]ActionStatus{}, l.actions[max(0, len(l.actions)-actionsSize):]...),
		History: append([]Moment{}, l.history[max(0, len(l.history)-historySize):]...),
	}
	if !l.changed.IsZero() {
		t.TierSince = &l.changed
	}
	for _, tier := range l.policy.Tiers {
		t.Tiers = append(t.Tiers, tier.Name)
	}
	for sensor, why := range l.missing {
		if why != "" {
			t.Missing[sensor] = why
		}
	}
	return t
}

// statusTime bounds one answer: a master that does not answer must not hold up the others for ever.
const statusTime = 10 * time.Second

// State tells how everything is.
func (c *Controller) State(ctx context.Context) Status {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	c.mu.Lock()
	s := Status{At: time.Now(), Daemon: c.Daemon, Policy: c.inForce, Systemd: c.systemd, Targets: []TargetStatus{}}
	guards := maps.Clone(c.guards)
	c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(guards)) {
		if g := guards[name]; g.glance().policy != nil { // it has looked
			s.Targets = append(s.Targets, g.status(ctx))
		}
	}
	return s
}

// Look tells how everything is without a daemon: it finds the targets and looks at each, once, and does nothing. What only time shows
// (tiers, slopes) it cannot know. A later Look asks HAProxy only for what an earlier one has not learned. Calls must not overlap.
func (c *Controller) Look(ctx context.Context) Status {
	s := Status{At: time.Now(), Policy: c.inForce, Targets: []TargetStatus{}}
	var units Units
	if len(c.Ways) > 0 && c.names() {
		// A bus that hangs has its time to itself, or none would be left for the other ways.
		link, err := Connect(ctx, c.Ways)
		if err != nil {
			c.report.sensorMissing("", "systemd", err)
		} else {
			defer link.Close()
			units, s.Systemd = link.Units, link.status()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	places, err := c.find(ctx, units)
	if err != nil {
		c.report.sensorMissing("", "systemd", err)
	}
	p := c.policy()
	scanners := map[string]*haproxy.Scanner{}
	for _, name := range slices.Sorted(maps.Keys(places)) {
		g, err := c.open(name, places[name], p.For(name))
		if err != nil {
			continue
		}
		g.scanner = cmp.Or(c.scanners[name], g.scanner)
		scanners[name] = g.scanner
		v, err := g.sense(ctx)
		if err == nil {
			g.publish(v)
			s.Targets = append(s.Targets, g.status(ctx))
		}
		g.group.Close()
	}
	c.scanners = scanners
	return s
}
