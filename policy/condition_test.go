package policy_test

import (
	"math"
	"strings"
	"testing"
	"time"

	. "hapressure/policy"
	"hapressure/tests/policytest"
)

// tier is a policy of one tier that purges.
func tier(enter, leave string) string {
	if leave != "" {
		leave = ", leave: " + leave
	}
	return "version: 1\ntiers: [{name: a, enter: " + enter + leave + ", actions: [purge-ssl-cache: {}]}]\n"
}

func have(v float64) Reading { return Reading{Value: v} }

var gone = Reading{Absent: "gone"}

// ownLimit is a limit that is the target's own.
var ownLimit = Limit{Bytes: 1 << 30, Own: true}

// calm is a sample in which nothing is wrong and nothing is running.
func calm(now time.Duration) Sample {
	return Sample{
		Now: now, Usage: have(20), ReloadRoom: have(9), LimitIn: Reading{Absent: NotRising}, UsageOf: ownLimit, RoomOf: ownLimit,
		SomeTotal: have(0), FullTotal: have(0), Some10: have(0), Some60: have(0), Some300: have(0), Full10: have(0), Full60: have(0), Full300: have(0),
		Events: map[string]Reading{"high": have(0), "max": have(0), "oom": have(0), "oom_kill": have(0)},
		Swap:   have(0), Shmem: have(0),
	}
}

// leave is a leave that goes with any enter.
func leave(enter string) string {
	if enter == "always" {
		return "" // left out
	}
	return "{events: {oom_kill: 1000000, window: 10m}}"
}

// condition decodes one enter condition on its own and returns a func that evaluates it
// on one sample after another.
func condition(t *testing.T, text string) func(Sample) (Truth, string) {
	t.Helper()
	p := policytest.Decode(t, tier(text, leave(text)))
	c := &p.Tiers[0].Enter
	n := &ConditionState{}
	return func(s Sample) (Truth, string) { return c.Eval(n, &s) }
}

func TestConditionTruth(t *testing.T) {
	for _, tt := range []struct {
		in   string
		edit func(*Sample)
		want Truth
		why  string
	}{
		{"{usage: {above: 70%}}", func(s *Sample) { s.Usage = have(83.456) }, Yes, "usage 83.46% > 70%"},
		{"{usage: {above: 70%}}", func(s *Sample) { s.Usage = have(70) }, No, "usage 70% <= 70%"},
		{"{usage: {above: 70%}}", func(s *Sample) { s.Usage = gone }, Undecided, "usage unknown (gone)"},
		{"{usage: {above: 70%}}", func(s *Sample) { s.Usage = have(math.NaN()) }, Undecided, "usage unknown (not a number)"},
		{"{reload-room: {below: 2}}", func(s *Sample) { s.ReloadRoom = have(1.4) }, Yes, "reload-room 1.4 < 2"},
		{"{reload-room: {below: 2}}", func(s *Sample) { s.ReloadRoom = have(2) }, No, "reload-room 2 >= 2"},
		{"{reload-room: {below: 2}}", func(s *Sample) { s.ReloadRoom = Reading{Absent: "gone"} }, Undecided, "reload-room unknown (gone)"},
		{"{limit-in: {below: 3s}}", func(s *Sample) { s.LimitIn = have(2.5) }, Yes, "limit-in 2.5s < 3s"},
		{"{limit-in: {below: 3s}}", func(s *Sample) {}, No, "limit-in not rising >= 3s"},
		{"{limit-in: {below: 3s}}", func(s *Sample) { s.LimitIn = gone }, Undecided, "limit-in unknown (gone)"},
		{"{swap: {above: 64MiB}}", func(s *Sample) { s.Swap = have(65 << 20) }, Yes, "swap 65MiB > 64MiB"},
		{"{shmem: {above: 1GiB}}", func(s *Sample) { s.Shmem = have(65 << 20) }, No, "shmem 65MiB <= 1024MiB"},
		{"{pressure: {full: 5%, average: 300s}}", func(s *Sample) { s.Full300 = have(5) }, Yes, "pressure full 5% >= 5% avg300"},
		{"{pressure: {some: 5%, average: 10s}}", func(s *Sample) { s.Some10 = have(4) }, No, "pressure some 4% < 5% avg10"},
		{"{events: {high: 1, window: 10s}}", func(s *Sample) { delete(s.Events, "high") }, Undecided, "events high unknown (not reported)"},

		{"{any: [{usage: {above: 70%}}, {swap: {above: 1MiB}}]}", func(s *Sample) { s.Usage, s.Swap = gone, have(2<<20) }, Yes, "swap 2MiB > 1MiB; not met: usage unknown (gone)"},
		{"{any: [{usage: {above: 70%}}, {swap: {above: 1MiB}}]}", func(s *Sample) { s.Usage = gone }, Undecided, "usage unknown (gone), swap 0MiB <= 1MiB"},
		{"{all: [{usage: {above: 70%}}, {swap: {above: 1MiB}}]}", func(s *Sample) { s.Usage = gone }, No, "usage unknown (gone), swap 0MiB <= 1MiB"},
		{"{all: [{usage: {above: 70%}}, {swap: {above: 1MiB}}]}", func(s *Sample) { s.Usage, s.Swap = gone, have(2<<20) }, Undecided, "swap 2MiB > 1MiB; not met: usage unknown (gone)"},
		{"{all: [{usage: {above: 70%}}, {swap: {above: 1MiB}}]}", func(s *Sample) { s.Usage, s.Swap = have(71), have(2<<20) }, Yes, "usage 71% > 70%, swap 2MiB > 1MiB"},
		{"{not: {usage: {above: 70%}}}", func(s *Sample) { s.Usage = gone }, Undecided, "usage unknown (gone)"},
		{"{not: {usage: {above: 70%}}}", func(s *Sample) {}, Yes, "usage 20% <= 70%"},
		{"{any: [{usage: {above: 70%}}, {not: {swap: {above: 1MiB}}}, {shmem: {above: 1MiB}}]}", func(s *Sample) {}, Yes,
			"swap 0MiB <= 1MiB; not met: usage 20% <= 70%, shmem 0MiB <= 1MiB"},
		{"always", func(s *Sample) {}, Yes, "always"},

		// The limit that a value is of is named.
		{"{usage: {above: 70%}}", func(s *Sample) { s.Usage, s.UsageOf = have(95.04), hostLimit }, Yes, "usage 95.04% > 70% of the host's memory"},
		{"{reload-room: {below: 2}}", func(s *Sample) { s.RoomOf.Name = "memory.max" }, No, "reload-room 9 >= 2 under memory.max"},
		{"{limit-in: {below: 3s}}", func(s *Sample) { s.LimitIn, s.RoomOf.Name = have(2), "memory.max" }, Yes, "limit-in 2s < 3s to memory.max"},
		{"{limit-in: {below: 3s}}", func(s *Sample) { s.RoomOf.Name = "memory.max" }, No, "limit-in not rising >= 3s"},
		{"{swap: {above: 64MiB}}", func(s *Sample) { s.UsageOf = hostLimit }, No, "swap 0MiB <= 64MiB"},
	} {
		s := calm(0)
		tt.edit(&s)
		got, why := condition(t, tt.in)(s)
		if got != tt.want || why != tt.why {
			t.Errorf("%s: %d %q, want %d %q", tt.in, got, why, tt.want, tt.why)
		}
	}
}

func TestConditionFor(t *testing.T) {
	eval := condition(t, "{usage: {above: 70%}, for: 3s}")
	for i, tt := range []struct {
		now   time.Duration
		usage Reading
		want  Truth
		why   string
	}{
		{0, have(80), No, "usage 80% > 70% (true for 0s of 3s)"},
		{2 * time.Second, have(80), No, "usage 80% > 70% (true for 2s of 3s)"},
		{3 * time.Second, have(80), Yes, "usage 80% > 70% (true for 3s of 3s)"},
		{4 * time.Second, have(60), No, "usage 60% <= 70%"},
		{5 * time.Second, have(80), No, "usage 80% > 70% (true for 0s of 3s)"},
		{7 * time.Second, gone, Undecided, "usage unknown (gone)"}, // what was not seen was not held
		{8 * time.Second, have(80), No, "usage 80% > 70% (true for 0s of 3s)"},
		{11 * time.Second, have(80), Yes, "usage 80% > 70% (true for 3s of 3s)"},
	} {
		s := calm(tt.now)
		s.Usage = tt.usage
		if got, why := eval(s); got != tt.want || why != tt.why {
			t.Errorf("step %d: %d %q, want %d %q", i, got, why, tt.want, tt.why)
		}
	}
}

func TestPressureWindow(t *testing.T) {
	eval := condition(t, "{pressure: {some: 5%, window: 10s}}")
	const ms = 1000 // a total is in microseconds
	for i, tt := range []struct {
		now   time.Duration
		total Reading
		want  Truth
		why   string
	}{
		{0, have(7000 * ms), Undecided, "pressure some unknown (window not filled)"}, // stalls before the start do not count
		{4 * time.Second, have(7100 * ms), Undecided, "pressure some unknown (window not filled)"},
		{5 * time.Second, have(7500 * ms), Yes, "pressure some 5% >= 5% in 10s"}, // proven, whatever came before
		{10 * time.Second, have(7500 * ms), Yes, "pressure some 5% >= 5% in 10s"},
		{15 * time.Second, have(7600 * ms), No, "pressure some 1% < 5% in 10s"}, // since 5s
		{16 * time.Second, gone, Undecided, "pressure some unknown (gone)"},
		{26 * time.Second, have(7600 * ms), No, "pressure some 0% < 5% in 10s"},                   // since 15s
		{27 * time.Second, have(0), Undecided, "pressure some unknown (its total ran backwards)"}, // another group, or a wrong reading
		{28 * time.Second, have(0), Undecided, "pressure some unknown (window not filled)"},
		{37 * time.Second, have(600 * ms), Yes, "pressure some 6% >= 5% in 10s"},
		{57 * time.Second, have(1500 * ms), No, "pressure some 4.5% < 5% in 10s"}, // over the 20s that passed
	} {
		s := calm(tt.now)
		s.SomeTotal = tt.total
		if got, why := eval(s); got != tt.want || why != tt.why {
			t.Errorf("step %d: %d %q, want %d %q", i, got, why, tt.want, tt.why)
		}
	}
}

func TestEventsWindow(t *testing.T) {
	eval := condition(t, "{events: {high: 2, window: 10s}}")
	for i, tt := range []struct {
		now   time.Duration
		count float64
		want  Truth
	}{
		{0, 100, Undecided}, {time.Second, 101, Undecided}, {2 * time.Second, 102, Yes}, {10 * time.Second, 102, Yes},
		{11 * time.Second, 102, No}, {20 * time.Second, 102, No}, {20 * time.Second, 104, Yes},
	} {
		s := calm(tt.now)
		s.Events["high"] = have(tt.count)
		if got, why := eval(s); got != tt.want {
			t.Errorf("step %d: %d %q, want %d", i, got, why, tt.want)
		}
	}
}

func TestWindowIgnoresWhatIsNotANumber(t *testing.T) {
	eval := condition(t, "{events: {high: 1, window: 10s}}")
	for i, tt := range []struct {
		count float64
		want  Truth
	}{{5, Undecided}, {math.NaN(), Undecided}, {6, Yes}} {
		s := calm(time.Duration(i) * 10 * time.Second)
		s.Events["high"] = have(tt.count)
		if got, why := eval(s); got != tt.want {
			t.Errorf("step %d: %d %q, want %d", i, got, why, tt.want)
		}
	}
}

// TestImpossibleReadings asserts for each kind of reading that cannot be that it is
// absent, with the reason, and that the next one counts.
func TestImpossibleReadings(t *testing.T) {
	const second = 1e6 // a total is in microseconds
	set := func(to func(*Sample) *Reading) func(*Sample, float64) {
		return func(s *Sample, v float64) { *to(s) = have(v) }
	}
	full := set(func(s *Sample) *Reading { return &s.FullTotal })
	high := func(s *Sample, v float64) { s.Events["high"] = have(v) }
	usage := set(func(s *Sample) *Reading { return &s.Usage })
	room := set(func(s *Sample) *Reading { return &s.ReloadRoom })
	limitIn := set(func(s *Sample) *Reading { return &s.LimitIn })
	average := set(func(s *Sample) *Reading { return &s.Full10 })
	for _, tt := range []struct {
		name, in string
		set      func(*Sample, float64)
		values   []float64 // one a second
		why      []string  // with these
	}{
		{"a stall longer than the time between two readings", "{pressure: {full: 20%, window: 1s}}", full,
			[]float64{5 * second, 5.3 * second, 972330 * second, 972330.3 * second},
			[]string{"unknown (window not filled)", "30% >= 20% in 1s", "unknown (its total rose by 9.72e+05s in 1s)", "30% >= 20% in 1s"}},
		{"after a stall that cannot be the window begins with it", "{pressure: {full: 20%, window: 1s}}", full,
			[]float64{0, 50 * second, 50.1 * second, 50.4 * second},
			[]string{"unknown (window not filled)", "unknown (its total rose by 50s in 1s)", "10% < 20% in 1s", "30% >= 20% in 1s"}},
		{"a total that is wrong once, and smaller", "{pressure: {full: 20%, window: 1s}}", full,
			[]float64{50 * second, 0, 50 * second, 50.1 * second},
			[]string{"unknown (window not filled)", "unknown (its total ran backwards)", "unknown (window not filled)", "10% < 20% in 1s"}},
		{"CPUs that count ahead of each other", "{pressure: {full: 20%, window: 1s}}", full,
			[]float64{0, 1.1 * second, 2.2 * second}, []string{"unknown (window not filled)", "100% >= 20% in 1s", "100% >= 20% in 1s"}},
		{"a count that is wrong once, and smaller", "{events: {high: 1, window: 1s}}", high,
			[]float64{1000, 0, 1000, 1001}, []string{"unknown (window not filled)", "unknown (its total ran backwards)", "unknown (window not filled)", "1 >= 1 in 1s"}},
		{"a count that jumps", "{events: {high: 1, window: 1s}}", high,
			[]float64{1000, 1 << 62, 1000, 1000, 1000},
			[]string{"unknown (window not filled)", "unknown (its total rose by 4.61e+18 in 1s)", "unknown (its total ran backwards)", "unknown (window not filled)", "0 < 1 in 1s"}},
		{"a count below 0", "{events: {high: 1, window: 1s}}", high,
			[]float64{1000, -1, 1000}, []string{"unknown (window not filled)", "unknown (less than 0)", "0 < 1 in 1s"}},
		{"usage below 0", "{usage: {below: 70%}}", usage, []float64{-1, 20}, []string{"unknown (less than 0)", "20% < 70%"}},
		{"usage without end", "{usage: {above: 70%}}", usage, []float64{math.Inf(1), math.NaN()}, []string{"unknown (infinite)", "unknown (not a number)"}},
		{"a limit lowered below what is used is a shortage", "{usage: {above: 95%}}", usage, []float64{250}, []string{"250% > 95%"}},
		{"room below 0", "{reload-room: {below: 2}}", room, []float64{-3, math.Inf(1), 1}, []string{"unknown (less than 0)", "unknown (infinite)", "1 < 2"}},
		{"a limit in the past", "{limit-in: {below: 3s}}", limitIn, []float64{-3, 2}, []string{"unknown (less than 0)", "2s < 3s"}},
		{"an average above all", "{pressure: {full: 5%, average: 10s}}", average, []float64{100.01, 100}, []string{"unknown (more than all of the time)", "100% >= 5% avg10"}},
	} {
		eval := condition(t, tt.in)
		for i, v := range tt.values {
			s := calm(time.Duration(i) * time.Second)
			tt.set(&s, v)
			got, why := eval(s)
			if _, read, _ := strings.Cut(why, " "); !strings.HasSuffix(read, tt.why[i]) || (got == Undecided) != strings.HasPrefix(tt.why[i], "unknown") {
				t.Errorf("%s, reading %d: %d %q, want %q", tt.name, i, got, why, tt.why[i])
			}
		}
	}
}

// TestTotalsReadLate asserts that a stall counts that was measured after the clock: a
// busy machine can put seconds between the two.
func TestTotalsReadLate(t *testing.T) {
	eval := condition(t, "{pressure: {full: 20%, window: 5s}}")
	s := calm(0)
	eval(s)
	s = calm(5 * time.Second)
	s.FullTotal, s.PressureAt = have(8e6), 8*time.Second
	if got, why := eval(s); got != Yes {
		t.Errorf("%d %q", got, why)
	}
}
