package policy_test

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "hapressure/policy"
	"hapressure/policy/language"
	"hapressure/tests/policytest"
)

// With HAPRESSURE_TESTS=all the property tests do some million steps each, in minutes.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("HAPRESSURE_TESTS") == "all" {
		if err := flag.Set("rapid.checks", "60000"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// reading draws a value or an absence.
func reading(t *rapid.T, name string, hi float64) Reading {
	if rapid.IntRange(0, 4).Draw(t, name+" absent") == 0 {
		return Reading{Absent: "drawn"}
	}
	return have(rapid.Float64Range(0, hi).Draw(t, name))
}

// world draws a run: samples whose totals grow and whose workers come, stop and go, with
// outcomes in between.
type world struct {
	t       *rapid.T
	s       Sample
	next    int
	flights []Due
	mode    Mode // of TestPropertyModes
}

// anyPolicy draws one of the ready policies, with a drop-in that changes its
// tiers.
func anyPolicy(t *rapid.T, ready map[string]language.File) *Policy {
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(ready))).Draw(t, "policy")
	file := ready[name]
	p, err := language.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	var tiers strings.Builder
	for i, tier := range p.Tiers {
		fmt.Fprintf(&tiers, "  - name: %s\n    disabled: %v\n", tier.Name, i > 0 && rapid.IntRange(0, 5).Draw(t, "disabled") == 0)
		if rapid.Bool().Draw(t, "settle") {
			fmt.Fprintf(&tiers, "    settle: %dms\n", rapid.IntRange(0, 60_000).Draw(t, "ms"))
		}
		if len(tier.Actions) > 0 && rapid.Bool().Draw(t, "actions") {
			fmt.Fprintf(&tiers, "    actions:\n")
			for _, a := range tier.Actions {
				settings := map[string]string{HardStopAfter: "limit: 1m, ", TerminateOldest: fmt.Sprintf("keep: %d, limit: %d, ",
					rapid.IntRange(0, 3).Draw(t, "keep"), rapid.IntRange(1, 3).Draw(t, "limit"))}[a.Kind]
				fmt.Fprintf(&tiers, "      - %s: {%sonly: {stopping-for: {above: %ds}, cache: {above: %dMiB}, generation: {older-than: %d}}}\n", a.Kind, settings,
					rapid.IntRange(0, 120).Draw(t, "stopping-for"), rapid.IntRange(1, 5).Draw(t, "cache"), rapid.IntRange(0, 3).Draw(t, "older-than"))
			}
		}
	}
	if rapid.Bool().Draw(t, "of a target") {
		target := "version: 1\ntargets:\n  - unit: own.service\n    tiers:" + strings.ReplaceAll("\n"+tiers.String(), "\n", "\n    ")
		p, err = language.Decode(file, language.File{Name: "target", Text: []byte(target)})
	} else {
		p, err = language.Decode(file, language.File{Name: "drop-in", Text: []byte("version: 1\ntargets: [{unit: own.service}]\ntiers:\n" + tiers.String())})
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, tiers.String())
	}
	p = p.For("own.service")
	p.MakeRoom.Drain = rapid.Bool().Draw(t, "drain")
	return p
}

func (w *world) sense() Sample {
	t, s := w.t, &w.s
	if rapid.IntRange(0, 19).Draw(t, "jump") == 0 {
		s.Now += time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "by"))
	} else {
		s.Now += time.Duration(rapid.Int64Range(1, int64(20*time.Second)).Draw(t, "pause"))
	}
	s.Usage, s.ReloadRoom, s.LimitIn = reading(t, "usage", 110), reading(t, "room", 5), reading(t, "limit-in", 20)
	s.RoomWanted = rapid.SampledFrom([]float64{0, 0, 2, 4}).Draw(t, "room wanted")
	s.SomeTotal, s.FullTotal = reading(t, "some", 1e8), reading(t, "full", 1e8)
	s.Events = map[string]Reading{"high": reading(t, "high", 9), "oom": reading(t, "oom", 3)}
	for range rapid.IntRange(0, 2).Draw(t, "new workers") {
		w.next++
		s.Workers = append(s.Workers, Worker{ID: WorkerID{w.next, 1}, Generation: 1 + w.next/2})
	}
	workers := []Worker{}
	for _, worker := range s.Workers {
		if rapid.IntRange(0, 9).Draw(t, "exits") == 0 {
			continue
		}
		worker.State = rapid.SampledFrom([]WorkerState{Unknown, Current, Stopping, Stopping, Stopping}).Draw(t, "state")
		worker.Cache = rapid.SampledFrom([]Cache{CacheUnknown, CacheFull, CacheFull, CacheEmpty}).Draw(t, "cache")
		worker.CacheBytes = rapid.Uint64Range(0, 6<<20).Draw(t, "cache bytes")
		worker.StoppingFor = time.Duration(rapid.IntRange(0, 600).Draw(t, "stopping for")) * time.Second
		workers = append(workers, worker)
	}
	s.Workers = workers
	s.WorkersAbsent = rapid.SampledFrom([]string{"", "", "", "", "drawn"}).Draw(t, "workers absent")
	return *s
}

// outcomes ends some of the actions in flight.
func (w *world) outcomes(d Decision) []Outcome {
	w.flights = append(w.flights, d.Actions...)
	var ended []Outcome
	var left []Due
	for _, due := range w.flights {
		if rapid.Bool().Draw(w.t, "in flight still") {
			left = append(left, due)
			continue
		}
		r := rapid.SampledFrom([]Result{Done, Refused, Failed, Skipped}).Draw(w.t, "result")
		ended = append(ended, Outcome{Tier: due.Tier, Kind: due.Kind, Worker: due.Worker, At: w.s.Now, Result: r})
	}
	w.flights = left
	return ended
}

// TestPropertyActions asserts what must be true of the due actions in any run.
func TestPropertyActions(t *testing.T) {
	ready := policytest.Ready(t)
	rapid.Check(t, func(t *rapid.T) {
		p := anyPolicy(t, ready)
		w, st, twin := &world{t: t}, &State{}, &State{}
		given := map[WorkerID]bool{} // a purge was given at an earlier step
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			s := w.sense()
			flying := map[string]map[WorkerID]bool{}
			for _, f := range w.flights {
				if flying[f.Kind] == nil {
					flying[f.Kind] = map[WorkerID]bool{}
				}
				flying[f.Kind][f.Worker] = true
			}
			d := Step(p, st, s)
			if again := Step(p, twin, s); !reflect.DeepEqual(d, again) {
				t.Fatalf("not deterministic:\n%+v\n%+v", d, again)
			}
			checkActions(t, p, s, d, given, flying)
			for _, o := range w.outcomes(d) {
				st.Done(o)
				twin.Done(o)
			}
		}
	})
}

func checkActions(t *rapid.T, p *Policy, s Sample, d Decision, given map[WorkerID]bool, flying map[string]map[WorkerID]bool) {
	workers := map[WorkerID]Worker{}
	for _, w := range s.Workers {
		workers[w.ID] = w
	}
	generation := 0
	for _, due := range d.Actions {
		w, ok := workers[due.Worker]
		if !ok || w.State != Stopping || s.WorkersAbsent != "" {
			t.Fatalf("%s on a worker not known to be stopping: %+v", due.Kind, w)
		}
		if flying[due.Kind][due.Worker] {
			t.Fatalf("given again in flight: %+v", due)
		}
		if due.Why == "" || due.Tier == "" || due.Generation != w.Generation {
			t.Fatalf("incomplete: %+v", due)
		}
		if !slices.ContainsFunc(p.Tiers[:d.Tier], func(t Tier) bool { return t.Name == due.Tier }) {
			checkForRoom(t, p, s, due)
		}
		a := actionOf(p, due.Tier, due.Kind)
		if !allows(a.Only, w, s.Workers) {
			t.Fatalf("%s, only for %+v, on %+v", due.Kind, a.Only, w)
		}
		switch due.Kind {
		case PurgeSSLCache:
			if w.Cache != CacheFull {
				t.Fatalf("purge of a cache that is %q", w.Cache)
			}
		case TerminateOldest:
			if generation != 0 && generation != due.Generation {
				t.Fatalf("two generations at once: %+v", d.Actions)
			}
			generation = due.Generation
			if n := len(youngerThan(generation, s.Workers)); n < a.Terminate.Keep {
				t.Fatalf("terminates one of the %d youngest generations, %d are younger", a.Terminate.Keep, n)
			}
		}
	}
	if generation != 0 {
		for _, w := range s.Workers {
			if flying[TerminateOldest][w.ID] {
				t.Fatalf("terminates generation %d while %v is in flight", generation, w.ID)
			}
			// A worker that is being ended anyway is not purged; every other full cache
			// is tried before.
			purged := slices.ContainsFunc(p.Tiers[:d.Tier], func(t Tier) bool {
				return slices.ContainsFunc(t.Actions, func(a Action) bool { return a.Kind == PurgeSSLCache && allows(a.Only, w, s.Workers) })
			})
			if purged && w.State == Stopping && w.Cache == CacheFull && !given[w.ID] && !flying[HardStopAfter][w.ID] && !everEnded(d, w.ID) {
				t.Fatalf("terminates generation %d while the cache of %v is untried", generation, w.ID)
			}
		}
	}
	for _, due := range d.Actions {
		given[due.Worker] = given[due.Worker] || due.Kind == PurgeSSLCache
		if due.Kind != PurgeSSLCache {
			given[due.Worker] = true // ended or tried to be, which is past purging
		}
	}
}

// checkForRoom asserts that an action of a tier that was not entered is one for a client
// that waits for room.
func checkForRoom(t *rapid.T, p *Policy, s Sample, due Due) {
	switch {
	case s.RoomWanted == 0, s.ReloadRoom.Absent != "", s.ReloadRoom.Value >= s.RoomWanted:
		t.Fatalf("an action of a tier that was not entered: %+v", due)
	case due.Kind == TerminateOldest, due.Kind == HardStopAfter && !p.MakeRoom.Drain:
		t.Fatalf("cuts connections to make room: %+v", due)
	}
}

func actionOf(p *Policy, tier, kind string) Action {
	t := p.Tiers[slices.IndexFunc(p.Tiers, func(t Tier) bool { return t.Name == tier })]
	return t.Actions[slices.IndexFunc(t.Actions, func(a Action) bool { return a.Kind == kind })]
}

// youngerThan returns the stopping generations younger than g.
func youngerThan(g int, workers []Worker) map[int]bool {
	younger := map[int]bool{}
	for _, w := range workers {
		if w.State == Stopping && w.Generation > g {
			younger[w.Generation] = true
		}
	}
	return younger
}

// allows is what docs/policy-reference.md says of only.
func allows(o Only, w Worker, all []Worker) bool {
	return w.StoppingFor >= o.StoppingAbove && (o.StoppingAbove == 0 || w.StoppingFor != o.StoppingAbove) &&
		w.CacheBytes >= o.CacheAbove && (o.CacheAbove == 0 || w.CacheBytes != o.CacheAbove) && len(youngerThan(w.Generation, all)) >= o.OlderThan
}

// everEnded reports whether this step drains the worker.
func everEnded(d Decision, id WorkerID) bool {
	for _, due := range d.Actions {
		if due.Worker == id && due.Kind == HardStopAfter {
			return true
		}
	}
	return false
}

// TestPropertyUnknownNeverMoves asserts that a step without any reading stays where it
// is.
func TestPropertyUnknownNeverMoves(t *testing.T) {
	p := policytest.BuiltIn(t)
	rapid.Check(t, func(t *rapid.T) {
		w, st := &world{t: t}, &State{}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			Step(p, st, w.sense())
		}
		tier := st.Tier
		blind := Sample{Now: w.s.Now}
		for _, r := range []*Reading{&blind.Usage, &blind.ReloadRoom, &blind.LimitIn, &blind.SomeTotal, &blind.FullTotal, &blind.Swap, &blind.Shmem} {
			r.Absent = "blind"
		}
		for range rapid.IntRange(1, 100).Draw(t, "blind steps") {
			blind.Now += time.Duration(rapid.Int64Range(1, int64(2*MaxGap)).Draw(t, "pause"))
			if d := Step(p, st, blind); d.Tier != tier || len(d.Changes) != 0 {
				t.Fatalf("moved from %d blindly: %+v", tier, d)
			}
		}
	})
}

// TestPropertyOneWrongReadingCutsNothing asserts that one reading, whatever its value,
// takes no ready policy to a tier that costs connections.
func TestPropertyOneWrongReadingCutsNothing(t *testing.T) {
	ready := policytest.Ready(t)
	rapid.Check(t, func(t *rapid.T) {
		p, st := anyPolicy(t, ready), &State{}
		var now time.Duration
		some, full, high := rapid.Float64Range(0, 1e12).Draw(t, "some"), rapid.Float64Range(0, 1e12).Draw(t, "full"), rapid.Float64Range(0, 1e9).Draw(t, "high")
		wrong := rapid.IntRange(0, 30).Draw(t, "wrong at")
		for i := range 60 {
			pause := rapid.Int64Range(int64(100*time.Millisecond), int64(10*time.Second)).Draw(t, "pause")
			now += time.Duration(pause)
			some += float64(pause) / 1000 * rapid.Float64Range(0, 0.009).Draw(t, "stall") // less than 1%, the least threshold of a ready policy
			s := calm(now)
			s.SomeTotal, s.FullTotal, s.Events["high"] = have(some), have(full), have(high)
			if i == wrong {
				v := rapid.OneOf(rapid.Float64(), rapid.Float64Range(0, 200), rapid.Float64Range(0, 1e12), rapid.SampledFrom([]float64{
					math.Inf(1), math.NaN(), 0, -1, 1 << 63, math.MaxFloat64, some + 1e6, full + 1e6, high + 1})).Draw(t, "value")
				replace(&s, rapid.IntRange(0, 15).Draw(t, "which"), have(v))
			}
			d := Step(p, st, s)
			if d.Tier > 0 && slices.ContainsFunc(p.Tiers[:d.Tier], func(t Tier) bool { return cuts(t) }) {
				t.Fatalf("in tier %s %d steps after one wrong reading: %s", d.TierName, i-wrong, st.Why)
			}
		}
	})
}

// cuts reports whether a tier has an action that costs connections.
func cuts(t Tier) bool {
	return slices.ContainsFunc(t.Actions, func(a Action) bool { return a.Kind == HardStopAfter || a.Kind == TerminateOldest })
}

// replace replaces one reading.
func replace(s *Sample, which int, r Reading) {
	for i, of := range []*Reading{
		&s.Usage, &s.ReloadRoom, &s.LimitIn, &s.SomeTotal, &s.FullTotal, &s.Some10, &s.Some60, &s.Some300, &s.Full10, &s.Full60, &s.Full300, &s.Swap, &s.Shmem,
	} {
		if i == which {
			*of = r
		}
	}
	for i, event := range []string{"high", "max", "oom"} {
		if 13+i == which {
			s.Events[event] = r
		}
	}
}

// TestPropertyCalmComesDown asserts that a long calm ends every tier, whatever came
// before.
func TestPropertyCalmComesDown(t *testing.T) {
	p := policytest.BuiltIn(t)
	rapid.Check(t, func(t *rapid.T) {
		w, st := &world{t: t}, &State{}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			Step(p, st, w.sense())
		}
		now, tier := w.s.Now, st.Tier
		for range 60 {
			now += 5 * time.Second
			d := Step(p, st, calm(now))
			if d.Tier > tier {
				t.Fatalf("rose from %d in calm: %+v", tier, d)
			}
			tier = d.Tier
		}
		if tier != 1 { // protect, which is never left
			t.Fatalf("still in tier %d after 5 minutes of calm", tier)
		}
	})
}
