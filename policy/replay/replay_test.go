package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
	"hapressure/policy/simulate"
	"hapressure/tests/golden"
	"hapressure/tests/policytest"
)

// storm returns recordings of the simulated storm. A new one begins every so many ticks,
// as in the daemon.
func storm(t *testing.T, p *policy.Policy, every int) (events []record.Event) {
	t.Helper()
	text, err := os.ReadFile("../../packaging/scenarios/storm.yaml")
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
	if _, err := simulate.Run(s, p, func(e record.Event) error {
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

// TestRecordingOfBefore plays a recording that commit c745bf1 wrote: its policy, states
// and samples are of use still.
func TestRecordingOfBefore(t *testing.T) {
	b, err := os.ReadFile("../record/testdata/c745bf1.rec")
	if err != nil {
		t.Fatal(err)
	}
	r, err := record.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	run := New("as recorded", nil)
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err := errors.Join(err, run.Play(e)); err != nil {
			t.Fatal(err)
		}
	}
	if given := run.Given(); given[policy.PurgeSSLCache] != 9 || given[policy.TerminateOldest] != 4 || run.Spent["terminate"] < time.Minute {
		t.Errorf("%v were given, %v spent", given, run.Spent)
	}
}

func TestTags(t *testing.T) { golden.Tags(t, Entry{}, point{}) }

func TestRecordedPolicyDecidesAsItDid(t *testing.T) {
	for _, every := range []int{7, 1 << 30} {
		events := storm(t, policytest.BuiltIn(t), every)
		r := play(t, New("as recorded", nil), events)
		if r.Differs != nil {
			t.Errorf("a new beginning every %d ticks: %v", every, r.Differs)
		}
		if r.Given()[policy.PurgeSSLCache] != 8 {
			t.Errorf("%v were given", r.Given())
		}
		// The beginning of it was lost. A Run takes the states of what it plays, so it
		// needs a new one.
		events = storm(t, policytest.BuiltIn(t), every)
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
	events := storm(t, policytest.BuiltIn(t), 1<<30)
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

// Another policy continues over a new beginning, and its actions take effect in the
// model.
func TestOtherPolicy(t *testing.T) {
	for _, every := range []int{50, 1 << 30} {
		events := storm(t, policytest.BuiltIn(t), every)
		recorded := play(t, New("as recorded", nil), events)
		p := policytest.Decode(t, `version: 1
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
		if was == nil || is == nil || is.Change == nil || is.Change.ToName != "end" {
			t.Errorf("first difference: recorded %v, other %v", was, is)
		}
		if was, is := recorded.Differ(recorded); was != nil || is != nil {
			t.Errorf("differs from itself: %v, %v", was, is)
		}
	}
}

// A simulation's clock starts at 0; that of a machine is its own.
func TestClock(t *testing.T) {
	for text, at := range map[string]time.Time{
		"0:00:00.000":             time.Unix(0, 0),
		"26:03:59.999":            time.Unix(26*3600+239, 999_999_999),
		"2026-01-02 03:04:05.600": time.Date(2026, 1, 2, 3, 4, 5, 6e8, time.UTC),
	} {
		if got := Clock(at); got != text {
			t.Errorf("%v is %s, want %s", at, got, text)
		}
	}
}

// A page has the memory of the youngest generations each, and of all older ones together.
func TestHeldIsBounded(t *testing.T) {
	var workers []policy.Worker
	for g := range 100 {
		workers = append(workers, policy.Worker{Generation: g + 1, Private: 5, CacheBytes: 2})
	}
	got := held(workers)
	if len(got) != generations+1 || got[77] != 7 || got[0] != 76*7 {
		t.Errorf("%v", got)
	}
}

func TestPage(t *testing.T) {
	events := storm(t, policytest.Decode(t, "version: 1\n# </script><b>\n"), 100)
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
	var got struct {
		Curve []struct {
			Full, Cut *float64
			Of        string
			Held      map[int]float64
		}
	}
	if err := json.NewDecoder(strings.NewReader(data)).Decode(&got); err != nil || len(got.Curve) < 400 {
		t.Fatalf("%d points, %v", len(got.Curve), err)
	}
	last := got.Curve[len(got.Curve)-1]
	if last.Full == nil || last.Cut == nil || last.Of != "memory.max" || len(last.Held) < 2 {
		t.Errorf("the last point is %+v", last)
	}
}

// What is shown of a recording does not grow with it, and keeps the peaks.
func TestCurveIsBounded(t *testing.T) {
	var c curve
	for i := range 1_000_000 {
		p := point{Usage: 10, Some: nan, Room: 5}
		switch i {
		case 777_777:
			p.Usage = 99
		case 333_333:
			p.Some, p.Killed = 50, 2
		case 111_111:
			p.Room = -1
		case 555_555:
			p.Usage = nan
		}
		c.add(p)
		if len(c.points) > 2*columns {
			t.Fatalf("%d points after %d samples", len(c.points), i)
		}
	}
	thinned := thin(c.points)
	if len(thinned) > columns {
		t.Errorf("a page has %d points", len(thinned))
	}
	peak := thinned[0]
	for _, p := range thinned {
		peak = merge(peak, p)
	}
	if want := (point{Usage: 99, Some: 50, Room: -1, Killed: 2}); !reflect.DeepEqual(peak, want) {
		t.Errorf("the peak is %+v, want %+v", peak, want)
	}
}

// The JSON is written piece by piece, and is what the types say.
func TestWhatIsWrittenIsWhatARunHolds(t *testing.T) {
	events := storm(t, policytest.BuiltIn(t), 100)
	r, v := play(t, New("<as recorded>", nil), events), &View{}
	for _, e := range events {
		v.Play(e)
	}
	run := RunDocument{Name: r.Name, Spent: map[string]float64{}}
	for tier, spent := range r.Spent {
		run.Spent[tier] = spent.Seconds()
	}
	for i := range r.Entries {
		run.Entries = append(run.Entries, r.Entries[i].document())
	}
	want := Document{Target: v.Target, From: v.From, To: v.To, Samples: v.Samples,
		Runs: []RunDocument{run, run}}
	var b bytes.Buffer
	if err := v.WriteJSON(&b, []*Run{r, r}); err != nil {
		t.Fatal(err)
	}
	var got Document
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\nwant\n%+v", b.Bytes(), want)
	}
}

// A Run holds a bounded number of bytes. Two days of storms are far below it.
func TestEntriesAreBounded(t *testing.T) {
	r := play(t, New("as recorded", nil), storm(t, policytest.BuiltIn(t), 1<<30))
	passed := r.state.Now
	if most := r.size * int(48*time.Hour/passed); most > maxEntries/2 {
		t.Errorf("two days of storms as this one of %v take %d bytes of %d", passed, most, maxEntries)
	}
	o := policy.Outcome{Kind: policy.PurgeSSLCache, Result: policy.Failed, Reason: strings.Repeat("x", record.MaxLine/2)}
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = r.Play(record.Event{Outcome: &o})
	}
	if !errors.Is(err, errTooMuch) || n > maxEntries/len(o.Reason)+1 {
		t.Errorf("after %d outcomes of %d bytes: %v", n, len(o.Reason), err)
	}
}
