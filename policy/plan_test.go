package policy_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	. "hapressure/policy"
	"hapressure/tests/policytest"
)

// stopping makes a stopping worker whose pid is 10 times its generation plus n.
func stopping(generation, n int, cache Cache) Worker {
	return Worker{ID: WorkerID{PID: generation*10 + n, Start: 1}, Generation: generation, State: Stopping, StoppingFor: 10 * time.Second, Cache: cache, Private: 1 << 20}
}

// bench steps one target through samples that differ in time and workers only.
type bench struct {
	t       *testing.T
	p       *Policy
	st      *State
	usage   float64
	room    float64 // 0 = plenty
	swap    float64 // room in swap, bytes
	now     time.Duration
	workers []Worker
	usageOf Limit // the zero one = the target's own
	roomOf  Limit // as usageOf
	wanted  float64
	mode    Mode
}

func newBench(t *testing.T, p *Policy, usage float64, workers ...Worker) *bench {
	return &bench{t: t, p: p, st: &State{}, usage: usage, workers: workers}
}

// expect steps after a pause and compares the due actions, each written as "kind pid".
func (b *bench) expect(after time.Duration, want ...string) []Due {
	b.t.Helper()
	b.now += after
	s := b.sample()
	d := Step(b.p, b.st, s)
	if d.Confirm { // a second sample that says the same
		first := d.Actions
		d = Step(b.p, b.st, s)
		d.Actions = append(first, d.Actions...)
	}
	var got []string
	for _, due := range d.Actions {
		got = append(got, fmt.Sprintf("%s %d", strings.SplitN(due.Kind, "-", 2)[0], due.Worker.PID))
	}
	if !slices.Equal(got, want) {
		b.t.Fatalf("at %s in tier %q: due %q, want %q", b.now, d.TierName, got, want)
	}
	return d.Actions
}

// sample is one of now.
func (b *bench) sample() Sample {
	s := calm(b.now)
	s.Usage, s.Mode = have(b.usage), b.mode
	if b.room != 0 {
		s.ReloadRoom = have(b.room)
	}
	if b.usageOf != (Limit{}) {
		s.UsageOf = b.usageOf
	}
	if b.roomOf != (Limit{}) {
		s.RoomOf = b.roomOf
	}
	s.RoomWanted = b.wanted
	s.SwapRoom = have(b.swap)
	s.Workers = slices.Clone(b.workers)
	return s
}

// done reports the end of an action now.
func (b *bench) done(kind string, pid int, r Result) {
	b.st.Done(Outcome{Kind: kind, Worker: WorkerID{pid, 1}, At: b.now, Result: r})
}

// kill takes workers out of the list.
func (b *bench) kill(pids ...int) {
	b.workers = slices.DeleteFunc(b.workers, func(w Worker) bool { return slices.Contains(pids, w.ID.PID) })
}

// three is a ladder of the three actions; urgent goes into the last tier.
func three(t *testing.T, last, terminate string) *Policy {
	return policytest.Decode(t, `
version: 1
tiers:
  - {name: purge, enter: {usage: {above: 70%}}, leave: {usage: {below: 60%}}, settle: 10s, actions: [purge-ssl-cache: {}]}
  - name: shorten
    enter: {usage: {above: 80%}}
    leave: {usage: {below: 75%}}
    settle: 0s
    actions: [hard-stop-after: {limit: 4m, halve-every: 30s, floor: 20s, spread: 5s}]
  - name: terminate
    enter: {usage: {above: 90%}}
    leave: {usage: {below: 85%}}
    settle: 2s
`+last+`
    actions: [terminate-oldest: `+terminate+`]
`)
}

const (
	sec      = time.Second
	inPurge  = 71
	inShort  = 81
	inTermin = 91
)

func TestOnlyStoppingWorkers(t *testing.T) {
	for _, state := range []WorkerState{Unknown, Current} {
		w := stopping(1, 1, CacheFull)
		w.State, w.StoppingFor = state, time.Hour
		b := newBench(t, three(t, "    urgent: true", "{}"), inTermin, w)
		b.expect(0)
		b.expect(30 * sec)
	}
	w := stopping(1, 1, CacheFull)
	b := newBench(t, three(t, "", "{}"), inPurge, w)
	b.expect(0, "purge 11")
	b.done(PurgeSSLCache, 11, Failed)
	b.workers[0].State = Unknown // its proof is lost
	b.expect(10 * sec)
}

func TestPurge(t *testing.T) {
	b := newBench(t, three(t, "", "{}"), inPurge,
		stopping(3, 1, CacheFull), stopping(1, 1, CacheFull), stopping(2, 1, CacheEmpty), stopping(2, 2, CacheUnknown))
	due := b.expect(0, "purge 11", "purge 31")
	if want := "its session cache holds memory; stopping for 10s; tier purge: usage 71% > 70%"; due[0].Why != want {
		t.Errorf("why %q, want %q", due[0].Why, want)
	}
	b.expect(sec) // in flight
	b.workers = append(b.workers, stopping(4, 1, CacheFull))
	b.expect(sec, "purge 41") // other workers are purged meanwhile
	b.done(PurgeSSLCache, 11, Done)
	b.done(PurgeSSLCache, 31, Refused)
	b.done(PurgeSSLCache, 41, Failed)
	b.expect(0) // too soon for 41; a stale "full" of 11 is not believed
	b.expect(sec, "purge 41")
	b.done(PurgeSSLCache, 41, Failed)
	b.expect(2*sec - 1)
	b.expect(1, "purge 41")
	for _, pause := range []time.Duration{4 * sec, 8 * sec, 16 * sec, 30 * sec, 30 * sec} {
		b.done(PurgeSSLCache, 41, Failed)
		b.expect(pause - 1)
		b.expect(1, "purge 41")
	}
}

// TestHeldTierIsExplained asserts that an action of a tier whose enter is not true any
// more says since when the tier is held, and what leaves it.
func TestHeldTierIsExplained(t *testing.T) {
	p := policytest.Decode(t, `
version: 1
tiers:
  - name: purge
    enter: {any: [{reload-room: {below: 2}}, {usage: {above: 70%}}]}
    leave: {all: [{usage: {below: 60%}}, {reload-room: {above: 8}}], for: 30s}
    actions: [purge-ssl-cache: {}]
  - name: more
    enter: {usage: {above: 90%}}
    leave: {usage: {below: 85%}}
    actions: [page-out: {}]
`)
	b := newBench(t, p, inPurge)
	b.expect(0)
	b.usage, b.room = 23.47, 7.47
	b.expect(30 * sec)
	b.workers = []Worker{stopping(1, 1, CacheFull)}
	due := b.expect(10*sec, "purge 11")
	if want := "its session cache holds memory; stopping for 10s; tier purge was entered 40s ago, which is left when " +
		"(usage below 60% and reload-room above 8) for 30s: usage 23.47% < 60%; not met: reload-room 7.47 <= 8"; due[0].Why != want {
		t.Errorf("why %q, want %q", due[0].Why, want)
	}
	b.usage, b.room = 72, 7.47
	b.workers[0].ID.PID = 12
	if due, want := b.expect(sec, "purge 12"), "tier purge: usage 72% > 70%; not met: reload-room 7.47 >= 2"; !strings.HasSuffix(due[0].Why, want) {
		t.Errorf("why %q, want %q", due[0].Why, want)
	}
	b.usage = inTermin
	b.expect(sec)
	b.usage = 65
	p.Tiers[1].Leave.For = time.Minute
	b.workers[0].ID.PID = 13
	if due, want := b.expect(sec, "purge 13"), "tier purge was entered 43s ago and is milder than tier more, which is left when usage below 85% for 1m: "+
		"usage 65% < 85% (true for 0s of 1m)"; !strings.HasSuffix(due[0].Why, want) {
		t.Errorf("why %q, want %q", due[0].Why, want)
	}
}

func TestPurgeNotOfWorkersThatAreBeingEnded(t *testing.T) {
	b := newBench(t, three(t, "", "{}"), inTermin, stopping(1, 1, CacheEmpty))
	b.expect(0, "terminate 11")
	b.workers[0].Cache = CacheFull
	b.expect(sec)
}

func TestPIDIsNotAnIdentity(t *testing.T) {
	b := newBench(t, three(t, "", "{}"), inPurge, stopping(1, 1, CacheFull))
	b.expect(0, "purge 11")
	b.done(PurgeSSLCache, 11, Refused)
	b.workers[0].ID.Start = 2 // another process
	b.expect(sec, "purge 11")
}

func TestNoTierNoAction(t *testing.T) {
	b := newBench(t, three(t, "", "{}"), 50, stopping(1, 1, CacheFull))
	b.expect(0)
}

func TestWorkersThatCouldNotBeListedAreNotGone(t *testing.T) {
	b := newBench(t, three(t, "", "{settle: 0}"), inTermin, stopping(1, 1, CacheEmpty), stopping(2, 1, CacheEmpty))
	b.expect(0, "terminate 11")
	s := calm(5 * sec)
	s.Usage, s.WorkersAbsent = have(inTermin), "no answer"
	if d := Step(b.p, b.st, s); len(d.Actions) != 0 {
		t.Errorf("due without a list: %+v", d.Actions)
	}
	b.expect(10 * sec) // 11 is in flight still
}

func TestHigherTierWaitsForPurge(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cache Cache
		end   Result // of the purge, if any
		after time.Duration
		want  []string
	}{
		{"in flight", CacheFull, "", 10 * sec, nil},
		{"in flight for longer than settle", CacheFull, "", 10*sec + 1, []string{"terminate 11"}},
		{"refused by the controller", CacheFull, Refused, sec, []string{"terminate 11"}},
		{"busy", CacheFull, Failed, sec / 2, []string{"terminate 11"}},
		{"not looked at yet", CacheUnknown, "", 10*sec - 1, nil},
		{"never looked at", CacheUnknown, "", 10 * sec, []string{"terminate 11"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, three(t, "", "{}"), inTermin, stopping(1, 1, tt.cache))
			if tt.cache == CacheFull {
				b.expect(0, "purge 11")
			} else {
				b.expect(0)
			}
			if tt.end != "" {
				b.done(PurgeSSLCache, 11, tt.end)
			}
			b.expect(tt.after, tt.want...)
		})
	}
	b := newBench(t, three(t, "", "{}"), inTermin, stopping(1, 1, CacheEmpty))
	b.expect(0, "terminate 11") // nothing to wait for
}

func TestSettleCountsFromTheWorkersAppearance(t *testing.T) {
	b := newBench(t, three(t, "", "{}"), inTermin)
	b.expect(0)
	b.expect(50 * sec) // purge was entered long ago
	b.workers = append(b.workers, stopping(1, 1, CacheUnknown))
	b.expect(sec)
	b.expect(10*sec - 1)
	b.expect(1, "terminate 11")
}

func TestUrgentDoesNotWait(t *testing.T) {
	p := three(t, "    urgent: true", "{}")
	p.Tiers[1].Settle = time.Minute
	b := newBench(t, p, inTermin, stopping(1, 1, CacheEmpty))
	b.expect(0, "terminate 11")
	// It waits for a purge all the same.
	b = newBench(t, p, inTermin, stopping(1, 1, CacheFull))
	b.expect(0, "purge 11")
	b.done(PurgeSSLCache, 11, Refused)
	b.expect(sec, "terminate 11")
	// It may be a condition.
	p = three(t, "    urgent: {usage: {above: 95%}}", "{}")
	p.Tiers[1].Settle = time.Minute
	b = newBench(t, p, inTermin, stopping(1, 1, CacheEmpty))
	b.expect(0)
	b.expect(sec)
	b.usage = 96
	b.expect(sec, "terminate 11")
}

// While the limit of hard-stop-after comes down terminate leaves it its settle.
func TestTerminateLeavesShortenItsTime(t *testing.T) {
	p := three(t, "", "{}")
	p.Tiers[1].Settle = time.Minute
	b := newBench(t, p, inTermin, stopping(1, 1, CacheEmpty))
	b.expect(0)
	b.expect(59 * sec)
	b.expect(sec, "terminate 11")
	// A worker that stops later does not restart it.
	b.workers = append(b.workers, stopping(2, 1, CacheEmpty))
	b.kill(11)
	b.done(TerminateOldest, 11, Done)
	b.expect(sec)
	b.expect(2*sec, "terminate 21")
}

// Memory has come back: the tier is held for its leave time, but no connection is cut. A
// purge costs none.
func TestNobodyIsCutWhileAllIsWell(t *testing.T) {
	p := three(t, "", "{}")
	for i := range p.Tiers {
		p.Tiers[i].Leave.For = 5 * time.Minute
	}
	b := newBench(t, p, inTermin)
	b.expect(0)
	b.usage = 50
	old := stopping(1, 1, CacheFull)
	old.StoppingFor = time.Hour
	b.workers = append(b.workers, old)
	b.expect(sec, "purge 11")
	b.done(PurgeSSLCache, 11, Done)
	b.workers[0].Cache = CacheEmpty
	b.expect(30 * sec)
	b.usage = 86 // between leave and enter: still too much
	b.expect(sec, "hard 11")
}

// Memory is short again for a moment, if not for as long as entering the tier would take:
// that is not well.
func TestAMomentOfShortageIsNotWell(t *testing.T) {
	p := policytest.Decode(t, `
version: 1
tiers:
  - name: terminate
    enter: {any: [{usage: {above: 90%}}, {reload-room: {below: 1}, for: 5s}]}
    leave: {usage: {below: 85%}, for: 1m}
    settle: 0s
    actions: [terminate-oldest: {settle: 0}]
`)
	b := newBench(t, p, 91)
	b.room = 3
	b.expect(0)
	b.usage = 80
	b.workers = append(b.workers, stopping(1, 1, CacheEmpty))
	b.expect(sec)
	b.room = 0.5
	b.expect(sec, "terminate 11")
}

func TestTerminateWaitsUntilMemoryWasMeasuredAgain(t *testing.T) {
	b := newBench(t, three(t, "", "{}"), inTermin, stopping(1, 1, CacheFull))
	b.expect(0, "purge 11")
	b.now += sec
	b.done(PurgeSSLCache, 11, Done)
	b.workers[0].Cache = CacheEmpty
	b.expect(0)
	b.expect(2*sec - 1)
	b.expect(1, "terminate 11")

	// With settle 0 too a sample from before the outcome does not count.
	p := three(t, "", "{}")
	p.Tiers[2].Settle = 0
	b = newBench(t, p, inTermin, stopping(1, 1, CacheFull))
	b.expect(0, "purge 11")
	b.workers[0].Cache = CacheEmpty
	b.done(PurgeSSLCache, 11, Done)
	b.expect(0)
	b.expect(1, "terminate 11")
}

func TestHardStopAfter(t *testing.T) {
	young, old, older := stopping(3, 1, CacheEmpty), stopping(2, 1, CacheEmpty), stopping(1, 1, CacheEmpty)
	young.StoppingFor, old.StoppingFor, older.StoppingFor = 10*sec, 4*time.Minute, 5*time.Minute
	b := newBench(t, three(t, "", "{}"), inShort, young, old, older)
	due := b.expect(0, "hard 11") // one at a time
	if due[0].Spread != 5*sec || due[0].Tier != "shorten" || due[0].Generation != 1 {
		t.Errorf("got %+v", due)
	}
	if want := "the effective hard-stop-after is 4m; stopping for 5m; tier shorten: usage 81% > 80%"; due[0].Why != want {
		t.Errorf("why %q, want %q", due[0].Why, want)
	}
	b.done(HardStopAfter, 11, Failed)
	b.expect(0, "hard 21") // the first may be tried again later
	b.done(HardStopAfter, 21, Failed)
	b.expect(sec, "hard 11")
	b.kill(11, 21)
	// 10s are due only at the floor of 20s: never; 20s are from then on.
	b.expect(50 * sec)
	b.expect(60 * sec)
	b.workers[0].StoppingFor = 20 * sec
	b.expect(8 * sec)        // held for 119s: 30s
	b.expect(sec, "hard 31") // 120s: 15s, and so the floor
	b.workers = []Worker{stopping(4, 1, CacheEmpty)}
	b.usage = 74 // leaves the tier
	b.expect(sec)
	b.usage = inShort // and restarts at 4m
	b.expect(sec)
}

func TestTerminateOneGenerationAtATime(t *testing.T) {
	b := newBench(t, three(t, "", "{grace: 4s, settle: 5s, keep: 1}"), inTermin,
		stopping(3, 1, CacheEmpty), stopping(1, 2, CacheEmpty), stopping(2, 1, CacheEmpty), stopping(1, 1, CacheEmpty))
	b.workers = append(b.workers, Worker{ID: WorkerID{9, 1}, Generation: 4, State: Current})
	due := b.expect(0, "terminate 11", "terminate 12")
	if due[0].Grace != 4*sec || due[0].Tier != "terminate" {
		t.Errorf("got %+v", due[0])
	}
	b.expect(20 * sec) // in flight, for however long
	b.done(TerminateOldest, 11, Done)
	b.kill(11)
	b.expect(20 * sec) // 12 is in flight
	b.done(TerminateOldest, 12, Done)
	b.expect(20 * sec) // said to be done, but seen still
	b.kill(12)
	b.expect(0)
	b.expect(5*sec - 1)
	b.expect(1, "terminate 21")
	b.kill(21)
	b.expect(sec)
	b.expect(20 * sec) // 3 is kept
}

func TestTerminateGoesOnAfterAFailure(t *testing.T) {
	b := newBench(t, three(t, "", "{settle: 1s}"), inTermin, stopping(1, 1, CacheEmpty), stopping(2, 1, CacheEmpty))
	b.expect(0, "terminate 11")
	b.done(TerminateOldest, 11, Failed)
	b.expect(sec - 1)
	b.expect(1, "terminate 11") // its pause is over as well: the oldest again
	b.done(TerminateOldest, 11, Failed)
	b.expect(sec, "terminate 21") // 11 pauses for 2s
	b.done(TerminateOldest, 21, Refused)
	b.expect(sec, "terminate 11")
}

// TestSkipped asserts that in a dry run each action is due once, and that nothing follows
// that a real run without effects would not reach.
func TestSkipped(t *testing.T) {
	b := newBench(t, three(t, "", "{settle: 1s}"), inTermin, stopping(1, 1, CacheFull), stopping(2, 1, CacheEmpty))
	b.expect(0, "purge 11")
	b.done(PurgeSSLCache, 11, Skipped)
	b.expect(sec, "terminate 11") // the purge was tried as far as the tiers above are concerned
	b.done(TerminateOldest, 11, Skipped)
	b.expect(50 * sec) // neither again, nor the next generation, which a real run would not reach while 11 lives
	b.kill(11)
	b.expect(sec, "terminate 21")
}

func TestHardStopAndTerminateAreNotBothGiven(t *testing.T) {
	w := stopping(1, 1, CacheEmpty)
	w.StoppingFor = time.Hour
	p := three(t, "", "{}")
	p.Tiers[1].Settle = 3 * sec
	b := newBench(t, p, inTermin, w)
	b.expect(0, "hard 11")
	b.expect(3 * sec)
	b.expect(1, "terminate 11") // shorten had its settle
	b.done(HardStopAfter, 11, Failed)
	b.expect(40 * sec) // not while terminate is in flight
}

func TestOutcomeOfAnUnknownWorker(t *testing.T) {
	b := newBench(t, three(t, "", "{}"), inTermin, stopping(1, 1, CacheEmpty))
	b.done(PurgeSSLCache, 99, Done)
	b.done("no such kind", 11, Done)
	b.expect(0) // something took effect just now
	b.expect(2*sec, "terminate 11")
}

func TestClockJumpKeepsWhatIsInFlight(t *testing.T) {
	b := newBench(t, three(t, "", "{}"), inPurge, stopping(1, 1, CacheFull), stopping(2, 1, CacheFull))
	b.now = time.Hour
	b.expect(0, "purge 11", "purge 21")
	b.done(PurgeSSLCache, 21, Failed)
	b.expect(-30*time.Minute, "purge 21") // its retry does not wait for an hour to come back
	b.expect(sec)
}

func TestClockJumpBackDoesNotMakeWait(t *testing.T) {
	// A cache that is never looked at is waited for from now on, not until the old time
	// comes back.
	b := newBench(t, three(t, "", "{}"), inTermin, stopping(1, 1, CacheUnknown))
	b.now = time.Hour
	b.expect(0)
	b.expect(-30 * time.Minute)
	b.expect(10*sec - 1)
	b.expect(1, "terminate 11")

	// The same for the time since the last effect, and for a purge in flight.
	b = newBench(t, three(t, "", "{}"), inTermin, stopping(1, 1, CacheFull))
	b.now = time.Hour
	b.expect(0, "purge 11")
	b.done(PurgeSSLCache, 11, Done)
	b.expect(-30 * time.Minute)
	b.expect(2*sec, "terminate 11")

	b = newBench(t, three(t, "", "{}"), inTermin, stopping(1, 1, CacheFull))
	b.now = time.Hour
	b.expect(0, "purge 11")
	b.expect(-30 * time.Minute)
	b.expect(10 * sec)
	b.expect(1, "terminate 11")
}

func TestSettleCountsFromTheTiersEntry(t *testing.T) {
	b := newBench(t, three(t, "", "{}"), 50, stopping(1, 1, CacheUnknown))
	b.expect(0)
	b.expect(50 * sec) // seen long ago, in no tier
	b.usage = inTermin
	b.expect(sec)
	b.expect(10*sec - 1)
	b.expect(1, "terminate 11")
}

func TestTerminateWaitsAfterAWorkerVanished(t *testing.T) {
	b := newBench(t, three(t, "", "{settle: 0}"), inTermin, stopping(1, 1, CacheEmpty), stopping(2, 1, CacheEmpty))
	b.expect(0, "terminate 11")
	b.kill(11) // its end is not reported yet
	b.expect(sec)
	b.expect(2*sec - 1)
	b.expect(1, "terminate 21")
}

func TestAReusedPIDIsAnotherWorker(t *testing.T) {
	b := newBench(t, three(t, "", "{settle: 0}"), inTermin, stopping(1, 1, CacheEmpty))
	b.expect(0, "terminate 11")
	b.workers[0].ID.Start = 2
	b.expect(sec)
	b.expect(2*sec, "terminate 11")
	b.done(TerminateOldest, 11, Failed) // of the former process: says nothing of what is in flight
	b.expect(20 * sec)
}

func TestNoTerminateOfAWorkerWhoseHardStopIsDone(t *testing.T) {
	w := stopping(1, 1, CacheEmpty)
	w.StoppingFor = time.Hour
	b := newBench(t, three(t, "", "{}"), inTermin, w)
	b.expect(0, "hard 11")
	b.done(HardStopAfter, 11, Done)
	b.expect(20 * sec) // the list is stale
}

func TestHardStopLimitCountsFromTheTiersEntry(t *testing.T) {
	w := stopping(1, 1, CacheEmpty)
	w.StoppingFor = 2 * time.Minute
	// Entering a harsher tier does not restart the time of the tiers below.
	b := newBench(t, three(t, "    urgent: true", "{keep: 1}"), inShort, w)
	b.expect(0)
	b.expect(20 * sec)
	b.usage = inTermin
	b.expect(sec)
	b.expect(9*sec, "hard 11") // held for 30s: 2m
	// Rising past a tier begins its time.
	b = newBench(t, three(t, "", "{keep: 1}"), 50, w)
	b.expect(0)
	b.expect(60 * sec)
	b.usage = inTermin
	b.expect(sec)
	b.expect(29 * sec)
	b.expect(sec, "hard 11")
	// A clock jump restarts it.
	b = newBench(t, three(t, "", "{}"), inShort, w)
	b.expect(0)
	b.expect(time.Hour)
	b.expect(29 * sec)
	b.expect(sec, "hard 11")
}

// What can be done any number of times is done again only when the worker has changed.
func TestRelief(t *testing.T) {
	p := policytest.Decode(t, `
version: 1
tiers:
  - name: relief
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}}
    actions: [trim-pools: {}]
`)
	w := stopping(1, 1, CacheEmpty)
	w.Private, w.Files = 100<<20, 1000
	b := newBench(t, p, inPurge, w)
	b.expect(0, "trim 11")
	b.expect(sec) // in flight
	b.done(TrimPools, 11, Done)
	b.expect(0)
	b.expect(time.Minute) // nothing has changed since
	b.workers[0].Private = 109 << 20
	b.expect(sec) // not by enough
	b.workers[0].Private = 111 << 20
	b.expect(sec, "trim 11")
	b.done(TrimPools, 11, Done)
	b.expect(0)
	b.workers[0].Files = 901
	b.expect(sec) // later samples are compared with this first one after the end
	b.workers[0].Files = 890
	b.expect(sec, "trim 11")
	b.done(TrimPools, 11, Failed)
	b.expect(4*sec - 1)
	b.expect(1, "trim 11")
	b.done(TrimPools, 11, Refused)
	b.workers[0].Private = 1 << 30
	b.expect(time.Minute)
}

// The oldest worker is paged out first, one after another, while memory is short and swap
// has room; one that was paged out only when much of it is in RAM again.
func TestPageOut(t *testing.T) {
	p := policytest.Decode(t, `
version: 1
tiers:
  - name: out
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}, for: 1h}
    actions: [page-out: {per-second: 8MiB}]
`)
	first, second := stopping(1, 1, CacheEmpty), stopping(2, 1, CacheEmpty)
	first.Private, second.Private = 100<<20, 100<<20
	b := newBench(t, p, inPurge, second, first)
	b.expect(0) // no room in swap
	b.swap = 1
	due := b.expect(sec, "page 11")
	if want := (Paging{PerSecond: 8 << 20, Busy: 10, Stall: 2}); due[0].Paging != want {
		t.Errorf("paging %+v, want %+v", due[0].Paging, want)
	}
	b.expect(sec) // in flight: the next one waits for it
	b.st.Done(Outcome{Kind: PageOut, Worker: first.ID, At: b.now, Result: Done, More: true})
	b.workers[1].Swapped = 50 << 20
	b.expect(0, "page 11") // it has more
	b.done(PageOut, 11, Done)
	b.workers[1].Swapped = 99 << 20
	b.usage = 59
	b.expect(sec) // memory is sufficient
	b.usage = inPurge
	b.expect(sec, "page 21")
	b.done(PageOut, 21, Failed) // it is busy
	b.expect(sec - 1)
	b.expect(1, "page 21")
	b.done(PageOut, 21, Done)
	b.workers[0].Swapped = 99 << 20
	b.expect(time.Minute)
	b.workers[1].Swapped = 96 << 20
	b.expect(sec) // it has read back too little
	b.workers[1].Swapped = 90 << 20
	b.expect(sec, "page 11")
}

// Tiers above wait for page-outs whose turn comes, but only for the settle of the tier.
func TestPageOutIsWaitedFor(t *testing.T) {
	p := policytest.Decode(t, `
version: 1
tiers:
  - name: out
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}}
    settle: 20s
    actions: [page-out: {}]
  - name: end
    enter: {usage: {above: 90%}}
    leave: {usage: {below: 85%}}
    settle: 0s
    actions: [terminate-oldest: {}]
`)
	workers := []Worker{stopping(1, 1, CacheEmpty), stopping(2, 1, CacheEmpty)}
	b := newBench(t, p, inTermin, workers...)
	b.swap = 1
	b.expect(0, "page 11")
	b.expect(sec)
	b.done(PageOut, 11, Done)
	b.expect(sec, "page 21") // its turn
	b.done(PageOut, 21, Done)
	b.expect(sec, "terminate 11")

	b = newBench(t, p, inTermin, workers...)
	b.swap = 1
	b.expect(0, "page 11")
	b.expect(20 * sec)
	b.expect(sec, "terminate 11") // it takes too long

	newBench(t, p, inTermin, workers...).expect(0, "terminate 11") // there is no swap
}

// Marking as cold is done once for each worker, if there is swap, and no tier waits for
// it.
func TestCold(t *testing.T) {
	p := policytest.Decode(t, `
version: 1
tiers:
  - {name: cold, enter: always, actions: [cold: {}]}
  - name: purge
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}}
    actions: [purge-ssl-cache: {}]
`)
	serving := Worker{ID: WorkerID{PID: 31, Start: 1}, Generation: 3, State: Current}
	workers := []Worker{stopping(1, 1, CacheFull), stopping(2, 1, CacheEmpty), serving}
	newBench(t, p, inPurge, workers...).expect(0, "purge 11") // there is no swap
	b := newBench(t, p, inPurge, workers...)
	b.swap = 1
	b.expect(0, "cold 11", "cold 21", "purge 11")
	b.done(PurgeSSLCache, 11, Done)
	b.done(Cold, 11, Done)
	b.done(Cold, 21, Failed)
	b.expect(sec, "cold 21")
	b.done(Cold, 21, Done)
	b.workers[0].Private = 1 << 30
	b.expect(time.Minute)
}

// The kernel is to kill the oldest generation first, then other stopping ones. No tier
// waits for that.
func TestProtect(t *testing.T) {
	p := policytest.Decode(t, `
version: 1
tiers:
  - {name: protect, enter: always, actions: [protect: {}]}
  - name: purge
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}}
    actions: [purge-ssl-cache: {}]
`)
	scores := func(due []Due) (scores []int) {
		for _, d := range due {
			scores = append(scores, d.OOMScoreAdj)
		}
		return scores
	}
	serving := Worker{ID: WorkerID{PID: 31, Start: 1}, Generation: 3, State: Current}
	b := newBench(t, p, inPurge, stopping(1, 1, CacheEmpty), stopping(2, 1, CacheFull), serving)
	due := b.expect(0, "protect 11", "protect 21", "purge 21")
	if got := scores(due); !slices.Equal(got, []int{1000, 900, 0}) {
		t.Errorf("oom_score_adj %v, want 1000 for the oldest and 900", got)
	}
	b.done(Protect, 11, Done)
	b.done(Protect, 21, Failed)
	b.expect(0)
	b.expect(sec, "protect 21") // once more after the failure
	b.done(Protect, 21, Done)
	b.expect(time.Minute) // the samples still say 0: another program may have lowered it
	b.kill(11)
	if got := scores(b.expect(0, "protect 21")); !slices.Equal(got, []int{1000}) {
		t.Errorf("oom_score_adj %v, want 1000 when it has become the oldest", got)
	}
	b.done(Protect, 21, Refused)
	b.expect(time.Minute)

	high := stopping(1, 1, CacheEmpty)
	high.OOMScoreAdj = 1000
	newBench(t, p, inPurge, high).expect(0) // it has the value already
}

func TestReliefOnlyOfStoppingWorkersThatAreNotBeingEnded(t *testing.T) {
	p := policytest.Decode(t, `
version: 1
tiers:
  - {name: relief, enter: {usage: {above: 70%}}, leave: {usage: {below: 60%}}, actions: [trim-pools: {}, page-out: {}, hard-stop-after: {limit: 5s}]}
`)
	live := stopping(2, 1, CacheUnknown)
	live.State = Current
	b := newBench(t, p, inPurge, stopping(1, 1, CacheEmpty), live)
	b.swap = 1
	b.expect(0, "trim 11", "page 11", "hard 11")
	b.done(TrimPools, 11, Failed)
	b.done(PageOut, 11, Failed)
	b.expect(time.Minute)
}

func TestTerminateNotMoreThanItsLimit(t *testing.T) {
	b := newBench(t, three(t, "    urgent: true", "{settle: 0s, limit: 2}"), inTermin,
		stopping(1, 1, CacheEmpty), stopping(1, 2, CacheEmpty), stopping(1, 3, CacheEmpty), stopping(2, 1, CacheEmpty))
	b.expect(0, "terminate 11", "terminate 12")
	b.done(TerminateOldest, 11, Done)
	b.done(TerminateOldest, 12, Done)
	b.kill(11, 12)
	b.expect(sec)
	b.expect(59*sec - 1)
	b.expect(1, "terminate 13")
	b.done(TerminateOldest, 13, Done)
	b.kill(13)
	b.expect(sec)
	b.expect(2*sec, "terminate 21")
}

// TestOnly asserts what each filter lets through, at its very edge.
func TestOnly(t *testing.T) {
	worker := func(generation int, long time.Duration, cache uint64) Worker {
		w := stopping(generation, 1, CacheFull)
		w.StoppingFor, w.CacheBytes = long, cache
		return w
	}
	edge := []Worker{worker(1, 30*sec, 64<<20), worker(2, 30*sec+1, 64<<20), worker(3, 30*sec, 64<<20+1)}
	for _, tt := range []struct {
		only string
		want []string
	}{
		{"{stopping-for: {above: 30s}}", []string{"purge 21"}},
		{"{cache: {above: 64MiB}}", []string{"purge 31"}},
		{"{generation: {older-than: 2}}", []string{"purge 11"}},
		{"{generation: {older-than: 3}}", nil},
		{"{generation: {older-than: 1}, stopping-for: {above: 1s}}", []string{"purge 11", "purge 21"}},
		{"{cache: {above: 64MiB}, stopping-for: {above: 30s}}", nil},
	} {
		p := policytest.Decode(t, tier("always", ""))
		p.Tiers[0].Actions = policytest.Decode(t, strings.Replace(tier("always", ""), "cache: {}", "cache: {only: "+tt.only+"}", 1)).Tiers[0].Actions
		newBench(t, p, 50, edge...).expect(0, tt.want...)
	}
}

func TestOnlyWithHardStopAndTerminate(t *testing.T) {
	old := stopping(1, 1, CacheEmpty)
	old.StoppingFor = time.Hour
	other := stopping(2, 1, CacheEmpty)
	other.StoppingFor = 30 * time.Minute
	p := three(t, "", "{only: {generation: {older-than: 1}}}")
	p.Tiers[1].Actions[0].Only.CacheAbove = 1
	b := newBench(t, p, inTermin, old, other)
	b.expect(0, "terminate 11") // nothing to drain, so nothing to wait for
	b.done(TerminateOldest, 11, Done)
	b.kill(11)
	b.expect(time.Minute) // 21 is the youngest

	// A worker that is being drained is waited for, also when the filter is not for it
	// any more.
	old.CacheBytes, other.CacheBytes = 2, 2
	b = newBench(t, p, inShort, old, other)
	b.expect(0, "hard 11")
	b.workers[0].CacheBytes = 0
	b.expect(sec)
}

// TestTiersDoNotWaitForWorkersThatAnActionIsNotFor asserts that a filtered purge blocks
// no tier, and an unknown cache still does.
func TestTiersDoNotWaitForWorkersThatAnActionIsNotFor(t *testing.T) {
	p := three(t, "", "{}")
	p.Tiers[0].Actions[0].Only.CacheAbove = 64 << 20
	w := stopping(1, 1, CacheFull)
	w.CacheBytes = 64 << 20
	newBench(t, p, inTermin, w).expect(0, "terminate 11")
	newBench(t, p, inTermin, stopping(1, 1, CacheUnknown)).expect(0)
	w.CacheBytes++
	newBench(t, p, inTermin, w).expect(0, "purge 11")
}

func TestFor(t *testing.T) {
	text, err := os.ReadFile("language/testdata/good/target-of-its-own.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := policytest.Decode(t, string(text))
	if p.For("haproxy@a.service") != p || p.For("haproxy@test.service") != nil || p.For("other.service") != nil {
		t.Error("a target without tiers of its own, or a disabled one")
	}
	b := p.For("haproxy@b.service")
	if b != p.For("haproxy@b.service") {
		t.Error("not the same policy each time: Step would restart")
	}
	var got []string
	for _, tier := range b.Tiers {
		got = append(got, fmt.Sprint(tier.Name, " ", tier.Settle, " ", tier.Actions[0].Kind))
	}
	want := []string{"protect 10s protect", "purge 10s purge-ssl-cache",
		"page-out 20s page-out", "shorten 20s hard-stop-after", "last 10s terminate-oldest"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	shorten := b.Tiers[3]
	if len(shorten.Enter.Parts) != 3 || shorten.Actions[0].HardStop.Limit != 10*time.Minute ||
		len(p.Tiers) != 5 {
		t.Errorf("not the tier as changed: %+v", shorten)
	}
	groups := policytest.Decode(t, "version: 1\ntargets: [{cgroup: 'a/*/b'}, {cgroup: /a/x/b, disabled: true}]\n")
	if groups.For("/a/y/b") != groups || groups.For("a/y/b") != groups || groups.For("/a/x/b") != nil || groups.For("/a/y/z/b") != nil {
		t.Error("cgroups")
	}
}

// How full an HTTP cache is, is not known: it is purged once.
func TestPurgeHTTPCache(t *testing.T) {
	p := policytest.Decode(t, `
version: 1
tiers:
  - {name: purge, enter: {usage: {above: 70%}}, leave: {usage: {below: 60%}}, actions: [purge-http-cache: {}]}
`)
	b := newBench(t, p, inPurge, stopping(1, 1, CacheEmpty), stopping(2, 1, CacheEmpty), stopping(3, 1, CacheEmpty))
	b.expect(0, "purge 11", "purge 21", "purge 31")
	b.done(PurgeHTTPCache, 11, Done)
	b.done(PurgeHTTPCache, 21, Refused)
	b.done(PurgeHTTPCache, 31, Failed) // it was being served from
	b.expect(sec, "purge 31")
	b.done(PurgeHTTPCache, 31, Done)
	b.expect(time.Minute)
}

// TestWhatIsNotWaitedFor asserts that a cache that is not known is waited for only where
// it may still be purged for the first time.
func TestWhatIsNotWaitedFor(t *testing.T) {
	b := newBench(t, three(t, "", "{}"), inTermin, stopping(1, 1, CacheFull))
	b.expect(0, "purge 11")
	b.workers[0].Cache = CacheUnknown
	b.done(PurgeSSLCache, 11, Failed)
	b.expect(sec, "terminate 11") // it was tried
	b.workers = append(b.workers, stopping(2, 1, CacheEmpty))
	b.expect(sec)

	relief := policytest.Decode(t, `
version: 1
tiers:
  - {name: relief, enter: {usage: {above: 70%}}, leave: {usage: {below: 60%}}, actions: [page-out: {}]}
  - {name: last, enter: {usage: {above: 80%}}, leave: {usage: {below: 60%}}, settle: 2s, actions: [terminate-oldest: {}]}
`)
	newBench(t, relief, inTermin, stopping(1, 1, CacheUnknown)).expect(0, "terminate 11") // there is no room in swap, and no purge

	// A worker that is being ended is not waited for either.
	w := stopping(1, 1, CacheUnknown)
	w.StoppingFor = time.Hour
	p := policytest.Decode(t, `
version: 1
tiers:
  - {name: all, enter: {usage: {above: 70%}}, leave: {usage: {below: 60%}}, settle: 50s, actions: [purge-ssl-cache: {}, hard-stop-after: {limit: 5m, only: {stopping-for: {above: 30m}}}]}
  - {name: last, enter: {usage: {above: 80%}}, leave: {usage: {below: 60%}}, settle: 2s, actions: [terminate-oldest: {}]}
`)
	b = newBench(t, p, inTermin, w, stopping(2, 1, CacheEmpty))
	b.expect(0, "hard 11")
	b.done(HardStopAfter, 11, Done)
	b.expect(2*sec, "terminate 21") // 11 is done for, its cache as well
}

// Trimming one worker after the other does not hold up what is urgent.
func TestReliefDoesNotHoldUpTermination(t *testing.T) {
	p := policytest.Decode(t, `
version: 1
tiers:
  - {name: relief, enter: {usage: {above: 70%}}, leave: {usage: {below: 60%}}, actions: [trim-pools: {}]}
  - name: terminate
    enter: {usage: {above: 90%}}
    leave: {usage: {below: 85%}}
    urgent: true
    settle: 2s
    actions: [terminate-oldest: {}]
`)
	b := newBench(t, p, inPurge, stopping(1, 1, CacheEmpty), stopping(2, 1, CacheEmpty))
	b.expect(0, "trim 11", "trim 21")
	b.usage = inTermin
	b.done(TrimPools, 11, Done)
	b.expect(sec, "terminate 11")
}
