package policy_test

import (
	"strings"
	"testing"
	"time"

	. "hapressure/policy"
	"hapressure/tests/policytest"
)

const gib = 1 << 30

// hostLimit is one that the target shares with others and holds little of.
var hostLimit = Limit{Name: "the host's memory", Bytes: 1 * gib}

// holding makes a stopping worker of a generation that holds so much, 0 = that is not
// known.
func holdingWorker(generation int, private uint64) Worker {
	w := stopping(generation, 1, CacheEmpty)
	w.Private, w.StoppingFor = private, time.Hour
	return w
}

// TestWorth asserts when connections are cut for what stopping workers hold, and what is
// said when they are not.
func TestWorth(t *testing.T) {
	const percent = gib / 100 // of hostLimit
	const usage, room, oom = "{usage: {above: 95%}}", "{reload-room: {below: 1}}", "{events: {oom: 1, window: 10s}}"
	short := func(s *Sample) { s.Usage, s.UsageOf = have(96), hostLimit }
	own := func(s *Sample) { s.Usage = have(96) }
	for _, tt := range []struct {
		name, enter, worth string
		sense              func(*Sample)
		held               []uint64 // by generation
		want               int      // the generation that is cut; 0 = none
		why                string   // of what is withheld
	}{
		{"next to nothing of the host's memory", usage, "", short, []uint64{16 << 20}, 0,
			"stopping workers hold 16MiB, 1.56% of the host's memory; less than 5% is not worth cutting connections for"},
		{"just too little", usage, "", short, []uint64{2 * percent, 3*percent - 1}, 0, "hold 51.2MiB, 5% of"},
		{"just enough, together", usage, "", short, []uint64{2*percent + 2, 3 * percent}, 1, ""},
		{"little of the target's own limit", usage, "", own, []uint64{1}, 1, ""},
		{"nothing known of the target's own limit", usage, "", own, []uint64{0, 0}, 0, "it is not known what stopping workers hold; less"},
		{"an unknown worker makes the gain no larger", usage, "", short, []uint64{0, 4 * percent}, 0, "4% of the host's memory, and the memory of 1 other worker is not known; less"},
		{"an unknown worker makes the gain no smaller, and is spared", usage, "", short, []uint64{0, 6 * percent}, 2, ""},
		{"a limit that is not known", usage, "", func(s *Sample) { s.Usage, s.UsageOf = have(96), Limit{} }, []uint64{gib}, 0, "hold 1024MiB; less"},
		{"another floor", usage, "worth: 1%", short, []uint64{16 << 20}, 1, ""},
		{"no floor", usage, "worth: 0%", short, []uint64{0}, 1, ""},
		{"a tier that is always held is not about memory", "always", "", short, []uint64{0}, 1, ""},
		{"room under the target's own limit, beside a short host", "{any: [" + usage + ", " + room + "]}", "",
			func(s *Sample) { short(s); s.ReloadRoom = have(0.5) }, []uint64{1}, 1, ""},
		{"room under the host's", room, "", func(s *Sample) { s.ReloadRoom, s.RoomOf = have(0.5), hostLimit }, []uint64{1}, 0, "of the host's memory"},
		{"the target's own limit was hit, beside a short host", "{any: [" + usage + ", " + oom + "]}", "",
			func(s *Sample) { short(s); s.Events["oom"] = have(float64(s.Now / time.Second)) }, []uint64{1}, 1, ""},
		{"what is not true does not count", "{any: [" + usage + ", " + room + "]}", "", short, []uint64{1}, 0, "of the host's memory"},
		{"under a not", "{not: {usage: {below: 95%}}}", "", short, []uint64{1}, 0, "of the host's memory"},
	} {
		for kind, settings := range map[string]string{HardStopAfter: "limit: 1m", TerminateOldest: "settle: 0s"} {
			leave := "leave: {usage: {below: 1%}}, "
			if tt.enter == "always" {
				leave = ""
			}
			if tt.enter == "{not: {usage: {below: 95%}}}" {
				leave = "leave: {swap: {above: 1GiB}}, "
			}
			if tt.worth != "" {
				settings += ", " + tt.worth
			}
			p := policytest.Decode(t, "version: 1\ntiers:\n  - {name: cut, enter: "+tt.enter+", "+leave+"settle: 0s, actions: ["+kind+": {"+settings+"}]}\n")
			st, cut, began := &State{}, 0, 0
			for i := range 5 { // windows fill
				s := calm(time.Duration(i) * 10 * time.Second)
				tt.sense(&s)
				for g, held := range tt.held {
					s.Workers = append(s.Workers, holdingWorker(1+g, held))
				}
				d := Step(p, st, s)
				began += len(d.Withheld)
				if len(d.Actions) > 0 && cut == 0 {
					cut = d.Actions[0].Generation
				}
			}
			if cut != tt.want {
				t.Errorf("%s, %s: generation %d is cut, want %d", tt.name, kind, cut, tt.want)
			}
			if tt.want != 0 {
				continue
			}
			if began != 1 || len(st.Withheld) != 1 {
				t.Errorf("%s, %s: it began to be withheld %d times, %v", tt.name, kind, began, st.Withheld)
				continue
			}
			if got := st.Withheld[0].String(); !strings.Contains(got, tt.why) || !strings.HasPrefix(got, kind+" of tier cut is withheld: ") {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.why)
			}
		}
	}
}

// TestWithheldEnds asserts that what is withheld is that no more once it is done, or its
// tier is left; and is said again the next time.
func TestWithheldEnds(t *testing.T) {
	b := newBench(t, three(t, "", "{settle: 0s}"), inTermin, holdingWorker(1, 1<<20))
	b.usageOf = hostLimit
	b.expect(0)
	b.expect(sec)
	if n := len(b.st.Withheld); n != 2 { // shorten's as well
		t.Fatalf("withheld: %v", b.st.Withheld)
	}
	b.usage = 89 // between the leave and the enter of terminate: still of the same limit
	b.expect(sec)
	b.usage = 84
	b.expect(sec)
	if got := b.st.Withheld; len(got) != 1 || got[0].Kind != HardStopAfter {
		t.Errorf("terminate is left: %v", got)
	}
	b.workers[0].Private = 1 << 30
	b.expect(sec, "hard 11")
	if len(b.st.Withheld) != 0 {
		t.Errorf("it is done: %v", b.st.Withheld)
	}
}
