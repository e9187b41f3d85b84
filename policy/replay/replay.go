// Package replay runs policies over a recording: the recorded one, whose decisions must come out as they were, or another, to see what
// it would have done.
package replay

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hapressure/policy"
	"hapressure/policy/language"
	"hapressure/policy/record"
)

// Entry is one thing that a policy did: of the pointers one is set.
type Entry struct {
	At      time.Time       `json:"At"`
	Change  *policy.Change  `json:"Change,omitempty"`
	Action  *policy.Due     `json:"Action,omitempty"`
	Outcome *policy.Outcome `json:"Outcome,omitempty"`
}

// Run is what one policy makes of a recording.
//
// A policy that is not the recorded one acts in a model: each of its actions is done after the time that such an action typically takes,
// a worker that it ended is in no later sample, and a cache that it purged is empty. Memory and pressure of the samples stay as they
// were recorded, with all that the recorded actions did.
type Run struct {
	Name    string
	Entries []Entry
	Spent   map[string]time.Duration // in each tier, by its name
	// Differs is the first difference between what was recorded and what the recorded policy decides now. nil: none.
	Differs error `json:"-"`

	own, policy *policy.Policy // own is nil for the recorded one
	state       policy.State
	begin       record.Begin
	model       model
	held        int // by Entries, in bytes
}

// MaxEntries bounds what the Entries of a Run hold, in bytes: some 300,000 of them. Two days of reloads
// every other second have fewer.
const MaxEntries = 128 << 20

// ErrTooMuch is wrapped by the error of recordings in which more was decided and done than a Run holds.
var ErrTooMuch = errors.New("too much was decided and done for one replay: give it fewer recordings")

func (r *Run) add(e Entry) error {
	if r.held += e.size(); r.held > MaxEntries {
		return fmt.Errorf("at %s: %w", e.At.Format(clock), ErrTooMuch)
	}
	r.Entries = append(r.Entries, e)
	return nil
}

// size is about what an entry takes of memory, in bytes.
func (e *Entry) size() int {
	const fixed = 300 // the Entry, what it points to, and what the allocator adds
	switch {
	case e.Change != nil:
		return fixed + len(e.Change.FromName) + len(e.Change.ToName) + len(e.Change.Why)
	case e.Action != nil:
		return fixed + len(e.Action.Tier) + len(e.Action.Kind) + len(e.Action.Why)
	}
	return fixed + len(e.Outcome.Tier) + len(e.Outcome.Kind) + len(e.Outcome.Result) + len(e.Outcome.Reason)
}

// New makes a Run of a policy, or of the recorded one where p is nil.
func New(name string, p *policy.Policy) *Run {
	return &Run{Name: name, own: p, Spent: map[string]time.Duration{}}
}

// Play takes the next event of a recording. The state in a beginning is the Run's from then on.
func (r *Run) Play(e record.Event) error {
	switch {
	case e.Begin != nil:
		return r.play(*e.Begin)
	case e.Tick != nil:
		return r.step(e.Tick.Sample, e.Tick.Decision)
	case r.own == nil:
		return r.done(*e.Outcome)
	}
	return nil
}

// play begins a recording. Where it goes on from the one before, so does a policy of our own.
func (r *Run) play(b record.Begin) error {
	goesOn := r.state.Started && b.State.Now == r.state.Now
	r.begin, r.policy = b, r.own
	if r.own == nil {
		var err error
		if r.policy, err = language.Decode(language.File{Name: "the recorded policy", Text: []byte(b.Policy)}); err != nil {
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
	if !goesOn {
		r.state, r.model = policy.State{}, model{}
	}
	return nil
}

func (r *Run) step(s policy.Sample, recorded policy.Decision) error {
	if r.own != nil {
		for _, o := range r.model.land(s.Now) {
			if err := r.done(o); err != nil {
				return err
			}
		}
		r.model.change(&s)
	}
	if r.state.TierName != "" {
		r.Spent[r.state.TierName] += s.Now - r.state.Now
	}
	d := policy.Step(r.policy, &r.state, s)
	if r.own == nil {
		if r.Differs == nil && !same(d, recorded) {
			r.Differs = fmt.Errorf("the first difference is at %s: recorded was %+v, decided now is %+v", r.wall(s.Now).Format(clock), recorded, d)
		}
		d = recorded
	}
	for _, ch := range d.Changes {
		if err := r.add(Entry{At: r.wall(s.Now), Change: &ch}); err != nil {
			return err
		}
	}
	for _, due := range d.Actions {
		if err := r.add(Entry{At: r.wall(s.Now), Action: &due}); err != nil {
			return err
		}
		if r.own != nil {
			r.model.start(s.Now, due)
		}
	}
	return nil
}

func (r *Run) done(o policy.Outcome) error {
	r.state.Done(o)
	return r.add(Entry{At: r.wall(o.At), Outcome: &o})
}

// wall is what a wall clock showed at a time of the present recording.
func (r *Run) wall(at time.Duration) time.Time { return r.begin.Wall.Add(at - r.begin.At) }

func same(a, b policy.Decision) bool {
	return a.Tier == b.Tier && a.TierName == b.TierName && slices.Equal(a.Changes, b.Changes) && slices.Equal(a.Actions, b.Actions)
}

// Given counts a run's actions by their kind.
func (r *Run) Given() map[string]int {
	n := map[string]int{}
	for _, e := range r.Entries {
		if e.Action != nil {
			n[e.Action.Kind]++
		}
	}
	return n
}

// Differ returns where a run first differs from what was recorded: the decisions there, nil where one has no more.
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

const clock = "2006-01-02 15:04:05.000"

func (e *Entry) String() string {
	if e == nil {
		return "nothing more"
	}
	what, why := e.text()
	return e.At.Format(clock) + "  " + what + strings.TrimSuffix(": "+why, ": ")
}

// text tells what happened and why.
func (e *Entry) text() (what, why string) {
	switch {
	case e.Change != nil:
		return fmt.Sprintf("tier %s to tier %s", cmp.Or(e.Change.FromName, "none"), cmp.Or(e.Change.ToName, "none")), e.Change.Why
	case e.Action != nil:
		return fmt.Sprintf("%s on worker %d (generation %d)", e.Action.Kind, e.Action.Worker.PID, e.Action.Generation), e.Action.Why
	}
	o := e.Outcome
	return fmt.Sprintf("  %s on worker %d: %s, freed %.1f MiB", o.Kind, o.Worker.PID, o.Result, float64(o.FreedBytes)/(1<<20)), o.Reason
}
