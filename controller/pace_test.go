package controller

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hapressure/cgroup"
	"hapressure/policy"
	"hapressure/policy/record"
	"hapressure/policy/simulate"
	"hapressure/systemd"
	"hapressure/tests/cgrouptest"
)

func TestPace(t *testing.T) {
	const start = time.Hour // since boot
	at := func(now time.Duration, percent float64) view {
		return view{Sample: policy.Sample{Now: now, Usage: policy.Reading{Value: percent}}, nearest: cgroupLimit(1000, 200)}
	}
	var p pace
	p.look(at(start, 50), 0, false, false) // usage moved from nothing
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
	p.look(at(now, 51), 0, false, false)
	if !p.still(now+lookStill-1) || p.still(now+lookStill) {
		t.Errorf("a glance does not do for just less than %v", lookStill)
	}
	for _, c := range []struct {
		usage, some policy.Reading
		used        uint64 // of the nearest limit, which usage need not be of
		moved       bool
	}{
		{policy.Reading{Value: 50}, policy.Reading{}, 200, false}, {policy.Reading{Value: 54.9}, policy.Reading{Value: 0.9}, 279, false},
		{policy.Reading{Value: 55}, policy.Reading{}, 200, true}, {policy.Reading{Value: 45}, policy.Reading{}, 200, true},
		{policy.Reading{Absent: "gone"}, policy.Reading{}, 200, true}, {policy.Reading{Value: 50}, policy.Reading{Value: 1}, 200, true},
		{policy.Reading{Value: 50}, policy.Reading{}, 281, true}, {policy.Reading{Value: 50}, policy.Reading{}, 119, true},
	} {
		v := view{Sample: policy.Sample{Usage: c.usage, Some10: c.some}, nearest: cgroupLimit(1000, c.used)}
		if p.moved(v) != c.moved {
			t.Errorf("from 50%% to %+v: moved %v", c, !c.moved)
		}
	}
	p.look(at(now, 54), 1, false, false)
	if !p.still(now + 1) {
		t.Error("a tier that is always held wants each look")
	}
	p.look(at(now, 54), 1, true, false)
	if p.still(now+1) || p.next(now) != tickBusy {
		t.Error("a glance does for a tier that is held for what was sensed")
	}
	p.look(at(now, 54), 0, false, true)
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
	// confirm is whether the last decision asked for another sample.
	confirm bool
}

func (w *watcher) meet(p *policy.Policy, v view) {
	s := v.Sample
	switch {
	case s.Now < w.due:
		return
	case w.pace.still(s.Now) && !w.pace.moved(v):
		w.left++
	default:
		known := len(w.state.Workers)
		d := policy.Step(p, &w.state, s)
		w.confirm = d.Confirm
		w.pace.look(v, d.Tier, d.Tier > 0, len(d.Changes)+len(d.Actions) > 0 || len(w.state.Workers) != known || w.state.Pending(p))
	}
	w.due = s.Now + w.pace.next(s.Now)
	if w.confirm {
		w.due = s.Now
	}
}

// Each storm is met by each tier at most one glance later than with a look at each sample, even if no event tells of reloads, pressure or the
// counts of memory.events; and so is a rise without anything else to see.
func TestStormsAreNotMissed(t *testing.T) {
	p := decode(t, string(policy.BuiltIn.Text))
	var each policy.State
	var glances watcher
	entered := map[int]time.Duration{}
	meet := func(v view) {
		s := v.Sample
		for _, ch := range policy.Step(p, &each, s).Changes {
			for tier := ch.From + 1; tier <= ch.To; tier++ {
				entered[tier] = s.Now
			}
		}
		glances.meet(p, v)
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
				meet(view{Sample: e.Tick.Sample, nearest: cgroupLimit(e.Tick.Limit, e.Tick.Used)})
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
			v := view{Sample: policy.Sample{Now: i * time.Second, Usage: policy.Reading{Value: 30}, LimitIn: absent("-"), ReloadRoom: absent("-")},
				nearest: cgroupLimit(1000, 0)}
			if from := 30 + calm; i > from {
				v.Usage.Value += min(float64(i-from)*20, 68)
			}
			meet(v)
		}
		if each.Tier != 3 || glances.state.Tier != 3 {
			t.Errorf("tiers %d and %d", each.Tier, glances.state.Tier)
		}
	}
}

// While a condition waits for its time the looks are close together, though nothing else happens: it is met no later than it says, from when it
// was first seen.
func TestWhatIsPendingIsWatched(t *testing.T) {
	p := decode(t, `version: 1
tiers:
  - name: watch
    enter: {usage: {above: 70%}, for: 3s}
    leave: {usage: {below: 60%}}
    actions: [purge-ssl-cache: {}]
`)
	var w watcher
	var seen time.Duration
	for i := range time.Duration(60) {
		v := view{Sample: policy.Sample{Now: i * time.Second, Usage: policy.Reading{Value: 69}}, nearest: cgroupLimit(1000, 690)}
		if i > 30 {
			v.Usage.Value = 71
		}
		w.meet(p, v)
		if seen == 0 && w.state.Nodes[0].Enter.Held {
			seen = v.Now
		}
		if seen > 0 && v.Now-seen > 4*time.Second && w.state.Tier != 1 {
			t.Fatalf("seen at %v, but not entered at %v", seen, v.Now)
		}
	}
	if seen == 0 || w.left == 0 {
		t.Errorf("seen at %v, %d looks left out", seen, w.left)
	}
}

// In a tier that is always held, a worker's time is over when it says.
func TestEndOfAWorkersTimeIsWatched(t *testing.T) {
	p := decode(t, `version: 1
tiers:
  - name: limit
    enter: always
    actions: [hard-stop-after: {limit: 5m}]
`)
	var g guard
	policy.Step(p, &g.state, policy.Sample{})
	for after, soon := range map[time.Duration]bool{0: false, 4*time.Minute + 47*time.Second: false, 4*time.Minute + 49*time.Second: true, 5 * time.Minute: false} {
		v := view{Sample: policy.Sample{Workers: []policy.Worker{{State: policy.Stopping, StoppingFor: after}}}}
		if g.endsSoon(p, v) != soon {
			t.Errorf("stopping for %v: ends soon %v", after, !soon)
		}
	}
}

// A watchdog of less than a still time does not end a guard that is well.
func TestStillGuardIsHealthy(t *testing.T) {
	for _, c := range []struct {
		ago  time.Duration
		well bool
	}{{lookStill + tickStill, true}, {time.Minute, false}} {
		var g guard
		g.last.at = time.Now().Add(-c.ago)
		if err := (&Controller{guards: map[string]*guard{"x": &g}}).Healthy(time.Second); (err == nil) != c.well {
			t.Errorf("looked at %v ago: %v", c.ago, err)
		}
	}
}

// Without an event to wake it a guard must look. For pressure a glance does, and where there are no events none is missed.
func TestGuardThatNothingWakesLooks(t *testing.T) {
	const loop = "a link to itself"
	for _, c := range []struct {
		file, is string
		blind    bool
	}{{"memory.pressure", cgrouptest.Absent, false}, {"memory.events", cgrouptest.Absent, false}, {"memory.events", loop, true}} {
		tree := cgrouptest.New(t)
		tree.Group(group, map[string]string{c.file: cgrouptest.Absent})
		if c.is == loop {
			if err := os.Symlink(c.file, filepath.Join(tree.Mount, group, c.file)); err != nil {
				t.Fatal(err)
			}
		}
		gr, err := cgroup.Open(tree.Mount, group)
		if err != nil {
			t.Fatal(err)
		}
		defer gr.Close()
		j := newRecorder()
		g := &guard{c: &Controller{report: reporter{j, newTallies()}}, group: gr, woken: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { g.watch(ctx) })
		j.wait(t, "the missing wake-up", 1, kind(systemd.SensorMissing))
		cancel()
		wg.Wait()
		if g.blind.Load() != c.blind {
			t.Errorf("%s is %q: blind %v", c.file, c.is, !c.blind)
		}
	}
}

// A file that cannot be watched may be one that can, later.
func TestGuardSeesAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("waits half a minute")
	}
	tree := cgrouptest.New(t)
	tree.Group(group, map[string]string{"memory.events": cgrouptest.Absent})
	events := filepath.Join(tree.Mount, group, "memory.events")
	if err := os.Symlink("memory.events", events); err != nil {
		t.Fatal(err)
	}
	gr, err := cgroup.Open(tree.Mount, group)
	if err != nil {
		t.Fatal(err)
	}
	defer gr.Close()
	j := newRecorder()
	g := &guard{c: &Controller{report: reporter{j, newTallies()}}, group: gr, woken: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { g.watch(ctx) })
	j.wait(t, "the missing wake-up", 1, kind(systemd.SensorMissing))
	if err := os.Remove(events); err != nil {
		t.Fatal(err)
	}
	tree.Write(group, "memory.events", "high 0\n")
	select {
	case <-g.woken:
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing wakes it")
	}
	if g.blind.Load() {
		t.Error("it is woken, and still blind")
	}
}
