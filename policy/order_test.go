package policy_test

import (
	"strings"
	"testing"

	. "hapressure/policy"
	"hapressure/tests/policytest"
)

// byCost is a ladder that drains by bytes a connection.
const byCost = `
version: 1
tiers:
  - name: purge
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}}
    actions: [purge-ssl-cache: {}]
  - name: shorten
    enter: {usage: {above: 80%}}
    leave: {usage: {below: 75%}}
    actions: [hard-stop-after: {limit: 1s, order: bytes-per-connection}]
`

// counted is a stopping worker that holds so many MiB for so many connections.
func counted(generation int, mib uint64, connections int) Worker {
	w := stopping(generation, 1, CacheEmpty)
	w.Private, w.Connections = mib<<20, &connections
	return w
}

func TestDrainByCost(t *testing.T) {
	unknown := stopping(1, 1, CacheEmpty)
	unknown.Private = 900 << 20
	b := newBench(t, policytest.Decode(t, byCost), 81,
		unknown, counted(2, 100, 10), counted(3, 300, 2), counted(4, 5, 0), counted(5, 100, 10))
	b.expect(0) // the first step waits for connections that were not counted
	b.expect(sec, "hard 41")
	b.kill(41)
	why := b.expect(sec, "hard 31")[0].Why
	if want := "it holds the most bytes a connection, 300MiB for 2;"; !strings.Contains(why, want) {
		t.Errorf("why %q, want %q in it", why, want)
	}
	b.kill(31)
	b.expect(sec, "hard 21") // equal cost: the older one
	b.kill(21)
	b.expect(sec, "hard 51")
	b.kill(51)
	why = b.expect(sec, "hard 11")[0].Why
	if !strings.Contains(why, "its bytes a connection are not known") {
		t.Errorf("why %q", why)
	}
}

func TestConnectionsAreCountedOnlyForAnOrder(t *testing.T) {
	p := policytest.Decode(t, byCost)
	if (&State{}).CountsConnections(p) {
		t.Error("counted although memory is not short")
	}
	if !(&State{Tier: 1}).CountsConnections(p) || !(&State{LackingRoom: 1}).CountsConnections(p) {
		t.Error("not counted in the tier before, or while a client waits for room")
	}
	oldest := policytest.Decode(t, strings.Replace(byCost, "bytes-per-connection", "oldest", 1))
	if (&State{Tier: 2}).CountsConnections(oldest) {
		t.Error("counted for a policy that drains the oldest first")
	}
}
