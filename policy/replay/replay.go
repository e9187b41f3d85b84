// Package replay runs policies over recordings: the recorded policy, whose decisions must
// be the recorded ones, or another policy, to see what it would have done.
package replay

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"hapressure/policy"
	"hapressure/policy/language"
	"hapressure/policy/record"
	"hapressure/policy/simulate"
)

// Entry is one thing that a policy did. Exactly one of the pointers is set.
type Entry struct {
	At      time.Time       `json:"At"`
	Change  *policy.Change  `json:"Change,omitempty"`
	Action  *policy.Due     `json:"Action,omitempty"`
	Outcome *policy.Outcome `json:"Outcome,omitempty"`
}

// Run is the replay of recordings under one policy.
//
// A policy other than the recorded one acts in a model: each of its actions succeeds
// after its typical time, a worker that it ended is in no later sample, and a cache that
// it purged is empty. Memory and pressure are as recorded, with all effects of the
// recorded actions.
type Run struct {
	Name    string
	Entries []Entry
	Spent   map[string]time.Duration // in each tier, by its name
	// Differs describes the first decision of the recorded policy that is not as
	// recorded; nil = none.
	Differs error `json:"-"`

	own    *policy.Policy // nil = the recorded one
	policy *policy.Policy // for the recorded target
	state  policy.State
	begin  record.Begin
	model  model
	size   int // of Entries, in bytes
}

// New returns a Run of a policy, of the recorded one if p is nil.
func New(name string, p *policy.Policy) *Run {
	return &Run{Name: name, own: p, Spent: map[string]time.Duration{}}
}

// maxEntries bounds the memory of a Run's Entries, in bytes: some 300,000 of them. Two
// days of reloads every other second have fewer.
const maxEntries = 128 << 20

// errTooMuch is wrapped by the error for recordings with more entries than a Run holds.
var errTooMuch = errors.New("too much was decided and done for one replay: pass fewer recordings")

func (r *Run) add(e Entry) error {
	if r.size += e.size(); r.size > maxEntries {
		return fmt.Errorf("at %s: %w", Clock(e.At), errTooMuch)
	}
	r.Entries = append(r.Entries, e)
	return nil
}

// size returns approximately how much memory an entry takes, in bytes.
func (e *Entry) size() int {
	const fixed = 300 // the Entry, what it points to, and the overhead of the allocator
	switch {
	case e.Change != nil:
		return fixed + len(e.Change.FromName) + len(e.Change.ToName) + len(e.Change.Why)
	case e.Action != nil:
		return fixed + len(e.Action.Tier) + len(e.Action.Kind) + len(e.Action.Why)
	}
	o := e.Outcome
	return fixed + len(o.Tier) + len(o.Kind) + len(o.Result) + len(o.Reason)
}

// Play takes the next event of a recording. Run takes over the state in a Begin.
func (r *Run) Play(e record.Event) error {
	switch {
	case e.Begin != nil:
		return r.start(*e.Begin)
	case e.Tick != nil:
		return r.step(e.Tick.Sample, e.Tick.Decision)
	case r.own == nil:
		return r.done(*e.Outcome)
	}
	return nil
}

// start begins a recording. If it continues the previous one, a policy other than the
// recorded one continues as well.
func (r *Run) start(b record.Begin) error {
	continues := r.state.Started && b.State.Now == r.state.Now
	r.begin, r.policy = b, r.own
	if r.own == nil {
		var err error
		file := language.File{Name: "the recorded policy", Text: []byte(b.Policy)}
		if r.policy, err = language.Decode(file); err != nil {
			return err
		}
	}
	if p := r.policy.For(b.Target); p != nil {
		r.policy = p
	}
	if r.own == nil {
		if r.state = b.State; b.NewPolicy {
			return nil
		}
		return r.state.Resume(r.policy)
	}
	if !continues {
		r.state, r.model = policy.State{}, model{}
	}
	return nil
}

func (r *Run) step(s policy.Sample, recorded policy.Decision) error {
	if r.own != nil {
		for _, o := range r.model.end(s.Now) {
			if err := r.done(o); err != nil {
				return err
			}
		}
		r.model.change(&s)
	}
	if r.state.TierName != "" {
		r.Spent[r.state.TierName] += s.Now - r.state.Now
	}
	at := r.wall(s.Now)
	d := policy.Step(r.policy, &r.state, s)
	if r.own == nil {
		if r.Differs == nil && !same(d, recorded) {
			r.Differs = fmt.Errorf("the first difference is at %s: recorded was %+v, "+
				"decided now is %+v", Clock(at), recorded, d)
		}
		d = recorded
	}
	for _, change := range d.Changes {
		if err := r.add(Entry{At: at, Change: &change}); err != nil {
			return err
		}
	}
	for _, due := range d.Actions {
		if err := r.add(Entry{At: at, Action: &due}); err != nil {
			return err
		}
		if r.own != nil {
			r.model.inFlight = append(r.model.inFlight, simulate.Expect(due, s.Now))
		}
	}
	return nil
}

func (r *Run) done(o policy.Outcome) error {
	r.state.Done(o)
	return r.add(Entry{At: r.wall(o.At), Outcome: &o})
}

// wall returns the wall clock's time at a time of the present recording.
func (r *Run) wall(at time.Duration) time.Time { return r.begin.Wall.Add(at - r.begin.At) }

func same(a, b policy.Decision) bool {
	return a.Tier == b.Tier && a.TierName == b.TierName &&
		slices.Equal(a.Changes, b.Changes) && slices.Equal(a.Actions, b.Actions)
}

// Given counts the actions of a run by their kind.
func (r *Run) Given() map[string]int {
	n := map[string]int{}
	for _, e := range r.Entries {
		if e.Action != nil {
			n[e.Action.Kind]++
		}
	}
	return n
}

// Differ returns the first decisions of a run and of what was recorded that differ. One
// is nil if it has no more decisions, both are nil if there is no difference.
func (r *Run) Differ(recorded *Run) (was, is *Entry) {
	next := func(entries *[]Entry) (e *Entry, key string) {
		for len(*entries) > 0 && e == nil {
			if first := &(*entries)[0]; first.Outcome == nil {
				what, _ := first.text()
				e, key = first, first.At.String()+what
			}
			*entries = (*entries)[1:]
		}
		return e, key
	}
	for a, b := recorded.Entries, r.Entries; ; {
		was, keyA := next(&a)
		is, keyB := next(&b)
		if keyA != keyB || was == nil {
			return was, is
		}
	}
}

// Clock formats a time of a recording. A simulation's clock starts at 0, the epoch.
func Clock(at time.Time) string {
	passed := at.Sub(time.Unix(0, 0)).Truncate(time.Millisecond)
	if passed >= simulatedMost {
		return at.Format("2006-01-02 15:04:05.000")
	}
	return fmt.Sprintf("%d:%02d:%06.3f", int(passed.Hours()), int(passed.Minutes())%60,
		math.Mod(passed.Seconds(), 60))
}

// simulatedMost is the time since the epoch from which on a time is no simulation's.
const simulatedMost = 365 * 24 * time.Hour

func (e *Entry) String() string {
	if e == nil {
		return "nothing more"
	}
	what, why := e.text()
	return Clock(e.At) + "  " + what + strings.TrimSuffix(": "+why, ": ")
}

// text returns what happened and why.
func (e *Entry) text() (what, why string) {
	switch {
	case e.Change != nil:
		from, to := cmp.Or(e.Change.FromName, "none"), cmp.Or(e.Change.ToName, "none")
		return fmt.Sprintf("tier %s to tier %s", from, to), e.Change.Why
	case e.Action != nil:
		a := e.Action
		what = fmt.Sprintf("%s on worker %d (generation %d)", a.Kind, a.Worker.PID, a.Generation)
		return what, a.Why
	}
	o := e.Outcome
	return fmt.Sprintf("  %s on worker %d: %s, freed %.1f MiB",
		o.Kind, o.Worker.PID, o.Result, float64(o.FreedBytes)/(1<<20)), o.Reason
}
