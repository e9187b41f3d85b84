package simulate

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"hapressure/policy"
	"hapressure/policy/language"
	"hapressure/policy/record"
	"hapressure/tests/policytest"
)

func scenario(t testing.TB, name string) *Scenario {
	t.Helper()
	f, err := os.Open(filepath.Join("../../packaging/scenarios", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := Decode(name, f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// simulation is Run or DryRun.
type simulation = func(*Scenario, *policy.Policy, func(record.Event) error) (Result, error)

// run returns the events as well.
func run(t testing.TB, run simulation, s *Scenario, p *policy.Policy) (Result, []record.Event) {
	t.Helper()
	var events []record.Event
	r, err := run(s, p, func(e record.Event) error {
		events = append(events, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, events
}

func TestStorm(t *testing.T) {
	s := scenario(t, "storm.yaml")
	if r, _ := run(t, DryRun, s, policytest.BuiltIn(t)); r.Failed == 0 || r.Killed == 0 {
		t.Errorf("without actions the limit is not hit: %v", r)
	}
	r, events := run(t, Run, s, policytest.BuiltIn(t))
	if r.Reloads != 8 || r.Failed != 0 || r.Killed != 0 || r.Cut != 0 {
		t.Errorf("with the default policy: %v", r)
	}
	freed := uint64(0)
	for _, e := range events {
		if e.Outcome != nil && e.Outcome.Result == policy.Done {
			freed += e.Outcome.FreedBytes
		}
	}
	if freed != 8*237<<20 {
		t.Errorf("%d MiB were freed of eight caches", freed>>20)
	}
}

// No scenario may end worse with the default policy than without.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("../../packaging/scenarios/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, f := range files {
		s := scenario(t, filepath.Base(f))
		without, _ := run(t, DryRun, s, policytest.BuiltIn(t))
		with, _ := run(t, Run, s, policytest.BuiltIn(t))
		if with.Killed > 0 || without.Killed == 0 && s.Host == 0 {
			t.Errorf("%s: without %v; with %v", f, without, with)
		}
	}
}

// No ready policy cuts connections for memory that other programs hold. With worth: 0% the
// built-in policy does, and gains almost nothing.
func TestNeighbours(t *testing.T) {
	s := scenario(t, "neighbours.yaml")
	for name, withheld := range map[string]bool{"default": true, "proactive": true, "ingress": true, "small-vps": true, "gentle": false} { // gentle would wait for hours

		r, events := run(t, Run, s, ready(t, name))
		if n := given(events); r.Cut != 0 || n[policy.HardStopAfter]+n[policy.TerminateOldest] != 0 || n[policy.PurgeSSLCache] != s.reloads() {
			t.Errorf("%s: %v, %v", name, r, n)
		}
		began := 0
		for _, e := range events {
			if e.Tick != nil {
				began += len(e.Tick.Decision.Withheld)
			}
		}
		if (began > 0) != withheld || began > 2 {
			t.Errorf("%s: actions began to be withheld %d times", name, began)
		}
	}
	text := strings.ReplaceAll(string(language.BuiltIn.Text), "worth: 5%", "worth: 0%")
	if r, _ := run(t, Run, s, policytest.Decode(t, text)); r.Cut == 0 {
		t.Errorf("with worth: 0%%: %v", r)
	}
}

func (s *Scenario) reloads() int { return int(s.Reload.Count) }

func TestSameAgain(t *testing.T) {
	s := scenario(t, "storm.yaml")
	r1, e1 := run(t, Run, s, policytest.BuiltIn(t))
	r2, e2 := run(t, Run, s, policytest.BuiltIn(t))
	if r1 != r2 || !reflect.DeepEqual(e1, e2) {
		t.Error("two simulations of one scenario differ")
	}
	s.Seed++
	if _, e3 := run(t, Run, s, policytest.BuiltIn(t)); reflect.DeepEqual(e1, e3) {
		t.Error("the seed changes nothing")
	}
}

// TestSize bounds the size of a sample in a recording.
func TestSize(t *testing.T) {
	s := scenario(t, "small-vps.yaml")
	s.Duration = Duration(time.Hour)
	w, err := record.NewWriter(io.Discard, record.Begin{Policy: policytest.BuiltIn(t).Source})
	if err != nil {
		t.Fatal(err)
	}
	ticks := int64(0)
	if _, err := Run(s, policytest.BuiltIn(t), func(e record.Event) error {
		if e.Tick != nil {
			ticks++
		}
		return w.Write(e)
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d samples in %d bytes, %d each", ticks, w.Size, w.Size/ticks)
	if w.Size/ticks > 300 {
		t.Error("a sample takes more than 300 bytes")
	}
}

func TestDecodeMistakes(t *testing.T) {
	const good = "duration: 1m\nlimit: 1GiB\ncache: 10MiB\nhalf-life: 1h\nreload: {every: 30s, count: 2}\n"
	if _, err := Decode("s.yaml", strings.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ text, want string }{
		{good + "speed: 1\n", "s.yaml:6: field speed not found"},
		{strings.Replace(good, "count: 2", "counts: 2", 1), "s.yaml:5: field counts not found"},
		{strings.Replace(good, "1GiB", "1000", 1), `s.yaml:2: "1000" is not understood: write for example 64MiB`},
		{strings.Replace(good, "count: 2", "count: 010", 1), `s.yaml:5: "010" is not understood: write for example 20`},
		{strings.Replace(strings.Replace(good, "1m", "60", 1), "10MiB", "-1", 1), "s.yaml:1: \"60\" is not understood: write for example 30s, and at most 24h\ns.yaml:3: \"-1\" is not"},
		{strings.Replace(good, "cache: 10MiB\n", "", 1), "s.yaml:1: duration, limit, cache"},
		{good + "---\nlimit: 1GiB\n", "s.yaml:1: the file has more than one document"},
		{good + "limit: 1GiB\n", `s.yaml:6: mapping key "limit" already defined at line 2`},
		{"a: [", "s.yaml:1: did not find"},
		{"", "s.yaml:1: the file is empty"},
	}
	for _, tt := range tests {
		if _, err := Decode("s.yaml", strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("../../packaging/scenarios/*.yaml")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Decode("s.yaml", bytes.NewReader(text))
		if err != nil {
			return
		}
		s.Duration = min(s.Duration, Duration(time.Minute)) // what decodes can be simulated
		run(t, Run, s, policytest.BuiltIn(t))
	})
}
