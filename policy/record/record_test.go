package record

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hapressure/policy"
	"hapressure/tests/policytest"
)

func have(v float64) policy.Reading { return policy.Reading{Value: v} }

// sample is a recording with most of what can be in one.
func sample(t testing.TB) []byte {
	t.Helper()
	p := policytest.Decode(t, "version: 1\ntiers: [{name: t, enter: {reload-room: {below: 2}}, leave: {usage: {below: 6%}}, actions: [purge-ssl-cache: {}]}]\n")
	var b bytes.Buffer
	w, err := NewWriter(&b, Begin{Target: "haproxy.service", Wall: time.Unix(1700000000, 0).UTC(), Policy: p.Source})
	st := policy.State{}
	for i := range 5 {
		now := time.Duration(i) * 1001 * time.Millisecond
		s := policy.Sample{Now: now, Usage: have(60 + 3*float64(i)), ReloadRoom: have(2.25 - float64(i)/4), LimitIn: policy.Reading{Absent: policy.NotRising},
			Swap: have(math.Inf(1)), Shmem: have(1 << 28), Events: map[string]policy.Reading{"high": have(float64(i / 2)), "oom": {Absent: "no <oom>"}}}
		for n := range 2 - i/3 {
			s.Workers = append(s.Workers, policy.Worker{ID: policy.WorkerID{PID: 100 + n, Start: 1<<63 + uint64(n)}, Generation: n + 1,
				State: policy.Stopping, StoppingFor: now / 2, Cache: policy.CacheFull, Private: uint64(i) << 20})
		}
		d := policy.Step(p, &st, s)
		err = errors.Join(err, w.Write(Event{Tick: &Tick{Sample: s, Used: uint64(i) << 20, Limit: 1 << 30, Nearest: "/system.slice memory.max", Decision: d}}))
		for _, due := range d.Actions {
			o := policy.Outcome{Tier: due.Tier, Kind: due.Kind, Worker: due.Worker, At: now + 3, Result: policy.Done, FreedBytes: 1 << 28}
			err = errors.Join(err, w.Write(Event{Outcome: &o}))
			st.Done(o)
		}
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns all events and how reading ended.
func read(b []byte) ([]Event, error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for events := []Event{}; ; {
		e, err := r.Next()
		if err != nil {
			return events, err
		}
		if len(events) < 1000 { // of crafted ones more would only take memory
			events = append(events, e)
		}
	}
}

// Every field must come back, also one that is added to a sample later.
func TestWhatIsWrittenIsRead(t *testing.T) {
	readings := rapid.OneOf(
		rapid.Map(rapid.Float64(), have),
		rapid.SampledFrom([]policy.Reading{{Absent: "gone"}, {Absent: "a\nb"}, {Absent: "<>&"}, have(math.Inf(-1)), have(math.Copysign(0, -1))}))
	ticks := rapid.SliceOf(rapid.MakeCustom[Tick](rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[policy.Reading]():     readings.AsAny(),
		reflect.TypeFor[policy.WorkerState](): rapid.SampledFrom([]policy.WorkerState{policy.Stopping, policy.Current}).AsAny(),
	}}))
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		w, err := NewWriter(&b, Begin{})
		want := ticks.Draw(t, "ticks")
		for i := range want {
			err = errors.Join(err, w.Write(Event{Tick: &want[i]}))
		}
		got, end := read(b.Bytes()) // as if killed now
		if err != nil || end != io.EOF || len(got) != 1+len(want) {
			t.Fatalf("%d events of %d ticks: %v, %v", len(got), len(want), err, end)
		}
		for i := range want {
			if !reflect.DeepEqual(*got[i+1].Tick, want[i]) {
				t.Fatalf("tick %d:\n%+v\n%+v", i, *got[i+1].Tick, want[i])
			}
		}
	})
}

func TestTornAnywhere(t *testing.T) {
	whole := sample(t)
	all, err := read(whole)
	if err != io.EOF || len(all) != 8 {
		t.Fatalf("%d events, %v", len(all), err)
	}
	most := 0
	for cut := range whole {
		got, err := read(whole[:cut])
		if err != io.EOF && (cut >= 10 || !errors.Is(err, errNone)) { // a gzip header has 10 bytes
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if len(got) < most || len(got) > 0 && !reflect.DeepEqual(got, all[:len(got)]) {
			t.Fatalf("cut at %d: %d events, or others", cut, len(got))
		}
		most = len(got)
	}
	if most != len(all) {
		t.Errorf("%d of %d events without the end mark", most, len(all))
	}
	if twice, err := read(append(whole, whole...)); err != io.EOF || len(twice) != 2*len(all) {
		t.Errorf("joined: %d events, %v", len(twice), err)
	}
}

func TestCut(t *testing.T) {
	whole := sample(t)
	for size := 10; size <= len(whole); size++ {
		r, err := NewReader(bytes.NewReader(whole[:size]))
		n := 0
		for ; err == nil; n++ {
			_, err = r.Next()
		}
		if lines, cut := r.Cut(); lines != n-1 || cut != (size < len(whole)) {
			t.Fatalf("of %d bytes %d: %d lines of %d, cut: %v", len(whole), size, lines, n-1, cut)
		}
	}
}

func zipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.Bytes()
}

func TestReaderRefuses(t *testing.T) {
	begin := `{"Begin":{"Version":2}}` + "\n"
	tests := []struct{ text, want string }{
		{"{}\n", "line 1: this is not a recording"},
		{`{"Tick":{"Now":1}}`, "line 1: this is not a recording"},
		{`{"Begin":{"Version":1}}`, "line 1: version 1 is not known: this program reads version 2"},
		{`{"Begin":{"Version":2,"Later":1}}`, `unknown field "Later"`},
		{begin + `{"Tick":{"Later":1}}`, `line 2: json: unknown field "Later"`},
		{begin + `{}`, "line 2: it is not an event"},
		{begin + "{\"Tick\":\n" + `{"Tick":{"Now":1}}`, "line 2: unexpected EOF"},
		{begin + "{\"Tick\":", "line 2: unexpected EOF"}, // not torn: the compressed stream is whole
		{strings.Repeat(begin, maxBegins+1), "reading line 1001: the recording is too long: it begins more than 1000 times"},
		{begin + strings.Repeat(" ", 2*MaxLine), "line 2: bufio.Scanner: token too long"},
	}
	if !testing.Short() { // a million lines take some seconds
		tests = append(tests, struct{ text, want string }{begin + strings.Repeat(`{"Tick":{}}`+"\n", maxLines),
			"reading line 1000001: the recording is too long: it has more than 1000000 lines"})
	}
	for _, tt := range tests {
		if _, err := read(zipped(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60q: %v, want %q", tt.text, err, tt.want)
		}
	}
	if _, err := read([]byte("version: 1\n")); !errors.Is(err, errNone) {
		t.Error(err)
	}
}

// The fuzzer works on the text: hardly any of its changes to the compressed bytes would
// get past the checksum.
func FuzzReader(f *testing.F) {
	zip, err := gzip.NewReader(bytes.NewReader(sample(f)))
	if err != nil {
		f.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"Begin":{"Version":2},"Outcome":{}}`)
	f.Add(`{"Begin":{"Version":2,"State":{"Tier":-1,"Nodes":[{}]}}}` + "\n" + `{"Tick":{"Workers":[{"State":"stopping"}],"Usage":"NaN"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		events, _ := read(zipped(text))
		if len(events) == 0 {
			return
		}
		// What was read can be written, and reads the same.
		var b bytes.Buffer
		w, err := NewWriter(&b, *events[0].Begin)
		for _, e := range events[1:] {
			err = errors.Join(err, w.Write(e))
		}
		again, end := read(b.Bytes())
		one, _ := json.Marshal(events) // for NaN is not equal to itself
		two, _ := json.Marshal(again)
		if err == nil && !bytes.Equal(one, two) {
			t.Fatalf("%v:\n%s\n%s", end, one, two)
		}
	})
}
