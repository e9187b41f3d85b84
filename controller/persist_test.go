package controller

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hapressure/haproxy"
	"hapressure/policy"
)

// Whatever was kept, a guard goes on from it or without it.
func FuzzKept(f *testing.F) {
	p, err := policy.DecodeFiles(policy.BuiltIn)
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
		b, err := json.Marshal(kept{keptVersion, p.Source, st, []haproxy.Known{{ID: haproxy.ID(worker.ID), Generation: 1, Since: 50}}})
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
		k, err := readKept(name)
		if err != nil || k.State.Resume(p) != nil {
			return
		}
		k.State.Interrupted(11 * time.Second)
		haproxy.NewScanner("/proc").Recall(k.Workers)
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
