package policy_test

import (
	"fmt"
	"log"
	"time"

	"hapressure/policy"
	"hapressure/policy/language"
)

// A caller steps a target's state through samples, performs what is due and reports how
// it ended.
func ExampleStep() {
	p, err := language.Decode(language.File{Name: "policy.yaml", Text: []byte(`
version: 1
tiers:
  - name: purge
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}}
    actions: [purge-ssl-cache: {}]
`)})
	if err != nil {
		log.Fatal(err)
	}
	worker := policy.Worker{
		ID: policy.WorkerID{PID: 4711, Start: 99}, Generation: 1,
		State: policy.Stopping, StoppingFor: 10 * time.Second, Cache: policy.CacheFull,
	}
	var state policy.State
	for i, usage := range []float64{65, 75, 55} {
		now := time.Duration(i) * time.Second
		d := policy.Step(p, &state, policy.Sample{
			Now: now, Usage: policy.Reading{Value: usage}, Workers: []policy.Worker{worker},
		})
		for _, c := range d.Changes {
			fmt.Printf("%v: tier %q to %q: %s\n", now, c.FromName, c.ToName, c.Why)
		}
		for _, due := range d.Actions {
			fmt.Printf("%v: %s on worker %d\n", now, due.Kind, due.Worker.PID)
			state.Done(policy.Outcome{Tier: due.Tier, Kind: due.Kind, Worker: due.Worker,
				At: now, Result: policy.Done, FreedBytes: 237 << 20})
		}
	}
	// Output:
	// 1s: tier "" to "purge": usage 75% > 70%
	// 1s: purge-ssl-cache on worker 4711
	// 2s: tier "purge" to "": usage 55% < 60%
}
