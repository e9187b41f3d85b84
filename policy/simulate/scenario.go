// Package simulate makes recordings without a machine. A simple model of a unit's memory,
// in which the actions of a policy take effect, takes the place of the daemon's target.
package simulate

import (
	_ "embed"
	"fmt"
	"io"
	"time"

	"hapressure/policy/schema"
)

// Scenario describes a unit and its load. Sizes are in bytes.
type Scenario struct {
	Duration    time.Duration // how long
	Seed        int           // of the random parts: the exact times of reloads, the use of Base
	Limit       float64       // memory.max of the unit
	Swap        float64       // what may be swapped out above it
	Zram        float64       // percent that swapped memory still takes of Limit, compressed
	Host        float64       // the host's memory; 0 = never short
	Others      float64       // what other programs use of Host at the end; it grows evenly from 0
	Base        float64       // memory of the unit besides its workers
	Cache       float64       // the TLS session cache of each worker
	Heap        float64       // of a worker without connections
	Connection  float64       // heap of one connection
	Connections int           // opened to each generation until the next reload
	HalfLife    time.Duration // of the connections of stopping workers
	Reload      Reloads
}

// Reloads says when HAProxy is reloaded.
type Reloads struct {
	First, Every time.Duration
	Count        int
}

//go:embed scenario.yaml
var scenarioYAML []byte

var definition = schema.MustParse(scenarioYAML)

// Schema is the JSON Schema (draft 2020-12) of a scenario, for editors. go test -update
// generates it from scenario.yaml.
//
//go:embed schema.json
var Schema []byte

// Decode reads the scenario called name to the end of r, which must be bounded. It
// reports all mistakes at once, as schema.Errors.
func Decode(name string, r io.Reader) (*Scenario, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading scenario %q: %w", name, err)
	}
	d := definition.Decoder(schema.Rules{})
	v := d.Document(schema.File{Name: name, Text: text})
	for key, needs := range map[string]string{"zram": "swap", "others": "host"} {
		if v.Get(key).Amount() > 0 && v.Get(needs).Amount() == 0 {
			d.Errorf(v.Get(key).At, "%s needs %s: write for example %s: 512MiB", key, needs, needs)
		}
	}
	reload := v.Get("reload")
	s := &Scenario{
		Duration: v.Get("duration").Duration(), Seed: v.Get("seed").Count(),
		Limit: v.Get("limit").Amount(), Swap: v.Get("swap").Amount(),
		Zram: v.Get("zram").Amount(),
		Host: v.Get("host").Amount(), Others: v.Get("others").Amount(),
		Base: v.Get("base").Amount(), Cache: v.Get("cache").Amount(),
		Heap: v.Get("heap").Amount(), Connection: v.Get("connection").Amount(),
		Connections: v.Get("connections").Count(), HalfLife: v.Get("half-life").Duration(),
		Reload: Reloads{reload.Get("first").Duration(), reload.Get("every").Duration(),
			reload.Get("count").Count()},
	}
	return s, d.Err()
}
