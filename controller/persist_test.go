package controller

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/policy/language"
	"hapressure/tests/golden"
)

func TestPersistedTags(t *testing.T) { golden.Tags(t, persisted{}, status.Status{}, status.Purge{}) }

// TestPersistedByAnEarlierVersion continues from a state that commit c745bf1 wrote, of a
// simulated unit in its harshest tier.
func TestPersistedByAnEarlierVersion(t *testing.T) {
	b, err := os.ReadFile("testdata/c745bf1.json")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "kept.json")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := readPersisted(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := language.Decode(language.File{Name: "kept", Text: []byte(k.Policy)})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.State.Resume(p); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	golden.Covers(t, again, b)
	if n := k.State.Tiers[0].Enter.Parts[2]; k.State.Tier != 3 || len(n.Ring) != 22 || n.Ring[21] != (policy.Point{At: 35 * time.Second, Total: 52779}) {
		t.Errorf("tier %d, %+v", k.State.Tier, n)
	}
	if known := (haproxy.KnownWorker{ID: haproxy.ID{PID: 1002, Start: 600}, Generation: 2, Since: 1690}); len(k.Workers) != 4 || k.Workers[1] != known {
		t.Errorf("workers %+v", k.Workers)
	}
	if a := k.State.Workers[0].Attempts[policy.TerminateOldest]; !a.InFlight || a.Given != 35*time.Second {
		t.Errorf("%+v", a)
	}
	k.State.Interrupted(36 * time.Second)
	d := policy.Step(p, &k.State, policy.Sample{Now: 36 * time.Second, Usage: policy.Reading{Value: 80}, ReloadRoom: policy.Reading{Value: 0.5}})
	if len(d.Changes) != 0 || d.TierName != "terminate" {
		t.Errorf("the first step is to tier %s: %+v", d.TierName, d.Changes)
	}
}

// Whatever was persisted, a guard continues with it or without it.
func FuzzKept(f *testing.F) {
	p, err := language.Decode(language.BuiltIn)
	if err != nil {
		f.Fatal(err)
	}
	worker := policy.Worker{ID: policy.WorkerID{PID: 12, Start: 99}, Generation: 1, State: policy.Stopping, Cache: policy.CacheFull}
	at := func(seconds int, usage float64) policy.Sample {
		return policy.Sample{Now: time.Duration(seconds) * time.Second, Usage: policy.Reading{Value: usage}, Workers: []policy.Worker{worker}}
	}
	for _, usage := range []float64{10, 80, 97} {
		var st policy.State
		for i := range 10 {
			policy.Step(p, &st, at(i, usage))
		}
		b, err := json.Marshal(persisted{persistedVersion, p.Source, st,
			haproxy.Known{Workers: []haproxy.KnownWorker{{ID: haproxy.ID(worker.ID), Generation: 1, Since: 50}}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	name := filepath.Join(f.TempDir(), "kept.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := readPersisted(name)
		if err != nil || k.State.Resume(p) != nil {
			return
		}
		k.State.Interrupted(11 * time.Second)
		haproxy.NewScanner("/proc").Recall(k.Known)
		for i := range 40 {
			d := policy.Step(p, &k.State, at(11+i, 50+float64(i)))
			if d.Tier < 0 || d.Tier > len(p.Tiers) {
				t.Fatalf("tier %d", d.Tier)
			}
			for _, due := range d.Actions {
				if due.Worker != worker.ID {
					t.Fatalf("%s is due on a worker that was not sensed: %+v", due.Kind, due.Worker)
				}
			}
		}
	})
}
