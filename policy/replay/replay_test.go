package replay

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
	"hapressure/policy/simulate"
)

// storm is a recording of the simulated storm, made anew from some state every so many ticks, as the daemon does.
func storm(t *testing.T, p *policy.Policy, every int) (events []record.Event) {
	t.Helper()
	text, err := os.ReadFile("../../tests/scenarios/storm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := simulate.Decode("storm.yaml", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	st, ticks := policy.State{}, 0
	add := func(e record.Event) { events = append(events, e) }
	begin := func() {
		b, err := json.Marshal(st) // as it is written down
		copied := policy.State{}
		if err == nil {
			err = json.Unmarshal(b, &copied)
		}
		if err != nil {
			t.Fatal(err)
		}
		add(record.Event{Begin: &record.Begin{Target: "x", At: st.Now, Wall: time.Unix(1e9, 0).UTC().Add(st.Now), Policy: p.Source, State: copied}})
	}
	begin()
	if _, err := simulate.Run(s, p, false, func(e record.Event) error {
		add(e)
		if e.Outcome != nil {
			st.Done(*e.Outcome)
			return nil
		}
		policy.Step(p, &st, e.Tick.Sample)
		if ticks++; ticks%every == 0 {
			begin()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return events
}

func play(t *testing.T, r *Run, events []record.Event) *Run {
	t.Helper()
	for _, e := range events {
		if err := r.Play(e); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func decode(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.DecodeFiles(policy.File{Name: "test.yaml", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRecordedPolicyDecidesAsItDid(t *testing.T) {
	for _, every := range []int{7, 1 << 30} {
		events := storm(t, builtIn(), every)
		r := play(t, New("as recorded", nil), events)
		if r.Differs != nil {
			t.Errorf("a new beginning every %d ticks: %v", every, r.Differs)
		}
		if r.Given()[policy.PurgeSSLCache] != 8 {
			t.Errorf("%v were given", r.Given())
		}
		// The beginning of it was lost. A Run takes the states of what it plays, so it is made anew.
		events = storm(t, builtIn(), every)
		for i, e := range events {
			if e.Begin != nil && i > len(events)/3 {
				if late := play(t, New("as recorded", nil), events[i:]); late.Differs != nil {
					t.Errorf("from event %d on: %v", i, late.Differs)
				}
				break
			}
		}
	}
}

func TestDifferenceIsFound(t *testing.T) {
	events := storm(t, builtIn(), 1<<30)
	changed := false
	for i, e := range events {
		if !changed && e.Tick != nil && e.Tick.Usage.Value > 60 {
			e.Tick.ReloadRoom.Value = 1.2345
			events[i], changed = e, true
		}
	}
	r := play(t, New("as recorded", nil), events)
	if r.Differs == nil || !strings.Contains(r.Differs.Error(), "reload-room 1.23 < 2") {
		t.Errorf("%v", r.Differs)
	}
}

// Another policy goes on over a new beginning, and its actions land in the model.
func TestOtherPolicy(t *testing.T) {
	for _, every := range []int{50, 1 << 30} {
		events := storm(t, builtIn(), every)
		recorded := play(t, New("as recorded", nil), events)
		p := decode(t, `version: 1
tiers:
  - name: end
    enter: always
    settle: 0s
    actions: [purge-ssl-cache: {}, terminate-oldest: {grace: 1s, settle: 0s, keep: 2}]
`)
		r := play(t, New("other", p), events)
		if got := r.Given(); got[policy.TerminateOldest] != 6 {
			t.Errorf("every %d: %v, want the oldest six of eight terminated", every, got)
		}
		ended := map[policy.WorkerID]bool{}
		for _, e := range r.Entries {
			switch {
			case e.Outcome != nil && e.Outcome.Kind == policy.TerminateOldest:
				ended[e.Outcome.Worker] = true
			case e.Action != nil && ended[e.Action.Worker]:
				t.Errorf("acted on a worker that it had ended: %v", &e)
			}
		}
		was, is := r.Differ(recorded)
		if was == nil || is == nil || is.Change == nil || !is.At.Before(was.At) {
			t.Errorf("first difference: recorded %v, other %v", was, is)
		}
		if was, is := recorded.Differ(recorded); was != nil || is != nil {
			t.Errorf("differs from itself: %v, %v", was, is)
		}
	}
}

func TestPage(t *testing.T) {
	events := storm(t, decode(t, "version: 1\n# </script><b>\n"), 100)
	r, v := play(t, New("</script>", nil), events), &View{}
	for _, e := range events {
		v.Play(e)
	}
	var b bytes.Buffer
	if err := v.WriteHTML(&b, []*Run{r}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "</script>"); n != 2 {
		t.Errorf("%d scripts end, want the data and the program", n)
	}
	_, data, _ := strings.Cut(b.String(), `type="application/json">`)
	var got struct{ Curve []map[string]any }
	if err := json.NewDecoder(strings.NewReader(data)).Decode(&got); err != nil || len(got.Curve) < 400 {
		t.Errorf("%d points, %v", len(got.Curve), err)
	}
}

// However long a recording is, the page stays small and keeps the peaks.
func TestThinKeepsPeaks(t *testing.T) {
	curve := make([]point, 100_000)
	curve[77_777].Usage, curve[33_333].Some, curve[11_111].Room = 99, 50, -1
	thinned := thin(curve)
	var peak point
	for _, p := range thinned {
		peak.Usage, peak.Some, peak.Room = max(peak.Usage, p.Usage), max(peak.Some, p.Some), min(peak.Room, p.Room)
	}
	if len(thinned) > columns || peak.Usage != 99 || peak.Some != 50 || peak.Room != -1 {
		t.Errorf("%d points, peak %+v", len(thinned), peak)
	}
}

func builtIn() *policy.Policy {
	p, err := policy.DecodeFiles(policy.BuiltIn)
	if err != nil {
		panic(err)
	}
	return p
}
