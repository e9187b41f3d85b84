package controller

import (
	"errors"
	"testing"

	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/tests/cgrouptest"
)

// A purge that is ordered at the moment when the target stops does not wait for ever.
func TestOrderToAGuardThatEnds(t *testing.T) {
	tree := cgrouptest.New(t)
	tree.Group(group, nil)
	c := New(Config{Policy: &policy.Policy{Targets: []policy.Target{{Cgroup: group}}}, Procfs: "/proc", Cgroups: tree.Mount, Journal: newRecorder()})
	c.mu.Lock()
	c.start(t.Context(), group, group)
	g := c.guards[group]
	c.mu.Unlock()
	tree.Remove(group)
	c.wg.Wait()
	c.guards[group] = g // as it was when the order was given
	if _, err := c.Purge(t.Context(), group, 1, true, ""); !errors.Is(err, ErrNoWorker) {
		t.Errorf("got %v, want %v", err, ErrNoWorker)
	}
}

// A worker without a cache is no refusal: there was nothing to do.
func TestManualPurgeOfNothingIsDone(t *testing.T) {
	r := manualResult(status.Purge{Result: status.NoCache})
	if r.Result != policy.Done || r.freed != 0 {
		t.Errorf("got %+v", r)
	}
}
