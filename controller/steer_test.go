package controller

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hapressure/policy"
	"hapressure/systemd"
	"hapressure/tests/haproxytest"
)

// purgeAndTerminate has one lever that costs nothing and one that cuts connections.
const purgeAndTerminate = purgeAlways + `  - name: terminate
    enter: always
    settle: 0s
    actions: [terminate-oldest: {grace: 10s, settle: 0s}]
`

func setTo(m policy.Mode) Steering {
	return Steering{Modes: map[string]policy.Mode{"": m}}
}

func outcome(kind string, result policy.Result) func(systemd.Entry) bool {
	return func(e systemd.Entry) bool {
		return e.Fields["HAPRESSURE_ACTION"] == kind &&
			e.Fields["HAPRESSURE_RESULT"] == string(result)
	}
}

// In each mode exactly what it permits is performed, and what it held back follows when
// the mode is loosened.
func TestModesPerformWhatTheyPermit(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	tunnel := w.reload()
	c, _ := w.guardWith(purgeAndTerminate, Config{Steering: setTo(policy.Observe)})
	skipped := w.journal.wait(t, "the purge that is not performed", 1,
		outcome(policy.PurgeSSLCache, policy.Skipped))[0]
	if !strings.Contains(skipped.Message,
		"nothing done: mode observe (its session cache holds memory") {
		t.Errorf("%q", skipped.Message)
	}
	w.journal.wait(t, "the termination that is not performed", 1,
		outcome(policy.TerminateOldest, policy.Skipped))

	c.Steer(setTo(policy.PurgeOnly))
	w.journal.wait(t, "the purge", 1, outcome(policy.PurgeSSLCache, policy.Done))
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel in mode purge-only: %v", err)
	}

	c.Steer(setTo(policy.Full))
	w.journal.wait(t, "the termination", 1, outcome(policy.TerminateOldest, policy.Done))
	var changes []string
	for _, e := range w.journal.all(kind(ModeChanged)) {
		changes = append(changes, e.Message)
	}
	if want := []string{
		"The mode of all targets is now purge-only; it was observe",
		"The mode of all targets is now full; it was purge-only",
	}; !slices.Equal(changes, want) {
		t.Errorf("logged %q", changes)
	}
	if n := len(w.journal.all(outcome(policy.TerminateOldest, policy.Skipped))); n != 1 {
		t.Errorf("the termination was skipped %d times, once for each time it was held back", n)
	}
}

// A pause stops a drain between two sessions, and the worker that is left is not ended.
func TestPauseStopsADrain(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	for range 4 {
		w.Tunnel()
	}
	w.reload()
	old := w.Children()[0]
	c, _ := w.guardWith(`version: 1
tiers:
  - name: shorten
    enter: always
    actions: [hard-stop-after: {limit: 1ms, spread: 10m}]
`, Config{})
	// The first session of a drain is shut down at once, the next one after two minutes.
	w.Eventually("the drain has begun", func() error {
		if c.drains("haproxy.service") {
			return nil
		}
		return errors.New("no drain")
	})
	c.Steer(Steering{Pauses: map[string]Pause{"haproxy.service": {}}})
	e := w.journal.wait(t, "the drain that was stopped", 1,
		outcome(policy.HardStopAfter, policy.Skipped))[0]
	if !strings.Contains(e.Message, "paused until 'hapressure resume'") {
		t.Errorf("%q", e.Message)
	}
	w.journal.wait(t, "the pause", 1, kind(Paused))
	target := c.State(t.Context()).Targets[0]
	if m := target.Mode; m.InForce != policy.Observe || m.Set != policy.Full || !m.Paused ||
		m.PausedUntil != nil {
		t.Errorf("status: %+v", m)
	}
	if !slices.Contains(w.Children(), old) {
		t.Error("the worker was ended")
	}

	c.Steer(Steering{})
	w.journal.wait(t, "the end of the pause", 1, kind(Resumed))
	w.Eventually("the drain begins again", func() error {
		if c.drains("haproxy.service") {
			return nil
		}
		return errors.New("no drain")
	})
}

// drains reports whether a drain of the target runs.
func (c *Controller) drains(target string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.guards[target]
	if g == nil {
		return false
	}
	g.actions.mu.Lock()
	defer g.actions.mu.Unlock()
	for _, r := range g.actions.runs {
		if r.kind == policy.HardStopAfter {
			return true
		}
	}
	return false
}

// A pause ends by itself, without any call, and a daemon that is started after it
// performs what an earlier one has skipped.
func TestPauseEnds(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	w.reload()
	now := sinceBoot()
	pause := Steering{Pauses: map[string]Pause{
		"": {Since: now, Until: now + 1500*time.Millisecond},
	}}
	w.guardWith(purgeAlways, Config{Steering: pause})
	w.journal.wait(t, "the purge that is not performed", 1,
		outcome(policy.PurgeSSLCache, policy.Skipped))
	w.journal.wait(t, "the purge", 1, outcome(policy.PurgeSSLCache, policy.Done))
}

func TestRestartInAnotherMode(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	w.reload()
	dir := t.TempDir()
	_, stop := w.guardWith(purgeAlways, Config{StateDir: dir, DryRun: true})
	w.journal.wait(t, "the purge that is not performed", 1,
		outcome(policy.PurgeSSLCache, policy.Skipped))
	stop()
	w.guardWith(purgeAlways, Config{StateDir: dir})
	w.journal.wait(t, "the purge", 1, outcome(policy.PurgeSSLCache, policy.Done))
}

// What cannot be read may be an order to do nothing.
func TestUnknownModePerformsNothing(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	w.reload()
	unknown := Steering{Unknown: "a mistake"}
	c, _ := w.guardWith(purgeAlways, Config{Steering: unknown})
	e := w.journal.wait(t, "the purge that is not performed", 1,
		outcome(policy.PurgeSSLCache, policy.Skipped))[0]
	if !strings.Contains(e.Message, "the mode is not known: a mistake") {
		t.Errorf("%q", e.Message)
	}
	c.Steer(setTo(policy.Full))
	w.journal.wait(t, "the purge", 1, outcome(policy.PurgeSSLCache, policy.Done))
	c.Steer(Steering{Unknown: "another one"})
	w.journal.wait(t, "the mistake", 1, kind(StorageFailed))
}

func TestModeOf(t *testing.T) {
	modes := map[string]policy.Mode{"": policy.PurgeOnly, "a.service": policy.Full}
	const now = time.Hour
	const acts = "full, set full, false 0s: mode full"
	const ends = "observe, set full, true "
	until := func(all, own time.Duration) Steering { // 0 = none, below 0 = until resumed
		s := Steering{Pauses: map[string]Pause{}}
		for target, at := range map[string]time.Duration{"": all, "a.service": own} {
			if at != 0 {
				s.Pauses[target] = Pause{Until: max(at, 0)}
			}
		}
		return s
	}
	for name, tt := range map[string]struct {
		s      Steering
		target string
		want   string
	}{
		"nothing set": {Steering{}, "a.service", acts},
		"its own":     {Steering{Modes: modes}, "a.service", acts},
		"of all": {Steering{Modes: modes}, "b.service",
			"purge-only, set purge-only, false 0s: mode purge-only"},
		"paused":         {until(-1, 0), "a.service", ends + "0s: paused until 'hap"},
		"another is":     {until(0, -1), "b.service", acts},
		"for a time":     {until(0, now+time.Minute), "a.service", ends + "1m0s: paused until 2"},
		"over":           {until(0, now), "a.service", acts},
		"its own is":     {until(now+time.Minute, now+time.Hour), "a.service", ends + "1h0m0s"},
		"that of all is": {until(-1, now+time.Hour), "a.service", ends + "0s"},
		"of all is over": {until(1, now+time.Minute), "a.service", ends + "1m0s"},
		"unknown": {Steering{Modes: modes, Unknown: "a mistake"}, "a.service",
			"observe, set full, false 0s: the mode is not known: a mistake"},
	} {
		m := tt.s.ModeOf(tt.target, now)
		var left time.Duration
		if m.PausedUntil != nil {
			left = time.Until(*m.PausedUntil).Round(10 * time.Second)
		}
		got := fmt.Sprintf("%s, set %s, %v %v: %s", m.InForce, m.Set, m.Paused, left, m.Why)
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestStepsOfASteeringAreLogged(t *testing.T) {
	j := newRecorder()
	c := New(Config{Journal: j, Policy: &policy.Policy{}})
	now := sinceBoot()
	log := func(s Steering, want ...string) {
		t.Helper()
		before := len(j.all(func(systemd.Entry) bool { return true }))
		c.Steer(s)
		var got []string
		for _, e := range j.all(func(systemd.Entry) bool { return true })[before:] {
			got = append(got, e.Message)
		}
		if !slices.EqualFunc(got, want, strings.HasPrefix) {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
	modes := map[string]policy.Mode{"": policy.Observe, "a.service": policy.PurgeOnly}
	log(Steering{Modes: modes}, "The mode of all targets is now observe; it was full",
		"The mode of a.service is now purge-only; it was observe")
	log(Steering{Modes: modes})
	log(setTo(policy.Observe), "The mode of a.service is now observe; it was purge-only")
	log(Steering{}, "The mode of all targets is now full; it was observe")
	hour := Steering{Pauses: map[string]Pause{"": {now, now + time.Hour}}}
	log(hour, "Paused until 2")
	log(hour)
	log(Steering{Pauses: map[string]Pause{"": {now, 0}}},
		"Paused until 'hapressure resume': no action is performed on all targets")
	log(Steering{}, "Acting on all targets again: 'hapressure resume' has ended the pause")
	over := Steering{Pauses: map[string]Pause{"": {now, now + 1}}}
	c.steered.by.Store(&over)
	log(over)
	log(Steering{}, "Acting on all targets again: the pause is over")
	log(setTo(policy.Observe), "The mode of all targets is now observe; it was full")
	log(Steering{Unknown: "x"}, "No action is performed: the mode is not known: x")
	log(Steering{Unknown: "x"})
	log(setTo(policy.Observe), "Acting on all targets again: the mode is known again")
	log(Steering{Unknown: "x"}, "No action is performed: the mode is not known: x")
	if all := c.Modes(); all.Mode.InForce != policy.Observe || len(all.Targets) != 0 {
		t.Errorf("%+v", all)
	}
}
