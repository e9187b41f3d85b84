package policy_test

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	. "hapressure/policy"
	"hapressure/tests/policytest"
)

func TestModes(t *testing.T) {
	for _, kind := range Kinds {
		cut := kind == HardStopAfter || kind == TerminateOldest
		for m, want := range map[Mode]bool{
			Observe: false, PurgeOnly: !cut, Full: true, "": true, "x": false,
		} {
			if got := m.Permits(kind); got != want {
				t.Errorf("%q permits %s: %v", m, kind, got)
			}
		}
	}
	for _, m := range append(Modes, "") {
		if m.Permits("no-such-kind") {
			t.Errorf("%q permits an unknown kind", m)
		}
	}
}

// TestSkippedIsGivenAgain asserts that what a mode held back begins as in a tier that was
// just entered, when the mode permits it again.
func TestSkippedIsGivenAgain(t *testing.T) {
	b := newBench(t, three(t, "", "{settle: 1s}"), inTermin, stopping(1, 1, CacheFull))
	b.mode = Observe
	b.expect(0, "purge 11")
	b.done(PurgeSSLCache, 11, Skipped)
	b.expect(sec, "terminate 11")
	b.done(TerminateOldest, 11, Skipped)
	b.expect(50 * sec)
	b.mode = PurgeOnly
	b.expect(sec, "purge 11")
	b.done(PurgeSSLCache, 11, Done)
	b.workers[0].Cache = CacheEmpty
	b.expect(50 * sec)
	b.mode = Full
	s := b.sample()
	if d := Step(b.p, b.st, s); len(d.Actions) > 0 || !d.Confirm {
		t.Fatalf("the first sample in mode full: due %+v, confirm %v", d.Actions, d.Confirm)
	}
	b.expect(sec, "terminate 11")
}

// TestPropertyModes asserts that a mode takes actions away and adds none, however it
// changes.
func TestPropertyModes(t *testing.T) {
	ready := policytest.Ready(t)
	rapid.Check(t, func(t *rapid.T) {
		p := anyPolicy(t, ready)
		w, st := &world{t: t}, &State{}
		// The same run without modes, as long as no mode gave anything again.
		without, same := &State{}, true
		held := map[WorkerID]map[string]bool{} // skipped actions
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			s := w.sense()
			bare := s
			if w.mode == "" || rapid.IntRange(0, 4).Draw(t, "mode changes") == 0 {
				w.mode = rapid.SampledFrom(Modes).Draw(t, "mode")
			}
			s.Mode = w.mode
			again := false
			for _, kinds := range held {
				for kind := range kinds {
					if w.mode.Permits(kind) {
						again = true
						delete(kinds, kind)
					}
				}
			}
			d := Step(p, st, s)
			same = same && !again
			if same {
				if b := Step(p, without, bare); !reflect.DeepEqual(d, b) {
					t.Fatalf("mode %s decides otherwise:\n%+v\n%+v", w.mode, d, b)
				}
			}
			for _, due := range d.Actions {
				cut := due.Kind == HardStopAfter || due.Kind == TerminateOldest
				if w.mode.Permits(due.Kind) && (w.mode == Observe || cut && w.mode == PurgeOnly) {
					t.Fatalf("%s performs %s", w.mode, due.Kind)
				}
				if cut && again {
					t.Fatalf("%s is due in the first sample that gives skipped actions again",
						due.Kind)
				}
				// protect is due again with another value.
				if held[due.Worker][due.Kind] && due.Kind != Protect {
					t.Fatalf("%s was skipped and is due again in mode %s", due.Kind, w.mode)
				}
			}
			for _, o := range w.outcomes(d) {
				if !w.mode.Permits(o.Kind) {
					o.Result = Skipped
				}
				if held[o.Worker] == nil {
					held[o.Worker] = map[string]bool{}
				}
				held[o.Worker][o.Kind] = o.Result == Skipped
				if o.Result != Skipped {
					delete(held[o.Worker], o.Kind)
				}
				st.Done(o)
				without.Done(o)
			}
			for id := range held {
				if !alive(s, id) {
					delete(held, id)
				}
			}
		}
	})
}

// alive reports whether a worker is in the sample, or may be.
func alive(s Sample, id WorkerID) bool {
	if s.WorkersAbsent != "" {
		return true
	}
	for _, w := range s.Workers {
		if w.ID == id {
			return true
		}
	}
	return false
}
