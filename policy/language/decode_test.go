package language

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"hapressure/policy"
	"hapressure/policy/schema"
)

// tierYAML is a valid tier with holes for the parts under test.
func tierYAML(enter, leave, rest string) string {
	if leave != "" {
		leave = "    leave: " + leave + "\n"
	}
	return "version: 1\ntiers:\n  - name: a\n    enter: " + enter + "\n" + leave + rest +
		"    actions: [purge-ssl-cache: {}]\n"
}

const (
	enter70 = "{usage: {above: 70%}}"
	leave60 = "{usage: {below: 60%}}"
)

func mustDecode(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := Decode(File{Name: "p.yaml", Text: []byte(text)})
	if err != nil {
		t.Fatalf("decoding:\n%s\n%v", text, err)
	}
	return p
}

func builtIn() *policy.Policy {
	p, err := Decode(BuiltIn)
	if err != nil {
		panic(err)
	}
	return p
}

func TestDecodeTooLarge(t *testing.T) {
	_, err := Decode(File{Name: "p.yaml", Text: []byte("version: 1\n" + strings.Repeat("#", schema.MaxSize))})
	if err == nil || err.Error() != "p.yaml:1:1: the file is larger than 65536 bytes" {
		t.Errorf("got %v", err)
	}
}

func TestDecode(t *testing.T) {
	got := mustDecode(t, `
version: 1
targets:
  - unit: haproxy@*.service
  - cgroup: haproxy.slice/blue
tiers:
  - name: first
    enter: always
    actions:
      - purge-ssl-cache: {}
  - name: second
    enter:
      any:
        - pressure: {some: 5.5%, window: 10s}
        - pressure: {full: 1%, average: 60s}
        - {limit-in: {below: 1m30s}, for: 2s}
      for: 3s
    leave:
      not: {any: [{events: {oom_kill: 2, window: 30s}}, {shmem: {above: 1GiB}}]}
    urgent: true
    settle: 0
    actions:
      - hard-stop-after: {limit: 5m, halve-every: 30s, floor: 15s, spread: 5s}
      - terminate-oldest: {keep: 1}
`)
	want := &policy.Policy{
		Targets: []policy.Target{{Unit: "haproxy@*.service"}, {Cgroup: "haproxy.slice/blue"}},
		Tiers: []policy.Tier{{
			Name: "first", Enter: policy.Condition{Op: policy.Always}, Settle: 10 * time.Second,
			Actions: []policy.Action{{Kind: policy.PurgeSSLCache}},
		}, {
			Name: "second",
			Enter: policy.Condition{Op: policy.Any, For: 3 * time.Second, Parts: []policy.Condition{
				{Op: policy.Compare, Comparison: policy.Comparison{Signal: policy.Pressure, Of: "some", Threshold: 5.5, Window: 10 * time.Second}},
				{Op: policy.Compare, Comparison: policy.Comparison{Signal: policy.Pressure, Of: "full", Threshold: 1, Average: time.Minute}},
				{Op: policy.Compare, Comparison: policy.Comparison{Signal: policy.LimitIn, Below: true, Threshold: 90}, For: 2 * time.Second},
			}},
			Leave: policy.Condition{Op: policy.Not, Parts: []policy.Condition{{Op: policy.Any, Parts: []policy.Condition{
				{Op: policy.Compare, Comparison: policy.Comparison{Signal: policy.Events, Of: "oom_kill", Threshold: 2, Window: 30 * time.Second}},
				{Op: policy.Compare, Comparison: policy.Comparison{Signal: policy.Shmem, Threshold: 1 << 30}},
			}}}},
			Urgent: policy.Condition{Op: policy.Always},
			Actions: []policy.Action{
				{Kind: policy.HardStopAfter, HardStop: policy.HardStop{Limit: 5 * time.Minute, HalveEvery: 30 * time.Second, Floor: 15 * time.Second, Spread: 5 * time.Second, PerSecond: 200, Worth: 5}},
				{Kind: policy.TerminateOldest, Terminate: policy.Terminate{Grace: 2 * time.Second, Settle: time.Second, Keep: 1, Limit: 20, Worth: 5}},
			},
		}},
	}
	got.Source = ""
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDecodeFillsInWhatIsLeftOut(t *testing.T) {
	def := builtIn()
	p := mustDecode(t, "version: 1\n")
	p.Source = def.Source
	if !reflect.DeepEqual(p, def) {
		t.Errorf("version alone is not the default: %+v", p)
	}
	p = mustDecode(t, "version: 1\ntargets: [{unit: a.service}]\n")
	if !reflect.DeepEqual(p.Tiers, def.Tiers) || p.Targets[0].Unit != "a.service" {
		t.Errorf("got %+v", p)
	}
	p = mustDecode(t, tierYAML(enter70, leave60, ""))
	if !reflect.DeepEqual(p.Targets, def.Targets) || len(p.Tiers) != 1 {
		t.Errorf("got %+v", p)
	}
}

// FuzzDecode holds that no input panics, that errors have a place, and that what decodes
// is sound, is shown as what it is and can be run. The second text is a drop-in, "" for
// none.
func FuzzDecode(f *testing.F) {
	f.Add(string(defaultYAML), "")
	for _, kind := range []string{"good", "bad"} {
		for _, files := range samples(f, kind) {
			f.Add(string(files[0].Text), string(files[len(files)-1].Text))
		}
	}
	for _, text := range []string{"version: 1\n---\n", "a: &a [*a]\n<<: *a\n", "? {a: b}\n: c\n", "version: !!binary 1", "\xff\xfe\x00"} {
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, in, dropIn string) {
		files := []File{{Name: "p.yaml", Text: []byte(in)}, {Name: "q.yaml", Text: []byte(dropIn)}}
		if dropIn == "" {
			files = files[:1]
		}
		p, err := Decode(files...)
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("not Errors: %v", err)
			}
			for _, e := range all {
				if e.Line < 1 || e.Column < 1 || e.Problem == "" {
					t.Fatalf("an error without a place or text: %+v", e)
				}
			}
			return
		}
		checkSound(t, p)
		text := p.Source
		again, err := Decode(File{Name: "shown", Text: []byte(text)})
		if len(text) <= schema.MaxSize && (err != nil || !reflect.DeepEqual(unplaced(again), unplaced(p))) {
			t.Fatalf("shown as another: %v\n%s", err, text)
		}
		Explain(p)
		st := &policy.State{}
		for now := range 3 {
			policy.Step(p, st, policy.Sample{Now: time.Duration(now) * time.Second, Usage: policy.Reading{Value: 20}})
		}
	})
}

// checkSound asserts what a decoded policy must be, without looking at how it was
// written.
func checkSound(t *testing.T, p *policy.Policy) {
	t.Helper()
	if len(p.Tiers) == 0 || len(p.Targets) == 0 {
		t.Fatalf("no tiers or no targets: %+v", p)
	}
	names := map[string]bool{}
	for _, tier := range p.Tiers {
		if tier.Name == "" || names[tier.Name] || tier.Settle < 0 {
			t.Fatalf("unsound tier %+v", tier)
		}
		names[tier.Name] = true
		if tier.Enter.Op != policy.Always {
			checkCondition(t, tier.Enter)
			checkCondition(t, tier.Leave)
		}
		for _, a := range tier.Actions {
			h := a.HardStop
			if h.Floor > h.Limit || h.HalveEvery > 0 && h.Floor == 0 && h.Limit == 0 || a.Terminate.Keep < 0 {
				t.Fatalf("unsound action %+v", a)
			}
		}
	}
	for _, target := range p.Targets {
		if target.Own != nil && len(target.Own.Tiers) > 0 {
			checkSound(t, target.Own)
		}
		if (target.Unit == "") == (target.Cgroup == "") {
			t.Fatalf("unsound target %+v", target)
		}
	}
}

func checkCondition(t *testing.T, c policy.Condition) {
	t.Helper()
	sound := c.For >= 0
	switch c.Op {
	case policy.Any, policy.All:
		sound = sound && len(c.Parts) > 0
	case policy.Not:
		sound = sound && len(c.Parts) == 1
	case policy.Compare:
		sound = sound && c.Comparison.Signal != "" && c.Comparison.Threshold >= 0 && len(c.Parts) == 0
		if c.Comparison.Signal == policy.Pressure {
			sound = sound && (c.Comparison.Window == 0) != (c.Comparison.Average == 0) && c.Comparison.Of != ""
		}
	default:
		sound = false
	}
	if !sound {
		t.Fatalf("unsound condition %+v", c)
	}
	for _, part := range c.Parts {
		checkCondition(t, part)
	}
}

func TestDecodeAcceptsWhatOnlyTouches(t *testing.T) {
	for _, tt := range []struct{ enter, leave string }{
		{enter70, "{usage: {below: 70%}}"},
		{enter70, "{not: {usage: {above: 60%}}}"},
		{"{reload-room: {below: 2}}", "{reload-room: {above: 2}}"},
		{"{pressure: {full: 5%, window: 5s}}", "{not: {pressure: {full: 5%, window: 10s}}}"},
		{"{pressure: {full: 5%, window: 5s}}", "{not: {pressure: {some: 50%, window: 5s}}}"},
		{"{swap: {above: 5MiB}}", "{shmem: {below: 50MiB}}"},
	} {
		mustDecode(t, tierYAML(tt.enter, tt.leave, ""))
	}
}

// unplaced takes away where a policy is from.
func unplaced(p *policy.Policy) *policy.Policy {
	p.Source = ""
	for i := range p.Targets {
		if own := p.Targets[i].Own; own != nil {
			own.Source = ""
		}
	}
	return p
}
