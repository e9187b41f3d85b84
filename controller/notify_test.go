package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"hapressure/policy"
	"hapressure/systemd"
	"hapressure/tests/haproxytest"
)

const hookTiers = `version: 1
tiers:
  - name: low
    enter: {usage: {above: 50%}}
    leave: {usage: {below: 40%}}
    actions: []
    hook: {command: [/bin/low, arg], timeout: 5s}
  - name: middle
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}}
    actions: []
  - name: high
    enter: {usage: {above: 90%}}
    leave: {usage: {below: 80%}}
    actions: []
    hook: {command: [/bin/high]}
`

// brief writes a hook's run in a line.
func brief(h systemd.Transient) string {
	e := h.Environment
	return fmt.Sprintf("%s %s %s>%s", strings.Join(h.Command, " "), e["HAPRESSURE_CHANGE"], e["HAPRESSURE_TIER_FROM"], e["HAPRESSURE_TIER"])
}

func TestSteps(t *testing.T) {
	p := decode(t, hookTiers)
	other := decode(t, strings.ReplaceAll(strings.ReplaceAll(hookTiers, "name: high", "name: highest"), "/bin/low", "/bin/new"))
	for _, tt := range []struct {
		name string
		was  *policy.Policy
		ch   policy.Change
		want []string
	}{
		{"up one", p, policy.Change{To: 1, ToName: "low"}, []string{"/bin/low entered none>low"}},
		{"up all", p, policy.Change{To: 3, ToName: "high"}, []string{"/bin/low entered " +
			"none>low", "/bin/high entered middle>high"}},
		{"from one without " +
			"a hook", p, policy.Change{From: 2, FromName: "middle", To: 3, ToName: "high"}, []string{"/bin/high entered middle>high"}},
		{"down to one without " +
			"a hook", p, policy.Change{From: 3, FromName: "high", To: 2, ToName: "middle"}, []string{"/bin/high left high>middle"}},
		{"down to none", p, policy.Change{From: 1, FromName: "low"}, []string{"/bin/low left " +
			"low>none"}},
		{"the tier is gone from the policy", other, policy.Change{From: 3, FromName: "highest"},
			[]string{"/bin/high left highest>middle", "/bin/new left low>none"}},
		{"it has another " +
			"place", &policy.Policy{Tiers: p.Tiers[:1]}, policy.Change{From: 1, FromName: "low", To: 2, ToName: "middle"}, nil},
		{"a policy that is not " +
			"known", &policy.Policy{}, policy.Change{From: 3, FromName: "high"}, nil},
	} {
		var got []string
		for _, s := range steps(tt.was, p, tt.ch) {
			got = append(got, fmt.Sprintf("%s %s %s>%s", s.tier.Hook.Command[0], s.change, s.from, s.to))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// use sets the memory used, in percent of the limit.
func (w *world) use(percent int) {
	w.tree.Write(group, "memory.current", fmt.Sprintf("%d0000000\n", percent))
}

var limited = map[string]string{"memory.max": "1000000000\n", "memory.current": "100000000\n"}

func TestHooksAndSignalsFollowTheTiers(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, limited)
	w.units.fail = errors.New("no such program")
	w.guard(hookTiers, false)
	w.journal.wait(t, "the target", 1, kind(TargetFound))
	w.use(95)
	w.journal.wait(t, "the tier", 1, kind(TierChanged))
	w.use(10)
	// A hook that fails does not keep the next one from its turn.
	failed := w.journal.wait(t, "the hooks of the way up and down", 4, kind(HookFailed))
	if e := failed[0]; !strings.Contains(e.Message, "no such program") || e.Fields["HAPRESSURE_HOOK"] != "/bin/low" || e.Fields["HAPRESSURE_CHANGE"] != "entered" {
		t.Errorf("%q %v", e.Message, e.Fields)
	}
	var signals []tierSignal
	var hooks []systemd.Transient
	w.Eventually("a signal for each change", func() error {
		if signals, hooks = w.units.sent(); len(signals) != 4 {
			return fmt.Errorf("%d", len(signals))
		}
		return nil
	})
	want := []string{"/bin/low arg entered none>low", "/bin/high entered middle>high", "/bin/high " +
		"left high>middle", "/bin/low arg left low>none"}
	var got []string
	for _, h := range hooks {
		got = append(got, brief(h))
	}
	if !slices.Equal(got, want) {
		t.Errorf("hooks %q, want %q", got, want)
	}
	if e := hooks[0].Environment; e["HAPRESSURE_TARGET"] != "haproxy.service" || !strings.Contains(e["HAPRESSURE_REASON"], "95% > 90%") {
		t.Errorf("environment %q", e)
	}
	if signals[0].from != "none" || signals[0].to != "high" || signals[0].usage != 950_000_000 || signals[0].limit != 1_000_000_000 {
		t.Errorf("signals %+v", signals)
	}
}

// Neither ticks nor signals nor the end wait for a hook.
func TestHookThatHangs(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, limited)
	w.units.hang = true
	_, stop := w.guardWith(hookTiers, Config{})
	w.journal.wait(t, "the target", 1, kind(TargetFound))
	w.use(55)
	w.journal.wait(t, "the tier", 1, kind(TierChanged))
	w.use(10)
	w.journal.wait(t, "its end", 2, kind(TierChanged))
	w.Eventually("both signals are sent", func() error {
		if signals, _ := w.units.sent(); len(signals) != 2 {
			return fmt.Errorf("%d", len(signals))
		}
		return nil
	})
	stop()
	if n := len(w.journal.all(kind(HookFailed))); n != 2 {
		t.Errorf("%d hooks are reported, want the one that hung and the one behind it", n)
	}
	if _, hooks := w.units.sent(); brief(hooks[0]) != "/bin/low arg entered none>low" {
		t.Errorf("%q", brief(hooks[0]))
	}
}

func TestDryRunNotifiesNoProgram(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, limited)
	_, stop := w.guardWith(hookTiers, Config{DryRun: true})
	w.journal.wait(t, "the target", 1, kind(TargetFound))
	w.use(95)
	w.journal.wait(t, "the tier", 1, kind(TierChanged))
	stop()
	if signals, hooks := w.units.sent(); len(signals)+len(hooks) > 0 {
		t.Errorf("%+v %+v", signals, hooks)
	}
}

// A hook that cannot be run is reported, and nothing waits.
func TestHooksThatAreDropped(t *testing.T) {
	journal := newRecorder()
	p := decode(t, hookTiers)
	n := newNotifier(Events{journal}) // has no connection to systemd, and does not run yet
	for range notifyLimit + 1 {
		n.tierChanged("/containers/a", p, p, policy.Change{To: 1, ToName: "low", Why: "usage"}, view{})
	}
	failed := journal.all(kind(HookFailed))
	if len(failed) != 1 || !strings.Contains(failed[0].Message, errHooks.Error()) || failed[0].Fields["HAPRESSURE_TARGET"] != "/containers/a" {
		t.Errorf("%+v", failed)
	}
	n.start(t.Context())
	n.close()
	if failed := journal.all(kind(HookFailed)); len(failed) != 1+notifyLimit || !strings.Contains(failed[1].Message, errNoBus.Error()) {
		t.Errorf("%d failed, the last: %q", len(failed), failed[len(failed)-1].Message)
	}
}

// connection is a fakeUnits that tells when it was looked for targets.
type connection struct {
	fakeUnits
	looked chan struct{}
}

func (f *connection) OwnName(context.Context, string) error {
	return errors.New("another process owns it")
}

func (f *connection) ControlGroup(ctx context.Context, name string) (string, error) {
	select {
	case f.looked <- struct{}{}:
	default:
	}
	return f.fakeUnits.ControlGroup(ctx, name)
}

// After systemd was lost, hooks run by the next connection. That its bus name is taken is
// reported, and is no obstacle.
func TestHooksGoOnAfterAReconnect(t *testing.T) {
	journal := newRecorder()
	var now *connection
	c := New(Config{Policy: decode(t, hookTiers), Journal: journal, Ways: []Way{{Name: "D-Bus", Connect: func(context.Context) (Units, error) { return now, nil }}}})
	c.notifier.start(t.Context())
	h := systemd.Transient{Command: []string{"/bin/low"}, Environment: map[string]string{}}
	for i := range 2 {
		now = &connection{fakeUnits{changes: make(chan string), fail: errors.New("ran")}, make(chan struct{}, 1)}
		var follows sync.WaitGroup
		follows.Go(func() { c.follow(t.Context()) })
		<-now.looked
		c.notifier.hooks <- h
		journal.wait(t, "the hook", i+1, func(e systemd.Entry) bool { return e.Fields["HAPRESSURE_ERROR"] == "ran" })
		close(now.changes)
		follows.Wait()
		if _, hooks := now.sent(); len(hooks) != 1 {
			t.Errorf("%d hooks", len(hooks))
		}
		if c.notifier.units.Load() != nil {
			t.Error("the connection that was lost is still in use")
		}
	}
	if n := len(journal.all(kind(SensorMissing))); n != 2 {
		t.Errorf("that the name is taken is reported %d times, want once for each connection", n)
	}
	c.notifier.close()
}
