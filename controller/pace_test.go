package controller

import (
	"os"
	"testing"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
	"hapressure/policy/simulate"
)

func TestPace(t *testing.T) {
	const start = time.Hour // since boot
	at := func(percent float64) policy.Reading { return policy.Reading{Value: percent} }
	var p pace
	p.look(start, at(50), 0, false, false) // usage moved from nothing
	for _, c := range []struct {
		after time.Duration
		still bool
		next  time.Duration
	}{{0, false, tickCalm}, {stillAfter - 1, false, tickCalm}, {stillAfter, false, tickStill}} {
		if got, next := p.still(start+c.after), p.next(start+c.after); got != c.still || next != c.next {
			t.Errorf("%v after an event: still %v, next after %v, want %v and %v", c.after, got, next, c.still, c.next)
		}
	}
	now := start + stillAfter
	p.look(now, at(51), 0, false, false)
	if !p.still(now+lookStill-1) || p.still(now+lookStill) {
		t.Errorf("a glance does not do for just less than %v", lookStill)
	}
	for usage, moved := range map[policy.Reading]bool{at(50): false, at(54.9): false, at(55): true, at(45): true, {Absent: "gone"}: true} {
		if p.moved(usage) != moved {
			t.Errorf("from 50%% to %+v: moved %v", usage, !moved)
		}
	}
	p.look(now, at(54), 1, false, false)
	if !p.still(now + 1) {
		t.Error("a tier that is always held wants each look")
	}
	p.look(now, at(54), 1, true, false)
	if p.still(now+1) || p.next(now) != tickBusy {
		t.Error("a glance does for a tier that is held for what was sensed")
	}
	p.look(now, at(54), 0, false, true)
	if p.still(now+1) || p.next(now) != tickCalm {
		t.Error("nothing follows a change")
	}
}

// watcher is met by each sample, and looks when a guard would that no event wakes.
type watcher struct {
	state policy.State
	pace  pace
	due   time.Duration
	left  int // looks left out
}

func (w *watcher) meet(p *policy.Policy, s policy.Sample) {
	switch {
	case s.Now < w.due:
		return
	case w.pace.still(s.Now) && !w.pace.moved(s.Usage):
		w.left++
	default:
		known := len(w.state.Workers)
		d := policy.Step(p, &w.state, s)
		w.pace.look(s.Now, s.Usage, d.Tier, d.Tier > 0, len(d.Changes)+len(d.Actions) > 0 || len(w.state.Workers) != known)
	}
	w.due = s.Now + w.pace.next(s.Now)
}

// Each storm is met by each tier at most one glance later than with a look at each sample, even if no event tells of reloads, pressure or the
// counts of memory.events; and so is a rise without anything else to see.
func TestStormsAreNotMissed(t *testing.T) {
	p := decode(t, string(policy.BuiltIn.Text))
	var each policy.State
	var glances watcher
	entered := map[int]time.Duration{}
	meet := func(s policy.Sample) {
		for _, ch := range policy.Step(p, &each, s).Changes {
			for tier := ch.From + 1; tier <= ch.To; tier++ {
				entered[tier] = s.Now
			}
		}
		glances.meet(p, s)
		for tier, at := range entered {
			if glances.state.Tier >= tier || each.Tier < tier {
				delete(entered, tier)
			} else if s.Now-at > tickStill {
				t.Fatalf("tier %d, due at %v, is not entered at %v", tier, at, s.Now)
			}
		}
	}
	for _, name := range []string{"storm", "ingress", "small-vps"} {
		f, err := os.Open("../tests/scenarios/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s, err := simulate.Decode(name, f)
		if err != nil {
			t.Fatal(err)
		}
		each, glances = policy.State{}, watcher{}
		_, err = simulate.Run(s, p, true, func(e record.Event) error {
			if e.Tick != nil {
				meet(e.Tick.Sample)
			}
			return nil
		})
		if err != nil || glances.left == 0 {
			t.Errorf("%s: %v, %d looks left out", name, err, glances.left)
		}
	}
	for calm := range lookStill / time.Second { // the rise begins at any time between two looks
		each, glances = policy.State{}, watcher{}
		for i := range time.Duration(60) {
			s := policy.Sample{Now: i * time.Second, Usage: policy.Reading{Value: 30}, LimitIn: absent("-"), ReloadRoom: absent("-")}
			if from := 30 + calm; i > from {
				s.Usage.Value += min(float64(i-from)*20, 68)
			}
			meet(s)
		}
		if each.Tier != 3 || glances.state.Tier != 3 {
			t.Errorf("tiers %d and %d", each.Tier, glances.state.Tier)
		}
	}
}
