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
	"hapressure/policy/language"
	"hapressure/policy/record"
	"hapressure/policy/simulate"
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

// watcher is a guard that meets each sample and that no event wakes: its timer, its glances and its
// decisions are those of every guard.
type watcher struct {
	guard
	due  time.Duration
	left int // looks left out
}

func newWatcher() *watcher { return &watcher{guard: guard{woken: make(chan struct{}, 1)}} }

func (w *watcher) meet(p *policy.Policy, v view) {
	select {
	case <-w.woken: // by itself, to confirm what it saw
		w.pace.event = v.Now
	default:
		if v.Now < w.due {
			return
		}
		glance := func() view {
			return view{Sample: policy.Sample{Now: v.Now, Usage: v.Usage, Some10: v.Some10}, nearest: v.nearest}
		}
		if w.glanceIsEnough(v.Now, glance) {
			w.left++
			w.due = v.Now + tickStill
			return
		}
	}
	w.decide(p, v)
	w.due = v.Now + w.pace.next(v.Now)
}

// shipped are the ready policies, by the names of their files.
func shipped(t *testing.T) map[string]*policy.Policy {
	t.Helper()
	files, err := filepath.Glob("../packaging/policies/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("policies: %q, %v", files, err)
	}
	all := map[string]*policy.Policy{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(name)] = decode(t, string(text))
	}
	return all
}

// meetBoth has a watcher and one that looks at each sample meet the same samples. It fails if the watcher
// enters a tier later than within, and returns the two states.
func meetBoth(t *testing.T, p *policy.Policy, within time.Duration, samples func(meet func(view))) (each policy.State, w *watcher) {
	t.Helper()
	w = newWatcher()
	entered := map[int]time.Duration{}
	samples(func(v view) {
		for _, ch := range policy.Step(p, &each, v.Sample).Changes {
			for tier := ch.From + 1; tier <= ch.To; tier++ {
				entered[tier] = v.Now
			}
		}
		w.meet(p, v)
		for tier, at := range entered {
			if w.state.Tier >= tier || each.Tier < tier {
				delete(entered, tier)
			} else if v.Now-at > within {
				t.Errorf("tier %d, due at %v, is not entered at %v", tier, at, v.Now)
				delete(entered, tier)
			}
		}
	})
	return each, w
}

// Even if no event reports reloads, pressure or the counts of memory.events, each storm is met by each
// tier of the built-in policy at most one glance later than with a look at each sample. Under the other
// ready policies the times add up that begin when something is seen: for, settle, and the confirmation by
// the next sample, which comes later here than in a guard.
func TestStormsAreNotMissed(t *testing.T) {
	for file, p := range shipped(t) {
		within := 5 * time.Second
		if file == "default.yaml" {
			within = tickStill
		}
		left := 0
		for _, name := range []string{"storm", "ingress", "small-vps"} {
			t.Run(file+"/"+name, func(t *testing.T) {
				f, err := os.Open("../tests/scenarios/" + name + ".yaml")
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				s, err := simulate.Decode(name, f)
				if err != nil {
					t.Fatal(err)
				}
				_, w := meetBoth(t, p, within, func(meet func(view)) {
					_, err = simulate.DryRun(s, p, func(e record.Event) error {
						if e.Tick != nil {
							meet(view{Sample: e.Tick.Sample, nearest: cgroupLimit(e.Tick.Limit, e.Tick.Used)})
						}
						return nil
					})
				})
				if err != nil {
					t.Error(err)
				}
				left += w.left
			})
		}
		if left == 0 {
			t.Errorf("%s: no look was left out", file)
		}
	}
}

// So is a rise of usage that nothing else shows, at whatever time between two looks it begins.
func TestRiseIsNotMissed(t *testing.T) {
	p := decode(t, string(language.BuiltIn.Text))
	for calm := range lookStill / time.Second {
		each, w := meetBoth(t, p, tickStill, func(meet func(view)) {
			for i := range time.Duration(60) {
				v := view{Sample: policy.Sample{Now: i * time.Second, Usage: policy.Reading{Value: 30}, LimitIn: absent("-"), ReloadRoom: absent("-")},
					nearest: cgroupLimit(1000, 0)}
				if from := 30 + calm; i > from {
					v.Usage.Value += min(float64(i-from)*20, 68)
				}
				meet(v)
			}
		})
		if each.Tier != 3 || w.state.Tier != 3 {
			t.Errorf("tiers %d and %d", each.Tier, w.state.Tier)
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
	w := newWatcher()
	var seen time.Duration
	for i := range time.Duration(60) {
		v := view{Sample: policy.Sample{Now: i * time.Second, Usage: policy.Reading{Value: 69}}, nearest: cgroupLimit(1000, 690)}
		if i > 30 {
			v.Usage.Value = 71
		}
		w.meet(p, v)
		if seen == 0 && w.state.Tiers[0].Enter.Held {
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
		g := &guard{c: &Controller{events: Events{j}, tallies: newTallies()}, group: gr, woken: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { g.watch(ctx) })
		j.wait(t, "the missing wake-up", 1, kind(SensorMissing))
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
	g := &guard{c: &Controller{events: Events{j}, tallies: newTallies()}, group: gr, woken: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { g.watch(ctx) })
	j.wait(t, "the missing wake-up", 1, kind(SensorMissing))
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
