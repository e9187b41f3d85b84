package simulate

import (
	"testing"

	"hapressure/policy"
	"hapressure/policy/record"
	"hapressure/tests/policytest"
)

func ready(t testing.TB, name string) *policy.Policy {
	t.Helper()
	return policytest.Decode(t, string(policytest.Ready(t)[name].Text))
}

// What each of the ready policies is for, in the scenario that it is for, and at what
// cost.
func TestReadyPolicies(t *testing.T) {
	tests := []struct {
		name, scenario string
		cuts           bool // whether it may cut connections
		never          []string
	}{
		{"default", "storm", false, []string{policy.HardStopAfter, policy.TerminateOldest}},
		{"default", "ingress", true, nil},
		{"default", "small-vps", true, []string{policy.TerminateOldest}},
		{"default", "maps", false, []string{policy.HardStopAfter, policy.TerminateOldest}},
		{"gentle", "maps", false, []string{policy.HardStopAfter, policy.TerminateOldest}},
		{"proactive", "storm", false, []string{policy.HardStopAfter, policy.TerminateOldest}},
		{"gentle", "storm", false, []string{policy.HardStopAfter, policy.TerminateOldest}},
		{"gentle", "databases", false, []string{policy.HardStopAfter, policy.TerminateOldest}},
		{"small-vps", "small-vps", true, []string{policy.TerminateOldest}},
		{"ingress", "ingress", true, []string{policy.TerminateOldest}},
	}
	for _, tt := range tests {
		s, p := scenario(t, tt.scenario+".yaml"), ready(t, tt.name)
		unguarded, _ := run(t, DryRun, s, p)
		r, events := run(t, Run, s, p)
		if r.Failed != 0 || r.Killed != 0 || unguarded.Killed == 0 {
			t.Errorf("%s in %s: %v; unguarded %v", tt.name, tt.scenario, r, unguarded)
		}
		if !tt.cuts && r.Cut != 0 {
			t.Errorf("%s in %s: %d connections were cut", tt.name, tt.scenario, r.Cut)
		}
		for _, kind := range tt.never {
			if n := given(events)[kind]; n != 0 {
				t.Errorf("%s in %s: %d times %s", tt.name, tt.scenario, n, kind)
			}
		}
	}
}

// A policy without actions does nothing, whatever happens.
func TestObserveOnly(t *testing.T) {
	for _, name := range []string{"storm", "ingress", "small-vps"} {
		_, events := run(t, Run, scenario(t, name+".yaml"), ready(t, "observe-only"))
		if n := given(events); len(n) != 0 {
			t.Errorf("%s: %v", name, n)
		}
	}
}

// With the proactive policy no worker is left with its cache for as long as a reload
// lasts, so less is used at the worst moment.
func TestProactiveUsesLess(t *testing.T) {
	s := scenario(t, "storm.yaml")
	def, _ := run(t, Run, s, ready(t, "default"))
	pro, _ := run(t, Run, s, ready(t, "proactive"))
	if pro.Peak >= def.Peak {
		t.Errorf("proactive %v, default %v", pro, def)
	}
}

func given(events []record.Event) map[string]int {
	n := map[string]int{}
	for _, e := range events {
		if e.Outcome != nil {
			n[e.Outcome.Kind]++
		}
	}
	return n
}
