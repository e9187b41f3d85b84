package policy

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// tierYAML is a valid tier with holes for the parts under test.
func tierYAML(enter, leave, rest string) string {
	return "version: 1\ntiers:\n  - name: a\n    enter: " + enter + "\n    leave: " + leave + "\n" + rest +
		"    actions: [purge-ssl-cache: {}]\n"
}

const (
	enter70 = "{usage: {above: 70%}}"
	leave60 = "{usage: {below: 60%}}"
)

func mustDecode(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Decode("p.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatalf("decoding:\n%s\n%v", text, err)
	}
	return p
}

func TestDecodeErrors(t *testing.T) {
	action := func(a string) string {
		return "version: 1\ntiers:\n  - name: a\n    enter: always\n    actions:\n      - " + a + "\n"
	}
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", `p.yaml:1:1: the file is empty: write at least "version: 1"`},
		{"only a comment", "# nothing\n", `p.yaml:1:1: the file is empty: write at least "version: 1"`},
		{"syntax", "version: 1\n  tiers: [\n", `p.yaml:2:3: not YAML: mapping values are not allowed in this context`},
		{"a list", "- a\n", "p.yaml:1:1: the policy is not a mapping: its keys are version, targets, tiers"},
		{"no version", "targets: [{unit: a.service}]\n", `p.yaml:1:1: version is missing: write "version: 1"`},
		{"version 2", "version: 2\n", "p.yaml:1:10: version 2 is not known: write 1"},
		{"second document", "version: 1\n---\nversion: 1\n", "p.yaml:2:1: a second document begins here: a policy is one document"},
		{"unknown key", "version: 1\ntires: []\n", `p.yaml:2:1: the policy has an unknown key "tires": known are version, targets, tiers`},
		{"duplicate key", "version: 1\nversion: 1\n", `p.yaml:2:1: the policy has the key "version" twice: the first is in line 1`},
		{"alias", "version: &v 1\ntargets: *v\n", "p.yaml:2:10: targets is an alias, which a policy may not have: write the value out"},
		{"alias to itself", "version: 1\ntiers: &a\n  - *a\n", "p.yaml:3:5: a tier is an alias, which a policy may not have: write the value out"},
		{"tag", "version: !!int 1\n", "p.yaml:1:10: version has the tag !!int, which a policy may not have: leave it out"},
		{"empty tiers", "version: 1\ntiers: []\n", "p.yaml:2:8: tiers is an empty list: give at least one, or leave the key out"},
		{"null tiers", "version: 1\ntiers:\n", "p.yaml:2:7: tiers is not a list: begin each item with -"},
		{"large", "version: 1\n" + strings.Repeat("#", maxSize), "p.yaml:1:1: the file is larger than 65536 bytes"},

		{"target with both", "version: 1\ntargets: [{unit: a.service, cgroup: b}]\n", "p.yaml:2:11: a target has either unit or cgroup, this one has 2 of them"},
		{"unit without type", "version: 1\ntargets: [{unit: haproxy}]\n", `p.yaml:2:18: unit "haproxy" has no known type: write for example haproxy.service`},
		{"unit as path", "version: 1\ntargets: [{unit: a/b.service}]\n", `p.yaml:2:18: unit "a/b.service" is a path: write cgroup: a/b.service`},
		{"unit, bad glob", "version: 1\ntargets: [{unit: 'a[.service'}]\n", `p.yaml:2:18: unit "a[.service" is not a valid glob: syntax error in pattern`},
		{"cgroup upwards", "version: 1\ntargets: [{cgroup: ../a}]\n", `p.yaml:2:20: cgroup "../a" does not name a group below the mount: write for example haproxy.slice`},
		{"the root cgroup", "version: 1\ntargets: [{cgroup: /}]\n", `p.yaml:2:20: cgroup "/" does not name a group below the mount: write for example haproxy.slice`},
		{"target twice", "version: 1\ntargets: [{unit: a.service}, {unit: a.service}]\n", "p.yaml:2:30: target a.service is named twice"},

		{"tier without parts", "version: 1\ntiers:\n  - {urgent: true}\n", "p.yaml:3:5: a tier needs name, this one has none\np.yaml:3:5: a tier needs enter, this one has none\np.yaml:3:5: a tier needs actions, this one has none"},
		{"tier without leave", "version: 1\ntiers:\n  - {name: a, enter: {usage: {above: 1%}}, actions: [purge-ssl-cache: {}]}\n", "p.yaml:3:5: a tier needs leave, this one has none"},
		{"always with leave", tierYAML("always", leave60, ""), "p.yaml:5:12: a tier with enter: always is never left: leave out leave"},
		{"tier name twice", action("purge-ssl-cache: {}") + "  - {name: a, enter: always, actions: [purge-ssl-cache: {}]}\n", "p.yaml:7:12: tier a is named twice: the first is in line 3"},
		{"tier name", tierYAML(enter70, leave60, "") + "    name: B\n", `p.yaml:7:5: a tier has the key "name" twice: the first is in line 3`},
		{"capital", "version: 1\ntiers:\n  - {name: B, enter: always, actions: [purge-ssl-cache: {}]}\n", `p.yaml:3:12: name "B" is not a tier's name: write small letters, digits and -, at most 32`},
		{"urgent", tierYAML(enter70, leave60, "    urgent: yes\n"), `p.yaml:6:13: urgent "yes" is not understood: write true or false`},
		{"settle without unit", tierYAML(enter70, leave60, "    settle: 10\n"), "p.yaml:6:13: settle 10 has no unit: write 10s"},
		{"settle negative", tierYAML(enter70, leave60, "    settle: -1s\n"), `p.yaml:6:13: settle "-1s" is not understood: write for example 10s`},
		{"settle too long", tierYAML(enter70, leave60, "    settle: 25h\n"), "p.yaml:6:13: settle 25h is out of range: write at most 24h"},

		{"percent without unit", tierYAML("{usage: {above: 70}}", leave60, ""), "p.yaml:4:28: usage above 70 has no unit: write 70%"},
		{"percent with the wrong unit", tierYAML("{usage: {above: 70MiB}}", leave60, ""), `p.yaml:4:28: usage above "70MiB" is not understood: write for example 70%`},
		{"percent too large", tierYAML("{usage: {above: 101%}}", leave60, ""), "p.yaml:4:28: usage above 101% is out of range: write a percentage from 0% to 100%"},
		{"percent with leading zero", tierYAML("{usage: {above: 070%}}", leave60, ""), "p.yaml:4:28: usage above 070% has a leading zero, which YAML may read as octal: write 70%"},
		{"number with leading zero", tierYAML("{reload-room: {below: 010}}", leave60, ""), "p.yaml:4:34: reload-room below 010 has a leading zero, which YAML may read as octal: write 10"},
		{"zeros", tierYAML("{reload-room: {below: 00.5}}", leave60, ""), "p.yaml:4:34: reload-room below 00.5 has a leading zero, which YAML may read as octal: write 0.5"},
		{"hexadecimal", tierYAML("{reload-room: {below: 0x10}}", leave60, ""), `p.yaml:4:34: reload-room below "0x10" is not understood: write for example 2`},
		{"underscore", tierYAML("{reload-room: {below: 1_0}}", leave60, ""), `p.yaml:4:34: reload-room below "1_0" is not understood: write for example 2`},
		{"number with a unit", tierYAML("{reload-room: {below: 2s}}", leave60, ""), `p.yaml:4:34: reload-room below "2s" is not understood: write for example 2`},
		{"size without unit", tierYAML("{swap: {above: 64}}", leave60, ""), "p.yaml:4:27: swap above 64 has no unit: write 64MiB"},
		{"size in MB", tierYAML("{shmem: {above: 64MB}}", leave60, ""), `p.yaml:4:28: shmem above "64MB" is not understood: write for example 64MiB`},
		{"limit-in in percent", tierYAML("{limit-in: {below: 3%}}", leave60, ""), `p.yaml:4:31: limit-in below "3%" is not understood: write for example 10s`},
		{"above and below", tierYAML("{usage: {above: 70%, below: 80%}}", "{swap: {below: 1MiB}}", ""), "p.yaml:4:20: usage has either above or below, this one has 2 of them"},
		{"null value", tierYAML("{usage: {above: }}", leave60, ""), "p.yaml:4:28: usage above has no value"},
		{"unknown signal", tierYAML("{load: {above: 70%}}", leave60, ""), "p.yaml:4:12: a condition has one of any, all, not or a signal, this one has 0: join several with any or all\n" +
			`p.yaml:4:13: a condition has an unknown key "load": known are any, all, not, for, usage, reload-room, pressure, events, limit-in, swap, shmem`},
		{"two signals", tierYAML("{usage: {above: 70%}, swap: {above: 1MiB}}", leave60, ""), "p.yaml:4:12: a condition has one of any, all, not or a signal, this one has 2: join several with any or all"},
		{"empty any", tierYAML("{any: []}", leave60, ""), "p.yaml:4:18: any is an empty list: give at least one, or leave the key out"},
		{"always inside", tierYAML("{any: [always]}", leave60, ""), "p.yaml:4:19: a condition is not a mapping: its keys are any, all, not, for, usage, reload-room, pressure, events, limit-in, swap, shmem"},
		{"deep", tierYAML(strings.Repeat("{not: ", 9)+enter70+strings.Repeat("}", 9), leave60, ""), "p.yaml:4:66: conditions are nested deeper than 8"},

		{"pressure of nothing", tierYAML("{pressure: {window: 10s}}", leave60, ""), "p.yaml:4:23: pressure has either some or full: write for example {some: 5%, window: 10s}"},
		{"pressure without window", tierYAML("{pressure: {some: 5%}}", leave60, ""), "p.yaml:4:23: pressure has either window or average: write for example {some: 5%, window: 10s}"},
		{"pressure of 0", tierYAML("{pressure: {some: 0%, window: 10s}}", leave60, ""), "p.yaml:4:30: pressure some of 0% is always reached: write more"},
		{"average", tierYAML("{pressure: {some: 5%, average: 20s}}", leave60, ""), "p.yaml:4:43: average 20s is not one the kernel keeps: write 10s, 60s or 300s"},
		{"window too short", tierYAML("{pressure: {some: 5%, window: 100ms}}", leave60, ""), "p.yaml:4:42: window 100ms is out of range: write from 500ms to 10m"},
		{"window too long", tierYAML("{events: {high: 1, window: 1h}}", leave60, ""), "p.yaml:4:39: window 1h is out of range: write from 500ms to 10m"},
		{"events without window", tierYAML("{events: {high: 1}}", leave60, ""), "p.yaml:4:21: events has one event and a window: write for example {high: 1, window: 10s}"},
		{"events of 0", tierYAML("{events: {high: 0, window: 10s}}", leave60, ""), "p.yaml:4:28: events high 0 is out of range: write a number from 1 to 1000000"},
		{"events of a half", tierYAML("{events: {high: 1.5, window: 10s}}", leave60, ""), "p.yaml:4:28: events high 1.5 is not whole: write 2"},

		{"overlap", tierYAML(enter70, "{usage: {below: 75%}}", ""), "p.yaml:5:20: leave usage below 75% overlaps enter usage above 70% of line 4: write below 70% or less"},
		{"overlap downwards", tierYAML("{reload-room: {below: 2}}", "{all: [{reload-room: {above: 1}}]}", ""), "p.yaml:5:33: leave reload-room above 1 overlaps enter reload-room below 2 of line 4: write above 2 or more"},
		{"overlap, same direction", tierYAML(enter70, "{usage: {above: 90%}}", ""), "p.yaml:5:20: leave usage above 90% overlaps enter usage above 70% of line 4: write below 70% or less"},
		{"overlap under not", tierYAML("{pressure: {full: 5%, window: 5s}}", "{not: {pressure: {full: 8%, window: 5s}}}", ""), "p.yaml:5:29: leave not pressure full 8% in 5s overlaps enter pressure full 5% in 5s of line 4: write not with 5% or less"},

		{"unknown action", action("burn: {}"), `p.yaml:6:9: unknown action "burn": known are purge-ssl-cache, trim-pools, page-out, hard-stop-after, terminate-oldest`},
		{"action as a word", action("purge-ssl-cache"), "p.yaml:6:9: an action is a mapping with one key: write for example purge-ssl-cache: {}"},
		{"action without settings", action("purge-ssl-cache:"), "p.yaml:6:25: purge-ssl-cache is not followed by its settings: write for example purge-ssl-cache: {}"},
		{"purge with settings", action("purge-ssl-cache: {max: 1}"), "p.yaml:6:26: purge-ssl-cache has no settings: write purge-ssl-cache: {}"},
		{"action twice", action("purge-ssl-cache: {}") + "      - purge-ssl-cache: {}\n", "p.yaml:7:9: action purge-ssl-cache is given twice in one tier: the first is in line 6"},
		{"hard-stop-after without limit", action("hard-stop-after: {}"), "p.yaml:6:26: hard-stop-after needs limit: write for example {limit: 5m}"},
		{"floor above limit", action("hard-stop-after: {limit: 5m, floor: 6m}"), "p.yaml:6:45: floor 6m is above limit 5m: write at most that"},
		{"halve-every without floor", action("hard-stop-after: {limit: 5m, halve-every: 30s}"), "p.yaml:6:51: halve-every needs floor, how short the limit may get: write for example floor: 15s"},
		{"keep negative", action("terminate-oldest: {keep: -1}"), `p.yaml:6:34: keep "-1" is not understood: write for example 2`},
		{"several at once, in order", "version: 3\nfoo: 1\ntiers: 5\n", "p.yaml:1:10: version 3 is not known: write 1\n" +
			`p.yaml:2:1: the policy has an unknown key "foo": known are version, targets, tiers` + "\np.yaml:3:8: tiers is not a list: begin each item with -"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Decode("p.yaml", strings.NewReader(tt.in))
			if err == nil {
				t.Fatalf("decoded to %+v", p)
			}
			if got := err.Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			var all Errors
			if !errors.As(err, &all) {
				t.Errorf("%T is not Errors", err)
			}
		})
	}
}

func TestDecodeReadError(t *testing.T) {
	_, err := Decode("p.yaml", iotest.ErrReader(io.ErrUnexpectedEOF))
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), `reading policy "p.yaml": `) {
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
	want := &Policy{
		Targets: []Target{{Unit: "haproxy@*.service"}, {Cgroup: "haproxy.slice/blue"}},
		Tiers: []Tier{{
			Name: "first", Enter: Condition{Op: Always}, Settle: 10 * time.Second,
			Actions: []Action{{Kind: PurgeSSLCache}},
		}, {
			Name: "second",
			Enter: Condition{Op: Any, For: 3 * time.Second, Of: []Condition{
				{Op: Compare, Test: Test{Signal: Pressure, Of: "some", Limit: 5.5, Window: 10 * time.Second}},
				{Op: Compare, Test: Test{Signal: Pressure, Of: "full", Limit: 1, Average: time.Minute}},
				{Op: Compare, Test: Test{Signal: LimitIn, Below: true, Limit: 90}, For: 2 * time.Second},
			}},
			Leave: Condition{Op: Not, Of: []Condition{{Op: Any, Of: []Condition{
				{Op: Compare, Test: Test{Signal: Events, Of: "oom_kill", Limit: 2, Window: 30 * time.Second}},
				{Op: Compare, Test: Test{Signal: Shmem, Limit: 1 << 30}},
			}}}},
			Urgent: Condition{Op: Always},
			Actions: []Action{
				{Kind: HardStopAfter, HardStop: HardStop{Limit: 5 * time.Minute, HalveEvery: 30 * time.Second, Floor: 15 * time.Second, Spread: 5 * time.Second, PerSecond: 200}},
				{Kind: TerminateOldest, Terminate: Terminate{Grace: 2 * time.Second, Settle: time.Second, Keep: 1, Limit: 20}},
			},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDecodeFillsInWhatIsLeftOut(t *testing.T) {
	def := Default()
	if p := mustDecode(t, "version: 1\n"); !reflect.DeepEqual(p, def) {
		t.Errorf("version alone is not the default: %+v", p)
	}
	p := mustDecode(t, "version: 1\ntargets: [{unit: a.service}]\n")
	if !reflect.DeepEqual(p.Tiers, def.Tiers) || p.Targets[0].Unit != "a.service" {
		t.Errorf("got %+v", p)
	}
	p = mustDecode(t, tierYAML(enter70, leave60, ""))
	if !reflect.DeepEqual(p.Targets, def.Targets) || len(p.Tiers) != 1 {
		t.Errorf("got %+v", p)
	}
}

// FuzzDecode holds that no input panics, that errors have a place, and that what decodes is sound and can be run.
func FuzzDecode(f *testing.F) {
	f.Add(string(defaultYAML))
	f.Add(tierYAML(enter70, leave60, "    urgent: true\n"))
	f.Add(tierYAML("{any: [{pressure: {some: 5%, average: 10s}}, {not: {swap: {below: 1KiB}}}], for: 1h}", "{events: {max: 1, window: 10m}}", ""))
	f.Add("version: 1\n---\n")
	f.Add("a: &a [*a]\n<<: *a\n")
	f.Add("? {a: b}\n: c\n")
	f.Add("version: !!binary 1")
	f.Add("\xff\xfe\x00")
	f.Fuzz(func(t *testing.T, in string) {
		p, err := Decode("p.yaml", strings.NewReader(in))
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
		st := &State{}
		for now := range 3 {
			Step(p, st, calm(time.Duration(now)*time.Second))
		}
	})
}

// checkSound asserts what a decoded policy must be, without looking at how it was written.
func checkSound(t *testing.T, p *Policy) {
	t.Helper()
	if len(p.Tiers) == 0 || len(p.Targets) == 0 {
		t.Fatalf("no tiers or no targets: %+v", p)
	}
	names := map[string]bool{}
	for _, tier := range p.Tiers {
		if tier.Name == "" || names[tier.Name] || len(tier.Actions) == 0 || tier.Settle < 0 {
			t.Fatalf("unsound tier %+v", tier)
		}
		names[tier.Name] = true
		if tier.Enter.Op != Always {
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
		if (target.Unit == "") == (target.Cgroup == "") {
			t.Fatalf("unsound target %+v", target)
		}
	}
}

func checkCondition(t *testing.T, c Condition) {
	t.Helper()
	sound := c.For >= 0
	switch c.Op {
	case Any, All:
		sound = sound && len(c.Of) > 0
	case Not:
		sound = sound && len(c.Of) == 1
	case Compare:
		sound = sound && c.Test.Signal != "" && c.Test.Limit >= 0 && len(c.Of) == 0
		if c.Test.Signal == Pressure {
			sound = sound && (c.Test.Window == 0) != (c.Test.Average == 0) && c.Test.Of != ""
		}
	default:
		sound = false
	}
	if !sound {
		t.Fatalf("unsound condition %+v", c)
	}
	for _, part := range c.Of {
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
