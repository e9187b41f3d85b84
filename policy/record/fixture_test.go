package record

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"hapressure/policy"
	"hapressure/tests/golden"
)

func TestTags(t *testing.T) { golden.Tags(t, Event{}) }

// TestRecordingOfBefore reads a recording that commit c745bf1 wrote, of a simulated unit:
// none of its fields may be lost.
func TestRecordingOfBefore(t *testing.T) {
	b, err := os.ReadFile("testdata/c745bf1.rec")
	if err != nil {
		t.Fatal(err)
	}
	events, err := read(b)
	if err != io.EOF {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(zip)
	lines.Buffer(nil, MaxLine)
	var begins []Begin
	var tiers []string
	given, ended := map[string]int{}, map[policy.Result]int{}
	for i := 0; lines.Scan(); i++ {
		e := events[i]
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		golden.Covers(t, again, lines.Bytes())
		switch {
		case e.Begin != nil:
			begins = append(begins, *e.Begin)
		case e.Outcome != nil:
			ended[e.Outcome.Result]++
		default:
			for _, c := range e.Tick.Decision.Changes {
				tiers = append(tiers, c.ToName)
			}
			for _, due := range e.Tick.Decision.Actions {
				given[due.Kind]++
			}
		}
	}
	if len(events) != 239 || len(begins) != 3 {
		t.Fatalf("%d events with %d beginnings", len(events), len(begins))
	}
	if want := []string{"purge", "terminate"}; !slices.Equal(tiers, want) {
		t.Errorf("tiers %q, want %q", tiers, want)
	}
	if want := map[string]int{"purge-ssl-cache": 9, "trim-pools": 9, "hard-stop-after": 4, "terminate-oldest": 4}; !reflect.DeepEqual(given, want) {
		t.Errorf("%v were given, want %v", given, want)
	}
	if want := map[policy.Result]int{policy.Done: 17, policy.Refused: 9}; !reflect.DeepEqual(ended, want) {
		t.Errorf("%v ended, want %v", ended, want)
	}
	last := begins[2]
	if st := last.State; last.At != 17200*time.Millisecond || st.Tier != 3 || st.TierName != "terminate" || len(st.Workers) == 0 {
		t.Errorf("the last beginning is %v with tier %d, %q, and %d workers", last.At, st.Tier, st.TierName, len(st.Workers))
	}
	if w := events[100].Tick.Workers; len(w) == 0 || w[0].ID.PID == 0 || w[0].State == policy.Unknown {
		t.Errorf("workers of the 101st line: %+v", w)
	}
}
