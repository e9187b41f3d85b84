package trial

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hapressure/policy"
	"hapressure/policy/schema"
	"hapressure/policy/simulate"
	"hapressure/tests/golden"
	"hapressure/tests/policytest"
	"hapressure/tests/schematest"
)

// suite is a test file with one test and its expectations.
func suite(expect string) schema.File {
	return schema.File{Name: "t.yaml", Text: []byte("version: 1\ntests:\n" +
		"  - name: storm\n    scenario: storm.yaml\n    expect: " + expect + "\n")}
}

// mistakes are expectations with all messages about them.
var mistakes = []struct{ expect, want string }{
	{"{}", "t.yaml:5:13: expect has none of reloads-failed, oom-kills, outages, connections-cut, " +
		"peak, tiers, actions or withheld: remove it, or write for example " +
		"{reloads-failed: {exactly: 0}}"},
	{"{reloads-faild: {exactly: 0}}", `t.yaml:5:14: expect has an unknown key "reloads-faild": ` +
		"did you mean reloads-failed?"},
	{"{outages: {}}", "t.yaml:5:23: bounds has none of at-least, at-most or exactly: remove it, " +
		"or write for example {exactly: 0} or {at-most: 100}"},
	{"{outages: {exactly: 1, at-most: 2}}",
		"t.yaml:5:23: outages has exactly and another bound: write only exactly"},
	{"{actions: {cold: {at-least: 3, at-most: 2}}}",
		"t.yaml:5:53: actions cold at-most 2 is below at-least 3: write at least that"},
	{"{peak: {at-most: 700}}", "t.yaml:5:30: peak at-most 700 has no unit: write 700MiB"},
	{"{tiers: [{at: 1m, to: 2m, is: purge}]}",
		"t.yaml:5:35: to needs from: write from instead of at, or remove to"},
	{"{tiers: [{at: 1m, reaches: purge}]}",
		"t.yaml:5:40: reaches needs from: write from instead of at, or at-least"},
	{"{tiers: [{from: 2m, to: 2m, is: purge}]}",
		"t.yaml:5:37: to 2m is not after from 2m: write a later time"},
	{"{tiers: [{at: 2m, is: a, at-most: b}]}", "t.yaml:5:22: moment has is and at-most, of which " +
		"only one is allowed: write for example {at: 1m, is: purge} or " +
		"{from: 0s, to: 5m, at-most: purge}"},
	{"{peak: {at-most: 7MiB}}\n    target: a.service\n    recordings: [a.rec]",
		"t.yaml:3:5: a test has scenario and recordings, of which only one is allowed: write for " +
			"example {name: storm, scenario: storm.yaml, expect: {oom-kills: {exactly: 0}}}"},
	{"{peak: {at-most: 7MiB}}\n  - name: storm\n    target: a.service\n    recordings: [-]\n" +
		"    expect: {outages: {exactly: 0}}",
		"t.yaml:6:5: test storm occurs twice: the first is in line 3\n" +
			"t.yaml:7:13: target is that of the recordings: remove it\n" +
			`t.yaml:8:18: path "-" is standard input, which a test cannot read: name a file` +
			"\nt.yaml:9:23: outages is not known of recordings: write a scenario, or remove it"},
	{"{peak: {at-most: 7MiB}}\n    recording: [a]",
		`t.yaml:6:5: a test has an unknown key "recording": did you mean recordings?`},
}

func TestDecodeMistakes(t *testing.T) {
	for _, tt := range mistakes {
		_, err := Decode(suite(tt.expect))
		var all schema.Errors
		if err == nil || err.Error() != tt.want || !errors.As(err, &all) {
			t.Errorf("%s:\n%v\nwant\n%s", tt.expect, err, tt.want)
		}
	}
	many := "version: 1\ntests:\n" +
		strings.Repeat("  - {name: a, scenario: b, expect: {}}\n", 101)
	_, err := Decode(schema.File{Name: "t.yaml", Text: []byte(many)})
	if err == nil || !strings.Contains(err.Error(),
		"t.yaml:3:3: tests has 101 tests: write at most 100 into one file") {
		t.Errorf("%v", err)
	}
}

// run is what the policy a, b, c did in the tests of TestCheck.
var run = &Run{Result: &simulate.Result{Reloads: 8, Failed: 2, Killed: 3, Outages: 1, Cut: 70,
	Peak: 5 << 20, Max: 9 << 20}, Took: 10 * time.Minute,
	Actions: map[string]int{policy.Cold: 4}, Withheld: map[string]int{policy.HardStopAfter: 1},
	Stays: []Stay{{Name: none}, {0, 1, "a", "usage 1%"}, {2 * time.Minute, 3, "c", "usage 9%"},
		{4 * time.Minute, 2, "b", "usage 5%"}}}

func TestCheck(t *testing.T) {
	p := &policy.Policy{Tiers: []policy.Tier{{Name: "a"}, {Name: "b"}, {Name: "c"}}}
	for _, tt := range []struct{ expect, key, want, got string }{
		{"{reloads-failed: {exactly: 2}}", "", "", ""},
		{"{reloads-failed: {at-most: 1}}", "reloads-failed", "at most 1", "2 of 8"},
		{"{oom-kills: {at-least: 4}}", "oom-kills", "at least 4", "3"},
		{"{outages: {exactly: 0}}", "outages", "exactly 0", "1"},
		{"{connections-cut: {at-least: 10, at-most: 60}}", "connections-cut",
			"at least 10 and at most 60", "70"},
		{"{peak: {at-least: 1MiB, at-most: 5MiB}}", "", "", ""},
		{"{peak: {at-most: 4.5MiB}}", "peak", "at most 4.5MiB", "5MiB of 9MiB"},
		{"{actions: {cold: {exactly: 4}}}", "", "", ""},
		{"{actions: {page-out: {exactly: 4}}}", "actions page-out", "exactly 4", "0"},
		{"{withheld: {hard-stop-after: {exactly: 0}}}", "withheld hard-stop-after",
			"exactly 0", "1"},
		{"{tiers: [{at: 0s, is: a}]}", "", "", ""},
		{"{tiers: [{at: 119s, is: a}]}", "", "", ""},
		{"{tiers: [{at: 119s, is: c}]}", "tiers at 1m59s", "is c", "a, from 0s on: usage 1%"},
		{"{tiers: [{at: 2m, is: c}]}", "", "", ""},
		{"{tiers: [{from: 1m, to: 3m, is: a}]}", "tiers from 1m to 3m", "is a",
			"c, from 2m on: usage 9%"},
		{"{tiers: [{from: 2m, at-least: b}]}", "", "", ""},
		{"{tiers: [{from: 3m, at-least: c}]}", "tiers from 3m to 10m", "at least c",
			"b, from 4m on: usage 5%"},
		{"{tiers: [{from: 0s, at-most: b}]}", "tiers from 0s to 10m", "at most b",
			"c, from 2m on: usage 9%"},
		{"{tiers: [{from: 0s, reaches: c}]}", "", "", ""},
		{"{tiers: [{from: 4m, reaches: c}]}", "tiers from 4m to 10m", "reaches c",
			"at most b, from 4m on: usage 5%"},
		{"{tiers: [{at: 1m, is: none}]}", "tiers at 1m", "is none", "a, from 0s on: usage 1%"},
	} {
		s, err := Decode(suite(tt.expect))
		if err != nil {
			t.Fatal(err)
		}
		failures, err := s.Tests[0].Check(p, run)
		if err != nil || len(failures) > 1 || (len(failures) == 0) != (tt.want == "") {
			t.Errorf("%s: %v, %v", tt.expect, failures, err)
			continue
		}
		for _, f := range failures {
			if f.Key != tt.key || f.Want != tt.want || f.Got != tt.got || f.File != "t.yaml" ||
				f.Line != 5 || f.Column < 14 {
				t.Errorf("%s: %+v", tt.expect, f)
			}
		}
	}
}

func TestCheckMistakes(t *testing.T) {
	s, err := Decode(suite("{tiers: [{at: 1m, is: purg}, {at: 20m, is: purge}, " +
		"{from: 11m, is: purge}]}"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Tests[0].Check(&policy.Policy{Tiers: []policy.Tier{{Name: "purge"}}}, run)
	const want = `t.yaml:5:35: the policy has no tier "purg": did you mean purge?` +
		"\nt.yaml:5:42: tiers at 20m is after the end, which is at 10m" +
		"\nt.yaml:5:64: tiers from 11m to 10m is after the end, which is at 10m"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want\n%s", err, want)
	}
}

func TestSimulate(t *testing.T) {
	s, err := simulate.Decode("s.yaml", strings.NewReader("duration: 1m\nlimit: 100MiB\n"+
		"cache: 30MiB\nconnections: 5\nhalf-life: 1h\n"+
		"reload: {first: 20s, every: 20s, count: 1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Simulate(policytest.BuiltIn(t), s)
	if err != nil || r.Result.Reloads != 1 || r.Took != time.Minute || len(r.Stays) < 3 ||
		r.Actions[policy.PurgeSSLCache] != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSchemaIsCurrent(t *testing.T) {
	golden.Check(t, "schema.json", schematest.JSON(definition, "Tests of policies of hapressure"))
}

func TestReferenceIsCurrent(t *testing.T) {
	introduction, err := os.ReadFile("testdata/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "../../docs/policy-tests.md",
		schematest.Reference(definition, string(introduction)))
}

func TestNewKeysHaveAVersion(t *testing.T) {
	schematest.Versions(t, definition, "testdata/first-keys.txt", "../../CHANGELOG.md")
}

// The keys of actions are the kinds of action.
func TestEachActionIsExpected(t *testing.T) {
	kinds := definition.Form("actions").Names(0)
	if len(kinds) != len(policy.Kinds) {
		t.Errorf("%v, want %v", kinds, policy.Kinds)
	}
	for _, kind := range policy.Kinds {
		if _, err := Decode(suite("{actions: {" + kind + ": {exactly: 0}}}")); err != nil {
			t.Error(err)
		}
	}
}

// shipped returns the test files of the ready policies.
func shipped(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../../packaging/policies/tests/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d test files, %v", len(files), err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		if all[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestSchemaAndTests(t *testing.T) {
	passes := schematest.Passes(t, Schema)
	for file, text := range shipped(t) {
		if !passes(text) {
			t.Errorf("%s does not pass", file)
		}
	}
	for _, tt := range mistakes[:3] {
		if passes(suite(tt.expect).Text) {
			t.Errorf("%s passes", tt.expect)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, text := range shipped(f) {
		f.Add(text)
	}
	for _, tt := range mistakes {
		f.Add(suite(tt.expect).Text)
	}
	p := policytest.BuiltIn(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Decode(schema.File{Name: "t.yaml", Text: text})
		if err != nil {
			var all schema.Errors
			if !errors.As(err, &all) || len(all) == 0 || all[0].Line < 1 {
				t.Fatalf("%v has no place", err)
			}
			return
		}
		for i := range s.Tests { // what decodes can be checked
			failures, _ := s.Tests[i].Check(p, run)
			for _, f := range failures {
				if f.Line < 1 || f.Want == "" || f.Got == "" {
					t.Fatalf("%+v", f)
				}
			}
		}
	})
}
