package simulate

import (
	"bytes"
	"errors"
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
	"hapressure/tests/golden"
	"hapressure/tests/policytest"
	"hapressure/tests/schematest"
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

func ready(t testing.TB, name string) *policy.Policy {
	t.Helper()
	return policytest.Decode(t, string(policytest.Ready(t)[name].Text))
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

// simulation is Run or DryRun.
type simulation = func(*Scenario, *policy.Policy, func(record.Event) error) (Result, error)

// run returns the events as well.
func run(t testing.TB, run simulation, s *Scenario, p *policy.Policy) (Result, []record.Event) {
	t.Helper()
	var events []record.Event
	var last record.Tick
	r, err := run(s, p, func(e record.Event) error {
		if e.Tick != nil {
			last = *e.Tick
		}
		events = append(events, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if last.Failed != r.Failed || last.Cut == 0 && r.Cut > 0 {
		t.Errorf("recorded are %d connections cut and %d reloads failed of %v", last.Cut,
			last.Failed, r)
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

// No ready policy cuts connections for memory that other programs hold. With worth: 0%
// the built-in policy does, and gains almost nothing.
func TestNeighbours(t *testing.T) {
	s := scenario(t, "neighbours.yaml")
	for name, withheld := range map[string]bool{"default": true, "proactive": true, "ingress": true, "small-vps": true, "gentle": false} { // gentle would wait for hours

		r, events := run(t, Run, s, ready(t, name))
		if n := given(events); r.Cut != 0 || n[policy.HardStopAfter]+n[policy.TerminateOldest] != 0 || n[policy.PurgeSSLCache] != s.Reload.Count {
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
	s.Duration = time.Hour
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

func TestDecode(t *testing.T) {
	s, err := Decode("s.yaml", strings.NewReader("duration: 1m30s\nseed: 3\nlimit: 1.5GiB\n"+
		"swap: 1MiB\nzram: 27%\ncache: 10MiB\nhalf-life: 1h\nreload: {every: 30s, count: 2}\n"))
	want := &Scenario{Duration: 90 * time.Second, Seed: 3, Limit: 1.5 * (1 << 30), Swap: 1 << 20,
		Zram: 27, Cache: 10 << 20, HalfLife: time.Hour, Reload: Reloads{0, 30 * time.Second, 2}}
	if err != nil || *s != *want {
		t.Errorf("%+v, %v; want %+v", s, err, want)
	}
}

// good is a scenario with all keys that are required.
const good = "duration: 1m\nlimit: 1GiB\ncache: 10MiB\nhalf-life: 1h\n" +
	"reload: {every: 30s, count: 2}\n"

// mistakes are scenarios with all messages about them.
var mistakes = []struct{ text, want string }{
	{good + "connection: 1\n", "s.yaml:6:13: connection 1 has no unit: write 1MiB"},
	{good + "conections: 1\n", `s.yaml:6:1: the scenario has an unknown key "conections": ` +
		"did you mean connections?"},
	{strings.Replace(good, "count: 2", "counts: 2", 1), `s.yaml:5:22: reload has an unknown key ` +
		`"counts": did you mean count?`},
	{strings.Replace(good, "count: 2", "count: 010", 1), "s.yaml:5:29: reload count 010 has a " +
		"leading zero, which YAML may read as octal: write 10"},
	{strings.Replace(good, "every: 30s", "every: 1s", 1),
		"s.yaml:5:17: reload every 1s is out of range: write from 3s to 24h"},
	{strings.Replace(good, "cache: 10MiB\n", "", 1),
		"s.yaml:1:1: the scenario needs cache: write at least duration, limit, cache, " +
			"half-life and reload"},
	{good + "zram: 27%\nothers: 1GiB\n", "s.yaml:6:7: zram needs swap: write for example " +
		"swap: 512MiB\ns.yaml:7:9: others needs host: write for example host: 512MiB"},
	{good + "---\nlimit: 1GiB\n", "s.yaml:6:1: a second document begins here: the scenario is " +
		"one document"},
	{good + "limit: 1GiB\n",
		`s.yaml:6:1: the scenario has the key "limit" twice: the first is in line 2`},
	{"a: [", "s.yaml:1:1: not YAML: did not find expected node content"},
	{"", "s.yaml:1:1: the file is empty: write at least duration, limit, cache, half-life and " +
		"reload"},
}

func TestDecodeMistakes(t *testing.T) {
	if _, err := Decode("s.yaml", strings.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range mistakes {
		if _, err := Decode("s.yaml", strings.NewReader(tt.text)); err == nil ||
			err.Error() != tt.want {
			t.Errorf("%q:\n%v\nwant\n%s", tt.text, err, tt.want)
		}
	}
}

// A scenario with many workers that do not end is not simulated for hours.
func TestWorkIsBounded(t *testing.T) {
	m := newModel(scenario(t, "storm.yaml"))
	m.work = maxWork - 5000
	_, err := m.run(policytest.BuiltIn(t), func(record.Event) error { return nil })
	if !errors.Is(err, errTooMuch) || !strings.Contains(err.Error(), "there are 6 workers") {
		t.Errorf("%v", err)
	}
}

func TestSchemaIsCurrent(t *testing.T) {
	golden.Check(t, "schema.json", schematest.JSON(definition, "A scenario of hapressure"))
}

func TestReferenceIsCurrent(t *testing.T) {
	introduction, err := os.ReadFile("testdata/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "../../docs/scenarios.md",
		schematest.Reference(definition, string(introduction)))
}

func TestNewKeysHaveAVersion(t *testing.T) {
	schematest.Versions(t, definition, "testdata/first-keys.txt", "../../CHANGELOG.md")
}

// The schema passes each scenario, and each mistake but those that it cannot express.
func TestSchemaAndScenarios(t *testing.T) {
	passes := schematest.Passes(t, Schema)
	files, err := filepath.Glob("../../packaging/scenarios/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || !passes(text) {
			t.Errorf("%s does not pass: %v", file, err)
		}
	}
	beyond := 0
	for _, tt := range mistakes {
		if passes([]byte(tt.text)) {
			beyond++
		}
	}
	if beyond != 4 { // zram without swap, a leading zero, a second document, an interval
		t.Errorf("%d mistakes pass", beyond)
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
		s.Duration = min(s.Duration, time.Minute) // what decodes can be simulated
		run(t, Run, s, policytest.BuiltIn(t))
	})
}
