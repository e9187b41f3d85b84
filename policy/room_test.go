package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	. "hapressure/policy"
	"hapressure/tests/policytest"
)

// ladderForRoom is a ladder of which no tier is entered by the usage of these tests.
const ladderForRoom = `
version: 1
tiers:
  - {name: purge, enter: {usage: {above: 70%}}, leave: {usage: {below: 60%}}, actions: [purge-ssl-cache: {}]}
  - name: swap
    enter: {usage: {above: 80%}}
    leave: {usage: {below: 70%}}
    actions: [page-out: {}]
  - name: shorten
    enter: {usage: {above: 90%}}
    leave: {usage: {below: 80%}}
    actions: [hard-stop-after: {limit: 5m, spread: 5s, worth: 5%}]
  - name: terminate
    enter: {usage: {above: 95%}}
    leave: {usage: {below: 90%}}
    actions: [terminate-oldest: {}]
`

// roomBench is a bench in which a client waits for room for two reloads.
func roomBench(t *testing.T, drain string, workers ...Worker) *bench {
	p := policytest.Decode(t, ladderForRoom+"make-room: {drain: "+drain+"}\n")
	b := newBench(t, p, 50, workers...)
	b.room, b.wanted, b.swap = 1, 2, 1<<30
	return b
}

// What cuts no connection is done in the order of the tiers, and nothing else.
func TestRoomWithoutDrains(t *testing.T) {
	b := roomBench(t, "false", stopping(1, 1, CacheFull), stopping(2, 1, CacheFull))
	due := b.expect(0, "purge 11", "purge 21")
	if why := due[0].Why; due[0].Tier != "purge" ||
		!strings.Contains(why, "make-room waits for room for 2 reloads, and there is room for 1") {
		t.Errorf("tier %s, because %s", due[0].Tier, why)
	}
	b.expect(sec) // the purges are in flight
	b.done(PurgeSSLCache, 11, Done)
	b.done(PurgeSSLCache, 21, Failed)
	b.workers[0].Cache = CacheEmpty
	b.expect(0, "page 11") // a retry of the purge waits for its time
	b.done(PageOut, 11, Done)
	b.expect(0, "page 21") // one after another
	b.done(PageOut, 21, Done)
	b.expect(sec, "purge 21")
	b.done(PurgeSSLCache, 21, Refused)
	for range 3 {
		b.expect(time.Minute)
	}
}

func TestRoomByDrains(t *testing.T) {
	b := roomBench(t, "true", stopping(1, 1, CacheEmpty), stopping(2, 1, CacheEmpty))
	b.swap = 0
	due := b.expect(0, "hard 11") // however short it has been stopping
	if due[0].Spread != 5*sec || !strings.HasPrefix(due[0].Why, "the policy permits drains to ") {
		t.Errorf("drained over %v, because %s", due[0].Spread, due[0].Why)
	}
	b.expect(sec) // one after another
	b.done(HardStopAfter, 11, Done)
	b.kill(11)
	b.room = 2.1
	b.expect(sec) // there is room
	b.room = 1.9
	b.expect(sec, "hard 21")
}

// A single sample that lacks room drains no worker.
func TestRoomIsConfirmedBeforeDrains(t *testing.T) {
	b := roomBench(t, "true", stopping(1, 1, CacheEmpty))
	b.swap = 0
	for _, room := range []float64{1, 3, 1, 3} {
		s := b.sample()
		s.ReloadRoom = have(room)
		if d := Step(b.p, b.st, s); len(d.Actions) > 0 || d.Confirm != (room < 2) {
			t.Fatalf("room for %v: %+v", room, d)
		}
	}
	absent := b.sample()
	absent.ReloadRoom = Reading{Absent: "not known"}
	Step(b.p, b.st, absent)
	if d := Step(b.p, b.st, absent); len(d.Actions) > 0 || d.Confirm {
		t.Errorf("unknown room: %+v", d)
	}
}

// Others use the memory: draining HAProxy's workers would not make the room.
func TestRoomIsWorthADrain(t *testing.T) {
	b := roomBench(t, "true", stopping(1, 1, CacheEmpty))
	b.swap = 0
	b.roomOf = Limit{Name: "the host's memory", Bytes: 1 << 30}
	b.expect(0)
	if len(b.st.Withheld) > 0 {
		t.Errorf("withheld of a tier that was not entered: %+v", b.st.Withheld)
	}
	b.workers[0].Private = 100 << 20
	b.expect(sec, "hard 11")
}

// Nothing is done for a client that does not wait, or whose room there is.
func TestRoomIsNotWanted(t *testing.T) {
	b := roomBench(t, "true", stopping(1, 1, CacheFull))
	b.wanted = 0
	b.expect(0)
	b.wanted, b.room = 2, 2
	b.expect(sec)
}

// A restart between two samples loses neither of them.
func TestLackingRoomIsPersisted(t *testing.T) {
	b := roomBench(t, "true", stopping(1, 1, CacheEmpty))
	b.swap = 0
	Step(b.p, b.st, b.sample())
	for name, v := range map[string]any{"LackingRoom": b.st, "RoomWanted": b.sample()} {
		if text, err := json.Marshal(v); err != nil || !strings.Contains(string(text), name) {
			t.Errorf("%s is not recorded: %s, %v", name, text, err)
		}
	}
	text, err := json.Marshal(b.st)
	if err != nil {
		t.Fatal(err)
	}
	var restored State
	if err := json.Unmarshal(text, &restored); err != nil {
		t.Fatal(err)
	}
	if err := restored.Resume(b.p); err != nil {
		t.Fatal(err)
	}
	if d := Step(b.p, &restored, b.sample()); len(d.Actions) != 1 {
		t.Errorf("got %+v, want a drain", d)
	}
}
