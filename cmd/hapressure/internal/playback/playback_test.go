package playback

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/policy/record"
)

// recorded is eight reloads of a HAProxy 2.6.12 with four clients each, as the daemon
// recorded them on a host with 24 GiB.
const recorded = "testdata/haproxy-2.6.12.rec"

func recordedBytes(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// events returns the events of a recording.
func events(t testing.TB, b []byte) []record.Event {
	t.Helper()
	r, err := record.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var all []record.Event
	for {
		e, err := r.Next()
		if err != nil {
			return all
		}
		all = append(all, e)
	}
}

func add(t testing.TB, r *Recording, all []record.Event) {
	t.Helper()
	for _, e := range all {
		if err := r.Add(e); err != nil {
			t.Fatal(err)
		}
	}
}

// Each sample is shown as it was recorded, with the actions that had ended and the
// change of tier that preceded it.
func TestShowsWhatWasRecorded(t *testing.T) {
	all := events(t, recordedBytes(t))
	var r Recording
	add(t, &r, all)
	begin, ended, why, samples := all[0].Begin, 0, "", 0
	for _, e := range all[1:] {
		if e.Outcome != nil {
			ended++
			continue
		}
		samples++
		for _, c := range e.Tick.Decision.Changes {
			why = c.Why
		}
		at := begin.Wall.Add(e.Tick.Now - begin.At)
		s := r.At(at, time.Minute).Targets[0]
		if s.At != at || s.Tier != e.Tick.Decision.Tier || s.TierWhy != why ||
			s.Limit.Used != e.Tick.Used || s.Limit.Name != e.Tick.Nearest ||
			s.Usage != e.Tick.Usage ||
			len(s.Actions) != min(ended, 20) {
			t.Fatalf("at %s: %+v\nof %+v", at, s, e.Tick)
		}
		if s.TierSince == nil || s.TierSince.After(at) {
			t.Fatalf("in tier %d since %v", s.Tier, s.TierSince)
		}
		first := s.History[0].At
		if last := s.History[len(s.History)-1]; last.At != at || last.Tier != s.Tier ||
			first.Before(at.Add(-time.Minute)) {
			t.Fatalf("history from %s to %+v", first, last)
		}
		var workers []status.Worker
		for _, m := range s.Masters {
			workers = m.Workers
		}
		if e.Tick.WorkersAbsent == "" && len(workers) != len(e.Tick.Workers) {
			t.Fatalf("%d workers of %d", len(workers), len(e.Tick.Workers))
		}
		stopping := 0
		for _, w := range workers {
			if (w.State == "stopping") != (w.StoppingFor != nil) || w.Age <= 0 {
				t.Fatalf("%+v", w)
			}
			if w.State == "stopping" {
				stopping++
			}
		}
		if s.Stopping.Workers != stopping {
			t.Fatalf("%d stopping workers, want %d", s.Stopping.Workers, stopping)
		}
	}
	name := r.At(r.To, 0).Targets[0].Name
	if n := len(r.Samples(name)); n != samples || samples < 100 || len(r.Moments(name)) != n {
		t.Errorf("%d samples, want %d", n, samples)
	}
	if n := len(r.Events(name)); n < ended || ended < 10 {
		t.Errorf("%d events with %d actions", n, ended)
	}
	if len(r.At(r.From.Add(-time.Second), time.Hour).Targets) != 0 {
		t.Error("there is a target before its first sample")
	}
	if s := r.At(r.To.Add(time.Hour), time.Hour); len(s.Targets) != 1 || s.Targets[0].At != r.To {
		t.Errorf("after the end: %+v", s)
	}
	if len(r.Samples("another"))+len(r.Events("another"))+len(r.Moments("another")) > 0 {
		t.Error("another target has samples")
	}
}

// Workers that cannot be listed are shown as of the sample before.
func TestWorkersAbsent(t *testing.T) {
	all := events(t, recordedBytes(t))
	var r Recording
	add(t, &r, all)
	last := r.At(r.To, 0).Targets[0]
	tick := *all[len(all)-1].Tick
	tick.Now, tick.Workers, tick.WorkersAbsent = tick.Now+time.Second, nil, "the master is busy"
	add(t, &r, []record.Event{{Tick: &tick}})
	s := r.At(r.To, 0).Targets[0]
	if s.WorkersAbsent != "the master is busy" || len(s.Masters) != 1 ||
		len(s.Masters[0].Workers) != len(last.Masters[0].Workers) {
		t.Errorf("%+v", s)
	}
}

// The policy's hard-stop-after counts for each stopping worker, as the daemon counts it.
func TestHardStopAfter(t *testing.T) {
	all := events(t, recordedBytes(t))
	all[0].Begin.Policy = `version: 1
targets: [{cgroup: proxy.slice/lb}]
tiers: [{name: t, enter: always, actions: [hard-stop-after: {limit: 5m}]}]
`
	var r Recording
	add(t, &r, all[:1])
	tick := *all[len(all)/2].Tick
	tick.Decision = policy.Decision{Tier: 1, TierName: "t",
		Changes: []policy.Change{{To: 1, ToName: "t"}}}
	add(t, &r, []record.Event{{Tick: &tick}})
	s := r.At(r.To, 0).Targets[0]
	if s.HardStopAfter == nil || *s.HardStopAfter != 300 {
		t.Fatalf("%v", s.HardStopAfter)
	}
	for _, w := range s.Masters[0].Workers {
		if w.StoppingFor != nil && *w.HardStopIn != 300-*w.StoppingFor {
			t.Errorf("%+v", w)
		}
	}
}

func TestSeveralTargets(t *testing.T) {
	all := events(t, recordedBytes(t))
	var r Recording
	add(t, &r, all)
	other := *all[0].Begin
	other.Target, other.Wall = "a.service", other.Wall.Add(time.Minute)
	add(t, &r, append([]record.Event{{Begin: &other}}, all[1:]...))
	var names []string
	for _, t := range r.At(r.To, 0).Targets {
		names = append(names, t.Name)
	}
	if want := []string{"/proxy.slice/lb", "a.service"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if s := r.At(r.From, 0); len(s.Targets) != 1 {
		t.Errorf("%d targets at the beginning", len(s.Targets))
	}
}

func TestTooLong(t *testing.T) {
	all := events(t, recordedBytes(t))
	var r Recording
	add(t, &r, all[:20])
	r.size = maxSize
	err := r.Add(record.Event{Tick: all[len(all)-1].Tick})
	if !errors.Is(err, errTooLong) || !strings.Contains(err.Error(), "pass fewer") {
		t.Errorf("%v", err)
	}
}

// A recording that another program wrote is refused or shown, but never a crash.
func FuzzAdd(f *testing.F) {
	f.Add([]byte(`{"Begin":{"Version":2,"Target":"x","Policy":"version: 1\n`+
		`tiers: [{name: t, enter: always, actions: [protect: {}]}]\n"}}`),
		[]byte(`{"Tick":{"Now":5,"Decision":{"Tier":1,"Changes":[{"From":0,"To":1}]}}}`))
	f.Add([]byte(`{"Begin":{"Version":2,"Policy":"version: 1\n"}}`),
		[]byte(`{"Tick":{"Now":-5,"Decision":{"Tier":9,"Changes":[{"From":-7,"To":99}]}}}`))
	f.Fuzz(func(t *testing.T, begin, tick []byte) {
		var b bytes.Buffer
		zipped(&b, begin, tick, tick)
		r, err := record.NewReader(&b)
		var rec Recording
		for err == nil {
			var e record.Event
			if e, err = r.Next(); err == nil {
				err = rec.Add(e)
			}
		}
		for _, at := range []time.Time{rec.From, rec.To, {}} {
			rec.At(at, time.Hour)
		}
	})
}

// zipped writes lines as a recording.
func zipped(b *bytes.Buffer, lines ...[]byte) {
	zip := gzip.NewWriter(b)
	for _, line := range lines {
		zip.Write(append(bytes.Clone(line), '\n'))
	}
	zip.Close()
}
