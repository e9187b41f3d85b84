// Package simulate makes recordings without a machine. A simple model of a unit's memory,
// in which the actions of a policy take effect, takes the place of the daemon's target.
package simulate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Scenario describes a unit and its load.
type Scenario struct {
	Duration    Duration // how long
	Seed        Count    // of the random parts: the exact times of reloads, the use of Base
	Limit       Size     // memory.max of the unit
	Swap        Size     // what may be swapped out above it
	Zram        Count    // percent that swapped memory takes of the limit, compressed
	Host        Size     // the host's memory; 0 = never short
	Others      Size     // what other programs use of Host at the end; it grows evenly from 0
	Base        Size     // memory of the unit besides its workers
	Cache       Size     // the TLS session cache of each worker
	Heap        Size     // of a worker without connections
	Connection  Size     // heap of one connection
	Connections Count    // opened to each generation until the next reload
	HalfLife    Duration `yaml:"half-life"` // of the connections of stopping workers
	Reload      struct {
		First, Every Duration
		Count        Count
	}
}

// Size is in bytes. These are types of their own so that they are read strictly.
type (
	Size     float64
	Duration time.Duration
	Count    int
)

var (
	sizes  = regexp.MustCompile(`^(0|[1-9][0-9]{0,5})(KiB|MiB|GiB)$`)
	counts = regexp.MustCompile(`^(0|[1-9][0-9]{0,5})$`) // not 010, which YAML reads as 8
)

func wrong(n *yaml.Node, example string) error {
	text := fmt.Sprintf("line %d: %q is not understood: write for example %s",
		n.Line, n.Value, example)
	return &yaml.TypeError{Errors: []string{text}}
}

// UnmarshalYAML reads a size with its unit.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	m := sizes.FindStringSubmatch(n.Value)
	if m == nil {
		return wrong(n, "64MiB")
	}
	v, err := strconv.ParseFloat(m[1], 64)
	*s = Size(v * map[string]float64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]])
	return err
}

// UnmarshalYAML reads a duration of up to a day.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v <= 0 || v > 24*time.Hour {
		return wrong(n, "30s, and at most 24h")
	}
	*d = Duration(v)
	return nil
}

// UnmarshalYAML reads a number in decimal.
func (c *Count) UnmarshalYAML(n *yaml.Node) error {
	if !counts.MatchString(n.Value) {
		return wrong(n, "20")
	}
	v, err := strconv.Atoi(n.Value)
	*c = Count(v)
	return err
}

var position = regexp.MustCompile(`(?m)^(?:yaml: )?line (\d+): `)

// Decode reads the scenario called name to the end of r, which must be bounded. Its error
// has a line for each mistake, with file and line.
func Decode(name string, r io.Reader) (*Scenario, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading scenario %q: %w", name, err)
	}
	s := &Scenario{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	err = d.Decode(s)
	var te *yaml.TypeError
	switch {
	case errors.As(err, &te):
		err = errors.New(strings.Join(te.Errors, "\n"))
	case err == io.EOF:
		err = errors.New("line 1: the file is empty")
	case err != nil:
	case d.Decode(&Scenario{}) != io.EOF:
		err = errors.New("line 1: the file has more than one document")
	case s.Duration == 0, s.Limit == 0, s.Cache == 0, s.HalfLife == 0,
		s.Reload.Every < Duration(3*time.Second):
		err = errors.New("line 1: duration, limit, cache, half-life and reload: {every: } " +
			"of at least 3s are needed")
	}
	if err != nil {
		text := position.ReplaceAllString(err.Error(), name+":$1: ")
		return nil, errors.New(strings.ReplaceAll(text, " in type simulate.Scenario", ""))
	}
	return s, nil
}
