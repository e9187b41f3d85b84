package controller

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"hapressure/policy"
	"hapressure/policy/language"
	"hapressure/policy/record"
	"hapressure/policy/simulate"
)

func TestSchedule(t *testing.T) {
	const start = time.Hour // since boot
	at := func(now time.Duration, percent float64) view {
		return view{Sample: policy.Sample{Now: now, Usage: policy.Reading{Value: percent}}, nearest: cgroupLimit(1000, 200)}
	}
	var s schedule
	s.tick(at(start, 50), 0, false, false) // usage moved from nothing
	for _, c := range []struct {
		after time.Duration
		quiet bool
		next  time.Duration
	}{{0, false, tickEvery}, {quietAfter - 1, false, tickEvery}, {quietAfter, false, probeEvery}} {
		if got, next := s.quiet(start+c.after), s.next(start+c.after); got != c.quiet || next != c.next {
			t.Errorf("%v after an event: still %v, next after %v, want %v "+
				"and %v", c.after, got, next, c.quiet, c.next)
		}
	}
	now := start + quietAfter
	s.tick(at(now, 51), 0, false, false)
	if !s.quiet(now+tickQuiet-1) || s.quiet(now+tickQuiet) {
		t.Errorf("a probe does not replace ticks for just less than %v", tickQuiet)
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
		if s.moved(v) != c.moved {
			t.Errorf("from 50%% to %+v: moved %v", c, !c.moved)
		}
	}
	s.tick(at(now, 54), 1, false, false)
	if !s.quiet(now + 1) {
		t.Error("a tier that is always held wants each look")
	}
	s.tick(at(now, 54), 1, true, false)
	if s.quiet(now+1) || s.next(now) != tickBusy {
		t.Error("a probe replaces a tick in a tier that was entered because of a reading")
	}
	s.tick(at(now, 54), 0, false, true)
	if s.quiet(now+1) || s.next(now) != tickEvery {
		t.Error("nothing follows a change")
	}
}

// watcher is a guard that gets each sample and that no event wakes: its timer, its probes
// and its decisions are those of every guard.
type watcher struct {
	guard
	due    time.Duration
	probed int // ticks that a probe replaced
}

func newWatcher() *watcher {
	return &watcher{guard: guard{wakeups: wakeups{woken: make(chan struct{}, 1)}}}
}

func (w *watcher) meet(p *policy.Policy, v view) {
	select {
	case <-w.wakeups.woken: // by itself, to confirm a decision
		w.schedule.event = v.Now
	default:
		if v.Now < w.due {
			return
		}
		probe := func(time.Duration) view {
			return view{Sample: policy.Sample{Now: v.Now, Usage: v.Usage, Some10: v.Some10}, nearest: v.nearest}
		}
		if w.probeIsEnough(v.Now, probe) {
			w.probed++
			w.due = v.Now + probeEvery
			return
		}
	}
	w.decide(p, v)
	w.due = v.Now + w.schedule.next(v.Now)
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

// meetBoth has a watcher and one that looks at each sample meet the same samples. It
// fails if the watcher enters a tier later than within, and returns the two states.
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

// Even if no event reports reloads, pressure or the counts of memory.events, each storm
// is met by each tier of the built-in policy at most one probe later than with a tick at
// each sample. Under the other ready policies the times add up that begin when something
// is seen: for, settle, and the confirmation by the next sample, which comes later here
// than in a guard.
func TestStormsAreNotMissed(t *testing.T) {
	for file, p := range shipped(t) {
		within := 5 * time.Second
		if file == "default.yaml" {
			within = probeEvery
		}
		left := 0
		for _, name := range []string{"storm", "ingress", "small-vps"} {
			t.Run(file+"/"+name, func(t *testing.T) {
				f, err := os.Open("../packaging/scenarios/" + name + ".yaml")
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
				left += w.probed
			})
		}
		if left == 0 {
			t.Errorf("%s: no look was left out", file)
		}
	}
}

// So is a rise of usage that nothing else shows, at whatever time between two looks it
// begins.
func TestRiseIsNotMissed(t *testing.T) {
	p := decode(t, string(language.BuiltIn.Text))
	for calm := range tickQuiet / time.Second {
		each, w := meetBoth(t, p, probeEvery, func(meet func(view)) {
			for i := range time.Duration(60) {
				v := view{Sample: policy.Sample{Now: i * time.Second, Usage: policy.Reading{Value: 30}, LimitIn: absent("-"), ReloadRoom: absent("-")},
					nearest: cgroupLimit(1000, 0)}
				if from := 30 + calm; i > from {
					v.Usage.Value += min(float64(i-from)*20, 68)
				}
				meet(v)
			}
		})
		if each.Tier != 5 || w.state.Tier != 5 {
			t.Errorf("tiers %d and %d", each.Tier, w.state.Tier)
		}
	}
}

// While a condition waits for its time the looks are close together, though nothing else
// happens: it is met no later than it says, from when it was first seen.
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
	if seen == 0 || w.probed == 0 {
		t.Errorf("seen at %v, %d looks left out", seen, w.probed)
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

// A watchdog shorter than the time between two ticks of a quiet target does not end a
// daemon that is well.
func TestQuietGuardIsHealthy(t *testing.T) {
	for _, c := range []struct {
		ago  time.Duration
		well bool
	}{{tickQuiet + probeEvery, true}, {time.Minute, false}} {
		var g guard
		g.published.last.at = time.Now().Add(-c.ago)
		if err := (&Controller{guards: map[string]*guard{"x": &g}}).Healthy(time.Second); (err == nil) != c.well {
			t.Errorf("last tick %v ago: %v", c.ago, err)
		}
	}
}
