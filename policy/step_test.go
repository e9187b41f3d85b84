package policy_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	. "hapressure/policy"
	"hapressure/tests/policytest"
)

const ladder = `
version: 1
tiers:
  - name: one
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}, for: 30s}
    actions: [purge-ssl-cache: {}]
  - name: two
    enter: {any: [{usage: {above: 80%}}, {swap: {above: 9MiB}}], for: 3s}
    leave: {usage: {below: 75%}, for: 20s}
    actions: [hard-stop-after: {limit: 5m}]
  - name: three
    enter: {usage: {above: 95%}}
    leave: {usage: {below: 85%}}
    actions: [terminate-oldest: {}]
`

// walk steps through usages, one a second from now, and returns the tier after each.
type walk struct {
	t   *testing.T
	p   *Policy
	st  *State
	now time.Duration
	d   Decision
}

func (w *walk) step(after time.Duration, usage Reading, want int) {
	w.t.Helper()
	w.now += after
	s := calm(w.now)
	s.Usage = usage
	w.d = Step(w.p, w.st, s)
	if w.d.Confirm { // a second sample that says the same
		changes := w.d.Changes
		w.d = Step(w.p, w.st, s)
		w.d.Changes = append(changes, w.d.Changes...)
	}
	if w.d.Tier != want {
		w.t.Fatalf("at %s with usage %v: tier %d, want %d", w.now, usage, w.d.Tier, want)
	}
}

func TestTierWalk(t *testing.T) {
	w := &walk{t: t, p: policytest.Decode(t, ladder), st: &State{}}
	sec := time.Second
	w.step(0, have(50), 0)
	w.step(sec, have(75), 1)
	w.step(sec, have(96), 3) // at once, past two
	if got, want := w.d.Changes, (Change{1, 3, "one", "three", "usage 96% > 95%"}); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	w.step(sec, have(84), 2) // its enter is over, its leave holds
	w.step(sec, have(74), 2)
	w.step(19*sec, have(74), 2)
	w.step(sec, gone, 2) // restarts the time of leave
	w.step(sec, have(74), 2)
	w.step(19*sec, have(74), 2)
	w.step(sec, have(74), 1)
	if got, want := w.d.Changes, (Change{2, 1, "two", "one", "usage 74% < 75% (true for 20s of 20s)"}); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	w.step(sec, have(50), 1)
	w.step(29*sec, have(50), 1)
	w.step(sec, have(50), 0)
	if len(w.d.Changes) != 1 || w.d.TierName != "" {
		t.Errorf("got %+v", w.d)
	}
	w.step(sec, have(81), 1) // two has a for
	w.step(2*sec, have(81), 1)
	w.step(sec, have(81), 2)
}

// TestTierFallsOneAtATime asserts that each tier's leave counts from when it became the
// present one.
func TestTierFallsOneAtATime(t *testing.T) {
	w := &walk{t: t, p: policytest.Decode(t, ladder), st: &State{}}
	sec := time.Second
	w.step(0, have(96), 3)
	w.step(sec, have(10), 2)
	w.step(sec, have(10), 2)
	w.step(20*sec, have(10), 1)
	w.step(sec, have(10), 1)
	w.step(29*sec, have(10), 1)
	w.step(sec, have(10), 0)
}

func TestTierIsNotLeftWhileItsEnterIsTrue(t *testing.T) {
	p := policytest.Decode(t, ladder)
	st := &State{}
	s := calm(0)
	s.Swap = have(10 << 20)
	for s.Now = 0; s.Now < 2*time.Minute; s.Now += time.Second {
		d := Step(p, st, s) // usage is calm: leave is true all the time
		if s.Now >= 3*time.Second && d.Tier != 2 && !d.Confirm {
			t.Fatalf("tier %d at %s", d.Tier, s.Now)
		}
	}
}

// TestOneSampleCutsNothing asserts that a tier that costs connections is entered, and
// acts again after a calm, only by two samples in a row.
func TestOneSampleCutsNothing(t *testing.T) {
	p, st := policytest.Decode(t, ladder), &State{}
	worker := Worker{ID: WorkerID{7, 1}, Generation: 1, State: Stopping, StoppingFor: time.Hour, Cache: CacheEmpty, Private: 100 << 20}
	now := time.Duration(0)
	step := func(usage float64) Decision {
		now += time.Second
		s := calm(now)
		s.Usage, s.Workers = have(usage), []Worker{worker}
		return Step(p, st, s)
	}
	step(50)
	if d := step(99); d.Tier != 1 || !d.Confirm || len(d.Actions) != 0 {
		t.Errorf("the first sample: %+v", d)
	}
	if d := step(50); d.Tier != 1 || d.Confirm {
		t.Errorf("the second sample is calm: %+v", d)
	}
	step(99)
	if d := step(99); d.Tier != 3 || d.Confirm || len(d.Actions) == 0 {
		t.Errorf("two samples in a row: %+v", d)
	}
	st.Workers = nil // as if nothing had been given
	step(50)
	if d := step(84); len(d.Actions) != 0 || !d.Confirm {
		t.Errorf("the first sample after the calm: %+v", d)
	}
	if d := step(84); len(d.Actions) == 0 {
		t.Errorf("the second sample after the calm: %+v", d)
	}
}

func TestTierAlways(t *testing.T) {
	p := policytest.Decode(t, "version: 1\ntiers:\n  - {name: a, enter: always, actions: [purge-ssl-cache: {}]}\n")
	st := &State{}
	for now := range 3 {
		if d := Step(p, st, calm(time.Duration(now)*time.Second)); d.Tier != 1 {
			t.Fatalf("tier %d at %d", d.Tier, now)
		}
	}
}

func TestClockJump(t *testing.T) {
	for _, jump := range []time.Duration{-time.Hour, MaxGap + 1} {
		w := &walk{t: t, p: policytest.Decode(t, ladder), st: &State{}, now: 10 * time.Hour}
		w.step(0, have(81), 1)
		w.step(2*time.Second, have(81), 1)
		w.step(jump, have(81), 1) // the for of two restarts, the tier stays
		w.step(2*time.Second, have(81), 1)
		w.step(time.Second, have(81), 2)
	}
	// Up to the bound nothing restarts.
	w := &walk{t: t, p: policytest.Decode(t, ladder), st: &State{}}
	w.step(0, have(81), 1)
	w.step(MaxGap, have(81), 2)
}

func TestClockJumpEmptiesWindows(t *testing.T) {
	p := policytest.Decode(t, tier("{events: {high: 1, window: 5m}}", "{usage: {below: 60%}}"))
	st := &State{}
	s := calm(0)
	Step(p, st, s)
	s = calm(2 * time.Minute)
	s.Events["high"] = have(5)
	if d := Step(p, st, s); d.Tier != 0 {
		t.Errorf("events of an unseen time brought tier %d", d.Tier)
	}
}

func TestPolicyChange(t *testing.T) {
	without := `
version: 1
tiers:
  - {name: two, enter: {usage: {above: 80%}}, leave: {usage: {below: 75%}, for: 20s}, actions: [purge-ssl-cache: {}]}
  - {name: three, enter: {usage: {above: 95%}}, leave: {usage: {below: 85%}, for: 20s}, actions: [purge-ssl-cache: {}]}
`
	for _, tt := range []struct {
		usage, then float64
		from, to    int
	}{
		{50, 50, 0, 0},
		{96, 90, 3, 2}, // three is the second now
		{75, 70, 1, 0}, // one is no more: not by accident two
	} {
		w := &walk{t: t, p: policytest.Decode(t, ladder), st: &State{}}
		w.step(0, have(tt.usage), tt.from)
		w.p = policytest.Decode(t, without)
		w.step(time.Second, have(tt.then), tt.to)
		if tt.from == tt.to {
			if len(w.d.Changes) != 0 {
				t.Errorf("changes without a change: %+v", w.d.Changes)
			}
		} else if len(w.d.Changes) != 1 || w.d.Changes[0].Why != "the policy changed" || w.d.Changes[0].To != tt.to {
			t.Errorf("got %+v", w.d.Changes)
		}
	}
}

func TestStateIsJSON(t *testing.T) {
	p := policytest.BuiltIn(t)
	st := &State{}
	s := calm(0)
	s.Usage = have(99)
	s.Workers = []Worker{{ID: WorkerID{7, 8}, State: Stopping, Cache: CacheFull}}
	Step(p, st, s)
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	back := &State{}
	if err := json.Unmarshal(text, back); err != nil {
		t.Fatal(err)
	}
	s.Now++
	if d := Step(p, back, s); d.Tier != st.Tier || len(d.Changes) != 0 || len(d.Actions) != 0 {
		t.Errorf("after the round trip: %+v", d)
	}
}

// crowd is a target with many stopping workers, usage percent of memory and a clock that
// goes on with each step. What is given is in flight for ever.
func crowd(t testing.TB, usage float64) (step func() Decision) {
	p, st, s := policytest.BuiltIn(t), &State{}, calm(0)
	s.Usage = have(usage)
	for i := range 100 {
		s.Workers = append(s.Workers, Worker{ID: WorkerID{i, 1}, Generation: 1 + i, State: Stopping, StoppingFor: time.Duration(i) * time.Second, Cache: CacheEmpty, Private: 1 << 20})
	}
	return func() Decision { s.Now += 100 * time.Millisecond; return Step(p, st, s) }
}

func TestStepDoesNotAllocateWhenNothingHappens(t *testing.T) {
	for i, usage := range []float64{20, 73, 80, 88, 99} {
		step := crowd(t, usage)
		for range 1000 {
			step()
		}
		tier := i + 1 // after protect
		if d := step(); d.Tier != tier || len(d.Actions) > 0 {
			t.Fatalf("not steady at %g%%: %+v", usage, d)
		}
		if n := testing.AllocsPerRun(100, func() { step() }); n != 0 {
			t.Errorf("%g allocations a step in tier %d", n, tier)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	for _, usage := range []float64{20, 99} {
		b.Run(fmt.Sprintf("%g%%", usage), func(b *testing.B) {
			step := crowd(b, usage)
			for range 1000 {
				step()
			}
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/worker")
		})
	}
}
